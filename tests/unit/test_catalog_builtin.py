"""What is said of the built-in weights, held against what they were trained on."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from training.words import COLOURS as TRAINED

from tintype.catalog.builtin import COLOURS, PROMPTS, about, vocabulary
from tintype.catalog.models import MODELS, SD15_IMG2IMG
from tintype.checkpoints.weights import builtin_weights, has_builtin
from tintype.errors import WeightsUnusable
from tintype.families import FAMILIES
from tintype.families.sd15 import SD15


def test_the_colours_are_those_of_the_training() -> None:
    assert tuple(TRAINED) == COLOURS


@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_prompts_to_try_are_of_their_world(prompt: str) -> None:
    said = re.fullmatch(r"an? (.+?)(?: on an? (.+) background)?", prompt)
    assert said
    assert said[1] in {thing["name"] for thing in vocabulary()}
    assert said[2] is None or said[2] in COLOURS


def test_a_form_begins_with_what_the_model_allows() -> None:
    for spec in (one for one in MODELS.values() if has_builtin(one.family, few_steps=one.few_steps)):
        first = about(spec, ())["first"]
        names = {param.means or param.name: param.name for param in spec.parameters}
        spec.validate({**spec.example, **{names[means]: value for means, value in first.items() if means in names}})
        assert "prompt" in first


def test_weights_of_the_operator_s_are_described_by_nobody() -> None:
    assert about(SD15_IMG2IMG, {SD15_IMG2IMG.slug}) == {}


def test_a_family_without_built_in_weights_says_nothing_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bare", replace(SD15, name="bare", builtin=None))
    spec = replace(SD15_IMG2IMG, slug="xl", family="bare")
    assert about(spec, ()) == {}
    with pytest.raises(WeightsUnusable, match="no weights are configured, and the family bare has no built-in ones"):
        builtin_weights("bare")


def test_only_a_family_with_few_step_weights_draws_in_few_steps() -> None:
    assert [lora.path.is_file() for lora in builtin_weights("sd3", few_steps=True).loras] == [True]
    with pytest.raises(WeightsUnusable, match="no weights are configured, and the family sd15 has no few-step ones"):
        builtin_weights("sd15", few_steps=True)
