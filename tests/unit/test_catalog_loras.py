"""The parameter by which callers choose LoRAs, where an operator offers some."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tintype.catalog.models import SD3_MEDIUM_IMG2IMG
from tintype.catalog.parameters import offering, read_loras
from tintype.errors import InvalidParameter

SPEC = offering(SD3_MEDIUM_IMG2IMG, ["detail", "ink-2.1"])
BODY: dict[str, Any] = {**SPEC.example, "seed": 1}


@pytest.mark.parametrize(
    ("sent", "read"),
    [
        ("", ()),
        ("detail", (("detail", 1.0),)),
        ("ink-2.1:0.75,detail", (("detail", 1.0), ("ink-2.1", 0.75))),
        ("detail:-2 , ink-2.1:1.5", (("detail", -2.0), ("ink-2.1", 1.5))),
        ("detail:0", ()),
        ("detail:1, detail:0.5", (("detail", 0.5),)),
    ],
)
def test_what_may_be_sent(sent: str, read: tuple[tuple[str, float], ...]) -> None:
    params, ignored = SPEC.validate({**BODY, "loras": sent})
    assert not ignored
    assert read_loras(SPEC.read(params).loras) == read


@pytest.mark.parametrize(
    "sent",
    ["other", "detail:2.5", "detail:0.333", "detail:", "detail,,detail", "detail ink-2.1", "ink-2x1", "detail:nan"],
)
def test_what_may_not(sent: str) -> None:
    with pytest.raises(InvalidParameter, match=r"up to 5 of detail, ink-2\.1, separated by commas") as error:
        SPEC.validate({**BODY, "loras": sent})
    assert sent in error.value.message
    with pytest.raises(InvalidParameter):
        SPEC.validate({**BODY, "loras": ", ".join(["detail"] * 6)})


def test_only_models_that_offer_some_have_it() -> None:
    assert offering(SD3_MEDIUM_IMG2IMG, []) is SD3_MEDIUM_IMG2IMG
    params, ignored = SD3_MEDIUM_IMG2IMG.validate({**BODY, "loras": "detail"})
    assert ignored == ["loras"]
    assert read_loras(SD3_MEDIUM_IMG2IMG.read(params).loras) == ()
    pattern = SPEC.json_schema()["properties"]["loras"]["pattern"]
    assert re.search(pattern, "detail:0.5, ink-2.1")
    assert not re.search(pattern, "a detail")
    with pytest.raises(ValueError, match="'a,b' was given; allowed are letters"):
        offering(SD3_MEDIUM_IMG2IMG, ["a,b"])


def test_a_recipe_s_text_may_be_anything() -> None:
    with pytest.raises(ValueError, match="could not convert"):
        read_loras("detail:much")
