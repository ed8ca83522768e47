"""The records of the core: what is stored is read again, and what earlier versions stored, too."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tintype.catalog.models import MODELS
from tintype.catalog.spec import ModelSpec, Param
from tintype.core import GenerationParams, InputImage, Output, Recipe, Result, RunningImages, WorkerReport

WHOLE = st.integers(0, 2**63 - 1)
INPUTS = st.lists(
    st.builds(InputImage, st.text(min_size=1), st.sampled_from(["init", "mask", "control"])),
    max_size=3,
    unique_by=lambda one: one.role,
).map(lambda found: tuple(sorted(found, key=lambda one: ("init", "mask", "control").index(one.role))))
PARAMS = st.builds(
    GenerationParams,
    prompt=st.text(),
    negative_prompt=st.text(),
    inputs=INPUTS,
    steps=WHOLE,
    guidance=st.floats(allow_nan=False),
    strength=st.floats(0, 1),
    seed=WHOLE,
    count=WHOLE,
    width=WHOLE,
    height=WHOLE,
    sampler=st.text(),
    schedule=st.text(),
    format=st.sampled_from(["jpeg", "png", "webp", "avif"]),
    quality=WHOLE,
    base64=st.booleans(),
    exact=st.booleans(),
    loras=st.text(),
)
RECIPES = st.builds(
    Recipe, model=st.text(), params=PARAMS, weights=st.text(), dtype=st.text(), t5_tokens=WHOLE, source=st.text()
)
RESULTS = st.builds(
    Result,
    outputs=st.lists(st.builds(Output, st.text(), WHOLE, WHOLE, WHOLE, WHOLE)).map(tuple),
    format=st.sampled_from(["jpeg", "png", "webp", "avif"]),
    seed=WHOLE,
    inference_time=st.floats(0, 1e6),
    cold_start=st.floats(0, 1e6),
    warnings=st.lists(st.text()).map(tuple),
    recipe=st.none() | RECIPES,
    weights=st.text(),
)
REPORTS = st.builds(
    WorkerReport,
    running=st.lists(st.builds(RunningImages, st.text(), st.text(), WHOLE, WHOLE, WHOLE)).map(tuple),
    models=st.lists(st.text()).map(tuple),
    memory=st.dictionaries(st.text(), WHOLE),
    rows=st.just(2.5),
    step_seconds=st.floats(0, 1e3),
    storage=st.none() | st.text(min_size=1),
)


def stored(record: Any) -> Any:
    """What the database gives back."""
    return json.loads(json.dumps(record.to_json()))


@given(PARAMS | RECIPES | RESULTS | REPORTS)
def test_what_is_stored_is_read_again(record: Any) -> None:
    assert type(record).from_json(stored(record)) == record


@given(PARAMS | RESULTS | REPORTS)
def test_what_a_later_version_added_is_ignored(record: Any) -> None:
    assert type(record).from_json(stored(record) | {"of_tomorrow": [1]}) == record


def test_a_refiner_is_written_where_there_is_one_as_earlier_versions_know_of_none() -> None:
    plain = GenerationParams(steps=20, guidance=7.5, seed=1, sampler="UniPC")
    refined = replace(plain, refiner=True, high_noise_fraction=0.5, refiner_strength=0.3)
    assert not any("refine" in name or "noise" in name for name in plain.to_json())
    assert GenerationParams.from_json(json.loads(json.dumps(refined.to_json()))) == refined


def test_a_record_of_version_0_1_is_read() -> None:
    order = {
        "prompt": "a fox",
        "image": "/sd-img2img-input.jpeg",
        "steps": 4,
        "guidance": 1.0,
        "seed": 7,
        "sampler": "euler",
    }
    params = GenerationParams.from_json(order)
    assert (params.source, params.inputs, params.count) == (order["image"], (InputImage(order["image"]),), 1)
    assert params.to_json() | order == params.to_json()
    made = Result.from_json(
        {
            "pictures": [{"name": "a.png", "size": 9, "seed": 7}],
            "format": "png",
            "seed": 7,
            "recipe": {"model": "m", "order": order, "weights": "w", "dtype": "float32", "t5_tokens": 77, "source": ""},
            "inference_time": 0.5,
        }
    )
    assert made.outputs == (Output("a.png", 9, 0, 0, 7),)
    assert made.recipe is not None
    assert (made.recipe.params, made.cold_start, made.warnings, made.weights) == (params, 0.0, (), "")
    assert WorkerReport.from_json(None) == WorkerReport.from_json({}) == WorkerReport()


@pytest.mark.parametrize("recipe", [{}, {"model": "m", "order": {"prompt": "a fox"}}, {"model": "m"}])
def test_a_recipe_that_cannot_be_read_leaves_the_rest_of_a_result(recipe: Any) -> None:
    said = {"pictures": [{"name": "a.png", "size": 9, "seed": 7}], "format": "png", "seed": 7, "inference_time": 0.5}
    assert Result.from_json({**said, "recipe": recipe}) == Result.from_json(said)


def test_a_record_that_lacks_what_it_must_have_is_refused() -> None:
    with pytest.raises(TypeError):
        GenerationParams.from_json({"prompt": "a fox"})


def test_roles_say_what_an_input_is_for() -> None:
    inputs = (InputImage("mask.png", "mask"), InputImage("fox.png"))
    params = GenerationParams(steps=1, guidance=1.0, seed=0, sampler="euler", inputs=inputs)
    assert params.init == InputImage("fox.png", "init")
    moved = params.from_source("file:1")
    assert moved.inputs == (InputImage("mask.png", "mask"), InputImage("file:1"))
    assert moved.from_source("file:2", "mask").input("mask") == InputImage("file:2", "mask")


def values(param: Param) -> st.SearchStrategy[Any]:
    """Values that a parameter takes."""
    if param.choices:
        return st.sampled_from([*param.choices, *param.aliases])
    match param.kind:
        case "integer":
            return st.integers(int(param.minimum or 0), int(param.maximum or 0))
        case "number":
            return st.floats(param.minimum, param.maximum)
        case "boolean":
            return st.booleans()
        case "picture":
            return st.sampled_from(["/sd-img2img-input.jpeg", "file:1", "http://a.example/b.png"])
        case _:
            return st.text(st.characters(codec="utf-8"), max_size=20)


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.slug)
@settings(max_examples=25)  # of each of four models, which have most parameters in common
@given(data=st.data())
def test_a_body_made_of_parameters_means_these_parameters(spec: ModelSpec, data: st.DataObject) -> None:
    sent = data.draw(
        st.fixed_dictionaries(
            {param.name: values(param) for param in spec.parameters if param.required},
            optional={param.name: values(param) for param in spec.parameters if not param.required},
        )
    )
    params = spec.parse(sent).params
    again = spec.parse(spec.body(params))
    assert again.params == params
    assert again.ignored == ()
