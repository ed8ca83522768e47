"""What `/openapi.json` says of a model's operations follows from its entry in the catalogue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tintype.catalog.models import MODELS, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.catalog.spec import Catalogue, ModelSpec
from tintype.samplers import ALIASES, OFFERED
from tintype.web.app import CORS
from tintype.web.generate import operations
from tintype.web.openapi import HEADERS

BODIES = operations.bodies(MODELS)
SHARED = "#/components/schemas/"


def meant(schema: Any) -> Any:
    """A parameter's schema, of one with few values the shared one's and its own words."""
    return {**BODIES[schema["$ref"].removeprefix(SHARED)], **schema} if "$ref" in schema else schema


def test_each_slug_has_a_name_of_its_own() -> None:
    slugs = ("sd1.5-img2img", "sd15-img2img", "s.d15-img2img", "3d")
    catalogue = Catalogue(replace(SD15_IMG2IMG, slug=slug) for slug in slugs)
    found = operations.names(catalogue)
    assert [*found] == [*slugs]
    assert found["sd1.5-img2img"] == "Sd15Img2img"
    assert len({*found.values()}) == len(slugs)


def test_values_are_those_that_the_server_takes() -> None:
    sampler = BODIES["StableDiffusion35TurboTxt2imgSampler"]
    assert {*OFFERED, *ALIASES} <= {*sampler["enum"]}
    for value in sampler["enum"]:
        SD35_TURBO_TXT2IMG.parse({"prompt": "a fox", "sampler": value})


@pytest.mark.parametrize("spec", MODELS.values(), ids=[*MODELS])
def test_a_body_is_described_as_it_is_read(spec: ModelSpec) -> None:
    name = operations.names(MODELS)[spec.slug]
    body = BODIES[f"{name}Params"]
    shown = {one: meant(schema) for one, schema in body["properties"].items()}
    assert shown.keys() == {param.name for param in spec.parameters}
    assert {*body["required"]} == {param.name for param in spec.parameters if param.required}
    for param in spec.parameters:
        own = shown[param.name]
        assert own["description"] == param.help
        assert ("default" in own) == (not param.required), "the server never applies a required one's"
        assert own.get("examples", [param.default]) == [param.default]
        assert "maxLength" not in own or "enum" not in own
        assert own.get("format") is None, "an image may be base64, or a path"
        assert not [word for word in own if word.startswith("x-")]
    assert BODIES[f"{name}Urlencoded"] == body
    form = BODIES[f"{name}Form"]["properties"]
    files = {param.name for param in spec.parameters if param.kind == "picture"}
    assert {one for one, schema in form.items() if schema.get("format") == "binary"} == files
    assert {one: form[one] for one in form.keys() - files} == {
        one: body["properties"][one] for one in shown.keys() - files
    }


def test_an_answer_has_the_formats_of_its_model() -> None:
    for slug, formats in (("sd1.5-img2img", {"jpeg"}), ("stable-diffusion-3-turbo-img2img", {"jpeg", "png", "avif"})):
        answer = operations.run(MODELS[slug], "Any", None)["responses"][200]
        assert answer["content"].keys() == {f"image/{format}" for format in formats}


def test_every_header_that_pages_may_read_is_described() -> None:
    assert {*CORS["expose_headers"]} <= {name.lower() for name in HEADERS}
