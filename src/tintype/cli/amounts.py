"""Dollars and times as people type them."""

from __future__ import annotations

from math import isnan
from typing import Any

import click

from tintype.errors import InvalidParameter
from tintype.store.accounts.keys import MAX_OVERLAP, MAX_TTL
from tintype.store.billing.money import micro

#: Far more than anybody needs, far less than the database's integers hold.
MOST_DOLLARS = 1_000_000_000


class Time(click.FloatRange):
    """An option's range of days or hours, in which nan isn't, as it is in click's."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails where there is none in the range."""
        given = float(super().convert(value, param, ctx))
        if isnan(given):
            self.fail(f"{value!r} is no time", param, ctx)
        return given


DAYS = Time(min=0, min_open=True, max=MAX_TTL / 86_400)
HOURS = Time(min=0, max=MAX_OVERLAP / 3_600)


def to_micro(name: str, given: float, least: int) -> int:
    """Dollars that a person gave → micro-dollars; raises InvalidParameter."""
    if not least <= given <= MOST_DOLLARS:  # which nan is not
        raise InvalidParameter(name, given, f"dollars from {least} to {MOST_DOLLARS}")
    return micro(given)
