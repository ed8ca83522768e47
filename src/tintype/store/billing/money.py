"""Money is whole micro-dollars everywhere; dollars are for people and the wire."""

from __future__ import annotations

from decimal import Decimal

MICRO = 1_000_000


def dollars(micro: int) -> float:
    """Micro-dollars → dollars."""
    return micro / MICRO


def micro(dollars: float) -> int:
    """Dollars → micro-dollars, half rounded to even; the digits that a person wrote count, not their binary value.

    Raises ValueError or OverflowError when it is not a finite number.
    """
    return round(Decimal(str(dollars)) * MICRO)


def plain(micro: int) -> str:
    """Micro-dollars as a header has them: dollars to the last digit, `0.0037`."""
    return f"{Decimal(micro) / MICRO:f}"


def shown(micro: int) -> str:
    """Micro-dollars as people write them: `$0.0037`."""
    return f"${plain(micro)}" if micro >= 0 else f"-{shown(-micro)}"
