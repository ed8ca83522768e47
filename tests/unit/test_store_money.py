"""Micro-dollars, dollars and the words for them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.store.billing.ledger import dollars, micro, plain, shown


@pytest.mark.parametrize(
    ("given_dollars", "expected"),
    [(0.0037, 3700), (10, 10_000_000), (0.1 + 0.2, 300_000), (0.0000005, 0), (0.0000015, 2), (-1.5, -1_500_000)],
)
def test_dollars_become_whole_micro_dollars_half_to_even(given_dollars: float, expected: int) -> None:
    assert micro(given_dollars) == expected


@given(st.integers(-(10**15), 10**15))
def test_there_and_back_changes_nothing(amount: int) -> None:
    assert micro(dollars(amount)) == amount


@pytest.mark.parametrize("nonsense", [float("nan"), float("inf")])
def test_what_is_no_amount_is_refused(nonsense: float) -> None:
    with pytest.raises((ValueError, OverflowError)):
        micro(nonsense)


WORDS = {3700: "$0.0037", 10_000_000: "$10", 10**15: "$1000000000", 1: "$0.000001", 0: "$0", -5: "-$0.000005"}


@pytest.mark.parametrize(("amount", "words"), WORDS.items())
def test_people_and_headers_read_plain_dollars(amount: int, words: str) -> None:
    assert plain(amount) == words.replace("$", "")
    assert shown(amount) == words
