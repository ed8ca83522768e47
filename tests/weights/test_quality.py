"""The shipped weights draw what they are asked for: measured as for their model card, held to its promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from training import quality
from training.hyper import SHIPPED
from training.measure import PROMISED, WAYS, figures
from training.words import COLOURS, CONCEPTS

from tintype.catalog.builtin import vocabulary
from tintype.diffusion.libraries import quiet_libraries

MOST_BYTES = 45_000_000
#: Fewer than the card's twenty and its hundred, which would take most of the time that all tests have.
STEPS, QUESTIONS = 8, 40


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [QUESTIONS, pytest.param(100, marks=pytest.mark.nightly)])
@pytest.mark.parametrize("name", WAYS)
def test_keeps_its_promises(name: str, count: int) -> None:
    quiet_libraries()
    reached, promised = figures(name, STEPS, count), PROMISED[name]
    assert reached.recognised >= promised["recognised"]
    assert reached.coloured >= promised["coloured"]
    assert reached.psnr >= promised["psnr"]
    # Image to image moves from the input towards the prompt.
    away, left = zip(*reached.pull, strict=True)
    assert list(away) == sorted(away)
    assert list(left) == sorted(left, reverse=True)


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
