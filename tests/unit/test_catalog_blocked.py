"""Blocked phrases: what counts as one, and what doesn't."""

from __future__ import annotations

import pytest

from tintype.catalog.blocked import BlockedPhrases

LIST = BlockedPhrases(["red fox", "Straße", "naïve", "狐", "C-3PO"])


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a red fox", "red fox"),
        ("A RED, FOX!", "red fox"),
        ("a red\u00a0\n fox in snow", "red fox"),
        ("a r\u200bed f\u00adox", "red fox"),  # letters that can't be seen between those that can
        ("ＲＥＤ ｆｏｘ", "red fox"),  # full width
        ("STRASSE", "strasse"),
        ("nai\u0308ve", "naïve"),  # the dots as a character of their own
        ("赤い狐です", "狐"),  # written without spaces
        ("c 3po", "c 3po"),
        ("red foxes", None),
        ("a red and white fox", None),
        ("coloured fox", None),
        ("naive", None),
        ("", None),
    ],
)
def test_a_phrase_is_found_however_it_is_written(prompt: str, found: str | None) -> None:
    assert LIST.found(prompt) == found


def test_an_empty_list_blocks_nothing() -> None:
    assert BlockedPhrases.read(None).found("a red fox") is None
