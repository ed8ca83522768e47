"""Dollars as people type them."""

from __future__ import annotations

from tintype.errors import InvalidParameter
from tintype.store.money import micro

#: Far more than anybody needs, far less than the database's integers hold.
MOST_DOLLARS = 1_000_000_000


def to_micro(name: str, given: float, least: int) -> int:
    """Dollars that a person gave → micro-dollars; raises InvalidParameter."""
    if not least <= given <= MOST_DOLLARS:  # which nan is not
        raise InvalidParameter(name, given, f"dollars from {least} to {MOST_DOLLARS}")
    return micro(given)
