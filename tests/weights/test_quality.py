"""The shipped weights draw what they are asked for: measured as for their model card, held to its promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from training import quality
from training.hyper import SHIPPED
from training.measure import BUILTIN, PROMISED, PROMISED_PSNR, WAYS, at_defaults, figures
from training.words import COLOURS, CONCEPTS

from tintype.catalog.builtin import vocabulary
from tintype.diffusion.libraries import quiet_libraries

MOST_BYTES = 45_000_000
#: Fewer than the card's twenty and its hundred, which would take most of the time that all tests have.
STEPS, QUESTIONS = 8, 12
#: One model of each mode: the others run the same networks.
EACH_MODE = ("sd1.5-img2img", "sd3-med-img2img", "stable-diffusion-3.5-turbo-txt2img")


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("slug", "count"),
    [
        *((slug, QUESTIONS) for slug in EACH_MODE),
        *(pytest.param(slug, 100, marks=pytest.mark.nightly) for slug in BUILTIN),
    ],
)
def test_models_draw_what_is_asked_of_them_at_their_defaults(slug: str, count: int) -> None:
    quiet_libraries()
    reached = at_defaults(slug, count)
    assert reached.recognised >= PROMISED["recognised"]
    assert reached.coloured >= PROMISED["coloured"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "count"),
    [("sd3", 4), ("sd15", 4), *(pytest.param(name, 12, marks=pytest.mark.nightly) for name in WAYS)],
)
def test_image_to_image_moves_from_the_input_towards_the_prompt(name: str, count: int) -> None:
    quiet_libraries()
    reached = figures(name, STEPS, count)
    away, left = zip(*reached.pull, strict=True)
    assert list(away) == sorted(away)
    assert left[0] > max(left[1:])  # where it is the thing already, more of it makes little difference
    assert reached.psnr >= PROMISED_PSNR[name]


def test_the_reference_is_what_it_says() -> None:
    """A measure that calls everything right would be worth nothing: shifted by one, nothing is recognised."""
    asked = [one for one in quality.questions() if one.colour is None]
    tiles = quality.reference_pictures()
    shown = [tiles[one.number] for one in asked]
    assert quality.recognised(shown, asked) == 1
    assert quality.recognised(shown[1:] + shown[:1], asked) == 0


def test_vocabulary_and_size() -> None:
    assert [thing["emoji"] for thing in vocabulary()] == CONCEPTS
    assert len(CONCEPTS) >= 350
    assert len(COLOURS) == 14
    assert sum(file.stat().st_size for file in Path(SHIPPED).rglob("*") if file.is_file()) <= MOST_BYTES
