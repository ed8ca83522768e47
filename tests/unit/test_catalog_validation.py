"""How a body becomes parameters: types, strings, null, aliases, what is not there yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tintype.catalog import spec
from tintype.catalog.models import MODELS
from tintype.catalog.samples import SAMPLES, sample_path
from tintype.errors import BadRequest, InvalidParameter, MissingParameter
from tintype.samplers import OFFERED, SCHEDULES

TEXT = MODELS["stable-diffusion-3.5-turbo-txt2img"]
OLD = MODELS["sd1.5-img2img"]
MEDIUM = MODELS["sd3-med-img2img"]
#: Spelling on the vendor's pages → the sampler that it means.
MEANT = {
    "euler_pp": "euler_pp",
    "euler_ancestral_pp": "euler_ancestral_pp",
    "euler_ancestra": "euler_ancestral",
    "leuler_ancestral_cfg_pp": "euler_ancestral_cfg_pp",
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def sent(**changes: Any) -> dict[str, Any]:
    return {"prompt": "a fox", **changes}


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("steps", "7", 7),
        ("steps", 7.0, 7),
        ("width", " 128 ", 128),
        ("guidance_scale", "1.5", 1.5),
        ("guidance_scale", 2, 2.0),
        ("guidance_scale", "1e1", 10.0),
        ("seed", str(2**63 - 1), 2**63 - 1),
        ("base64", "true", True),
        ("base64", "false", False),
        ("base64", "True", True),
        ("base64", "0", False),
        ("base64", True, True),
        ("prompt", "", ""),
        ("prompt", "a\0b", "a\0b"),
    ],
)
def test_what_a_value_means(name: str, value: object, meant: object) -> None:
    params, _ = TEXT.validate(sent(**{name: value}))
    assert params[name] == meant
    assert type(params[name]) is type(meant)


def test_installed_packages_are_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    TEXT.validate(sent())
    monkeypatch.setattr(spec, "entry_points", lambda group: pytest.fail(f"{group} was read again"))
    TEXT.validate(sent())


@pytest.mark.parametrize("value", [True, False, float("nan"), float("inf"), "nan", "Infinity", "", "x", [1], {"a": 1}])
@pytest.mark.parametrize("name", ["steps", "seed", "guidance_scale", "width", "batch_size", "image_quality"])
def test_what_is_no_number(name: str, value: object) -> None:
    with pytest.raises(InvalidParameter) as error:
        TEXT.validate(sent(**{name: value}))
    shown = repr(value) if isinstance(value, str) else json.dumps(value)
    assert error.value.message.startswith(f"{name}: {shown} was sent; allowed: a")


@pytest.mark.parametrize("value", [True, "640", 512.5])
def test_what_is_no_choice_of_numbers(value: object) -> None:
    with pytest.raises(InvalidParameter, match=r"img_width: .* one of 512, 768"):
        OLD.validate({**OLD.example, "img_width": value})


def test_choices_of_numbers_may_come_as_strings() -> None:
    assert OLD.validate({**OLD.example, "img_width": "768"})[0]["img_width"] == 768


def test_null_is_absent_also_where_it_is_required() -> None:
    params, ignored = TEXT.validate(sent(steps=None, seed=None, nonsense=None))
    assert (params["steps"], params["seed"], ignored) == (4, 98552302, [])
    with pytest.raises(MissingParameter, match=r"^prompt: required, but not sent"):
        TEXT.validate({"prompt": None})


def test_text_is_limited_and_shortened_in_the_error() -> None:
    assert TEXT.validate(sent(prompt="x" * 20_000))
    with pytest.raises(InvalidParameter) as error:
        TEXT.validate(sent(prompt="x" * 20_001))
    assert len(error.value.message) < 200


@pytest.mark.parametrize("name", ["prompt", "negative_prompt", "sampler", "aspect_ratio"])
def test_a_lone_surrogate_is_no_text(name: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        TEXT.validate(sent(**{name: "\ud800"}))
    error.value.message.encode()


@pytest.mark.parametrize("spec", [TEXT, MEDIUM], ids=lambda spec: spec.slug)
@pytest.mark.parametrize("name", [*OFFERED, *MEANT])
def test_every_sampler(spec: Any, name: str) -> None:
    body: Mapping[str, Any] = {**spec.example, "sampler": name}
    assert spec.read(spec.validate(body)[0]).sampler == MEANT.get(name, name)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule(name: str) -> None:
    assert TEXT.read(TEXT.validate(sent(scheduler=name))[0]).schedule == name


@pytest.mark.parametrize("name", OLD.parameters[4].choices)
def test_every_old_scheduler_runs(name: str) -> None:
    assert OLD.read(OLD.validate({**OLD.example, "scheduler": name})[0]).sampler == name


@given(st.dictionaries(st.sampled_from([param.name for param in TEXT.parameters]) | st.text(), JSON))
def test_any_body_is_accepted_or_refused_in_our_words(body: dict[str, Any]) -> None:
    try:
        params, ignored = TEXT.validate(body)
    except BadRequest as error:
        error.message.encode()
        assert error.status == 400
        assert ": " in error.message
    else:
        assert list(params) == [param.name for param in TEXT.parameters]
        assert not set(ignored) & params.keys()
        TEXT.read(params)


@pytest.mark.parametrize("spec", MODELS.values(), ids=lambda spec: spec.slug)
def test_the_json_schema_says_the_same(spec: Any) -> None:
    schema = spec.json_schema()
    assert list(schema["properties"]) == [param.name for param in spec.parameters]
    assert schema.get("required", []) == [param.name for param in spec.parameters if param.required]
    assert schema["examples"] == [dict(spec.example)]
    for param in spec.parameters:
        shown = schema["properties"][param.name]
        assert shown["type"] == ("string" if param.kind == "picture" else param.kind)
        assert shown.get("enum", []) == list(param.choices)
        assert (shown.get("minimum"), shown.get("maximum")) == (param.minimum, param.maximum)
        assert shown.get("default") == param.default
        assert shown["description"] == param.help
        assert (shown.get("format") == "uri") == (param.kind == "picture")


def test_samples_are_known_by_path_and_by_the_vendors_address() -> None:
    assert sample_path("/sd-img2img-input.jpeg") == "/sd-img2img-input.jpeg"
    for sample in SAMPLES:
        assert sample_path(sample.path) == sample.path
        if sample.stands_for:
            assert sample_path(sample.stands_for) == sample.path
    for other in ("", "/", "/sd-img2img-input.jpg", "https://example.com/sd-img2img-input.jpeg"):
        assert sample_path(other) is None
