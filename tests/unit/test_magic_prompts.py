"""Test mode: the grammar of magic prompts, and the picture of a test request."""

from __future__ import annotations

import numpy as np
import pytest

from tintype.errors import InvalidParameter, TintypeError
from tintype.store.accounts.keys import check, draw, hint, is_test
from tintype.testmode.images import draw as draw_picture
from tintype.testmode.scenario import FAILURES, INTERRUPTIONS, REFUSALS, Scenario, allowed, parse, steady_draw, table

NAMED = {"fail": FAILURES, "refuse": REFUSALS, "interrupt": INTERRUPTIONS}
EVERY_NAME = [(kind, name) for kind, names in NAMED.items() for name in names]


@pytest.mark.parametrize("prompt", ["", "a fox", "a test:fail:safety", "Test:fail:safety", "test", "testing: a fox"])
def test_other_prompts_are_no_magic(prompt: str) -> None:
    assert parse(prompt) == Scenario()


def test_words_say_what_is_to_happen() -> None:
    assert parse("test:ok") == Scenario()
    assert parse("test:queued:2") == Scenario(queued=2)
    scenario = parse("  test:processing:0.5 test:retries:1\ntest:fail:safety test:queued:600 ")
    assert scenario == Scenario(queued=600, processing=0.5, retries=1, fail="safety")


@pytest.mark.parametrize(("kind", "name"), EVERY_NAME)
def test_every_name_is_understood_listed_and_documented(kind: str, name: str) -> None:
    assert getattr(parse(f"test:{kind}:{name}"), kind) == name
    assert name in allowed()
    assert f"`test:{kind}:{name}`" in table()


@pytest.mark.parametrize(
    "word",
    [
        *("test:", "test:nothing", "test:ok:1", "test:fail", "test:fail:", "test:fail:forbidden", "test:refuse:safety"),
        *("test:queued", "test:queued:", "test:queued:-1", "test:queued:601", "test:queued:nan", "test:queued:1e2"),
        *("test:processing:٣", "test:retries:0", "test:retries:3", "test:ok a", "test:queued:1 test:queued:1"),
        *("test:check_in:1", "test:failing"),
    ],
)
def test_words_that_are_none_are_refused_with_those_that_are(word: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse(word)
    assert refused.value.message == InvalidParameter("prompt", word.rsplit(maxsplit=1)[-1], allowed()).message
    assert repr(word.rsplit(maxsplit=1)[-1]) in refused.value.message


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_is_raised_before_anything_is_queued(name: str) -> None:
    with pytest.raises(TintypeError) as refused:
        parse(f"test:refuse:{name} test:queued:3").check_in()
    assert type(refused.value) is type(REFUSALS[name]())
    assert parse("test:queued:3").check_in() == 3


def test_the_same_request_draws_the_same_seed() -> None:
    first, again, other = ({"prompt": "a fox", "seed": -1}, {"seed": -1, "prompt": "a fox"}, {"prompt": "a cat"})
    assert steady_draw(first)(2**32) == steady_draw(again)(2**32) != steady_draw(other)(2**32)
    assert steady_draw(first)(7) < 7


def test_a_picture_is_the_same_for_the_same_request_alone() -> None:
    asked = ("sd1.5-img2img", "a fox", 7, 96, 64)
    picture = draw_picture(*asked)
    assert (picture.size, picture.mode) == ((96, 64), "RGB")
    assert draw_picture(*asked).tobytes() == picture.tobytes()
    for other in [("sd3-med-img2img", "a fox", 7), ("sd1.5-img2img", "a cat", 7), ("sd1.5-img2img", "a fox", 8)]:
        assert draw_picture(*other, 96, 64).tobytes() != picture.tobytes()


@pytest.mark.parametrize(("seed", "width", "height"), [(0, 64, 64), (2**63 - 1, 64, 2048), (2**63 - 1, 2048, 64)])
def test_a_picture_is_marked_at_every_size(seed: int, width: int, height: int) -> None:
    pixels = np.asarray(draw_picture("sd1.5-img2img", "a fox", seed, width, height)).reshape(-1, 3)
    for colour in ([255, 255, 255], [0, 0, 0]):
        assert (pixels == colour).all(axis=1).any()


def test_a_test_keys_secret() -> None:
    secret = draw(test=True)
    check(secret)
    assert secret.startswith("SG_test")
    assert (is_test(secret), hint(secret)) == (True, f"SG_{secret[7:11]}")
    live = draw()
    assert (is_test(live), hint(live)) == (False, live[:7])
