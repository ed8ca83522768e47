"""Money: whole micro-dollars everywhere, dollars for people and the wire; and what a model costs on this server."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

from tintype.catalog.spec import ModelSpec, Tariff
from tintype.settings import Price

MICRO = 1_000_000


def dollars(micro: int) -> float:
    """Micro-dollars → dollars."""
    return micro / MICRO


def micro(dollars: float) -> int:
    """Dollars → micro-dollars, half rounded to even; of the decimal digits as written, not of their binary value.

    Raises ValueError or OverflowError when it is not a finite number.
    """
    return round(Decimal(str(dollars)) * MICRO)


def plain(micro: int) -> str:
    """Micro-dollars as a header has them: dollars to the last digit, `0.0037`."""
    return f"{Decimal(micro) / MICRO:f}"


def shown(micro: int) -> str:
    """Micro-dollars as people write them: `$0.0037`."""
    return f"${plain(micro)}" if micro >= 0 else f"-{shown(-micro)}"


def tariff(spec: ModelSpec, own: Price | None, *, billing: bool = True) -> Tariff:
    """A model's price: the operator's own, completed from the catalogue's; nothing without billing."""
    if not billing:
        return replace(spec.tariff, price=0)
    if own is None:
        return spec.tariff
    return Tariff(micro(own.dollars), own.per or spec.tariff.per, own.most_seconds or spec.tariff.most_seconds)
