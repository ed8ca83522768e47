"""What a model costs on this server."""

from __future__ import annotations

from dataclasses import replace

from tintype.catalog.spec import ModelSpec, Tariff
from tintype.settings import Price
from tintype.store.billing.money import micro


def tariff(spec: ModelSpec, own: Price | None, *, billing: bool = True) -> Tariff:
    """The operator's own price with what it leaves out as the catalogue has it; nothing without billing."""
    if not billing:
        return replace(spec.tariff, price=0)
    if own is None:
        return spec.tariff
    return Tariff(micro(own.dollars), own.per or spec.tariff.per, own.most_seconds or spec.tariff.most_seconds)
