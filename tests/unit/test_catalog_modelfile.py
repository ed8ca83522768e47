"""The models file: what it adds to the catalogue, and what is said of each mistake in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tintype.catalog.modelfile import ModelEntry, ModelsFile, explain, extend
from tintype.catalog.models import MODELS
from tintype.catalog.spec import Catalogue
from tintype.errors import ConfigurationInvalid, InvalidParameter, NotFound

OLD = "sd1.5-img2img"
TURBO = "stable-diffusion-3-turbo-img2img"
TEXT = "stable-diffusion-3.5-turbo-txt2img"


def added(slug: str, **keys: object) -> Catalogue:
    return extend(MODELS, ModelsFile(models={slug: ModelEntry.model_validate(keys)}))


def test_a_further_slug_has_its_model_s_parameters_and_words_of_its_own() -> None:
    catalogue = added("anime", like=OLD, title="Anime", description="Draws anime.")
    assert list(catalogue) == [*MODELS, "anime"]
    spec = catalogue.find("anime")
    assert (spec.slug, spec.title, spec.family) == ("anime", "Anime", "sd15")
    assert spec.parameters == MODELS[OLD].parameters
    assert spec.json_schema()["title"] == "Anime"
    assert MODELS[OLD].title != "Anime"


def test_defaults_are_what_a_caller_gets_who_sends_nothing() -> None:
    spec = added("anime", like=OLD, defaults={"num_inference_steps": 30, "scheduler": "Euler a"}).find("anime")
    params, _ = spec.validate({"image": "/x.png", "prompt": "a fox"})
    wanted = spec.read(params | {"seed": 1})
    assert (wanted.steps, wanted.sampler) == (30, "Euler a")
    assert spec.json_schema()["properties"]["num_inference_steps"]["default"] == 30
    assert spec.example["num_inference_steps"] == 30


def test_sizes_replace_the_model_s_own() -> None:
    spec = added("wide", like=OLD, sizes=[640, 512]).find("wide")
    body = {"image": "/x.png", "prompt": "a fox"}
    assert spec.validate(body)[0]["img_width"] == 640
    with pytest.raises(InvalidParameter, match="img_width: 768 was sent; allowed: one of 640, 512"):
        spec.validate(body | {"img_width": 768})
    text = added("small", like="stable-diffusion-3.5-turbo-txt2img", sizes=[512]).find("small")
    with pytest.raises(InvalidParameter, match="allowed: one of 512"):
        text.validate({"prompt": "x", "width": 1024})


def test_what_a_few_step_model_fixes_can_be_what_its_weights_need() -> None:
    assert added(TURBO, fixed={"steps": 8, "guidance": 3.5}).find(TURBO).fixed["steps"] == 8
    assert MODELS[TURBO].fixed["steps"] == 4


@pytest.mark.parametrize(
    ("slug", "keys", "words"),
    [
        ("anime", {}, "models.anime.like: required; allowed: sd1.5-img2img, "),
        ("anime", {"like": "sd1.5"}, "models.anime.like: 'sd1.5' was given; allowed: sd1.5-img2img, "),
        (OLD, {"like": OLD}, f"models.{OLD}.like: it has its own parameters; leave like out"),
        ("Anime!", {"like": OLD}, "models.Anime!: a slug is a-z, 0-9, dots and hyphens"),
        (
            "requests",
            {"like": OLD},
            "models.requests: requests is reserved for addresses of the server, as are ",
        ),
        ("keys", {"like": OLD}, "models.keys: keys is reserved"),
        (OLD, {"defaults": {"scheduler": "x"}}, f"models.{OLD}.defaults.scheduler: 'x' was sent; allowed: one of DDIM"),
        (OLD, {"defaults": {"stepz": 1}}, f"models.{OLD}.defaults.stepz: no such parameter; allowed: image, prompt"),
        (OLD, {"fixed": {"steps": 4}}, f"models.{OLD}.fixed.steps: no such key; allowed: nothing: callers choose"),
        (TURBO, {"fixed": {"steps": 0}}, f"models.{TURBO}.fixed.steps: 0 was given; allowed: 1 to 100"),
        (
            OLD,
            {"text_encoders": ["a", "b"]},
            f"models.{OLD}.text_encoders: 2 were given; Stable Diffusion 1.5 image to ",
        ),
        (OLD, {"components": {"uned": "a"}}, f"models.{OLD}.components.uned: no such component; there are unet, vae, "),
        (TURBO, {"sizes": [512]}, f"models.{TURBO}.sizes: Stable Diffusion 3 Turbo image to image draws at the input"),
    ],
)
def test_what_an_entry_can_not_say(slug: str, keys: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        added(slug, **keys)
    assert refused.value.message.startswith(words)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"models": {OLD: {"t5": "gpu"}}}, f"models.{OLD}.t5: 'gpu' was given; allowed: 'device', 'cpu' or 'none'"),
        ({"models": {OLD: {"sourc": "a/b"}}}, f"models.{OLD}.sourc: no such key; the closest is source"),
        ({"models": {"sd1": {"5-img2img": {"pin": True}}}}, 'quotes: [models."sd1.5-img2img"]'),
        ({"model": {}}, "model: no such key; the closest is models"),
        ({"models": {OLD: {"source": "sd15"}}}, "'sd15' was given; allowed: a repository of the hub, owner/name"),
        ({"models": {OLD: {"source": "../.."}}}, "allowed: a repository of the hub, owner/name"),
        ({"models": {OLD: {"price": -1}}}, "models.sd1.5-img2img.price.dollars: -1 was given; allowed: greater than"),
        ({"models": {OLD: {"sizes": [500]}}}, "sizes.0: 500 was given; allowed: multiples of 16 from 64 to 2048"),
        ({"models": {OLD: {"folder": "a", "source": "a/b"}}}, "allowed: a folder alone, a file alone, or a source"),
        ({"models": {OLD: {"loras": [{"scale": 1}]}}}, f"models.{OLD}.loras.0.file: required, but not there"),
        (
            {"aliases": {"sd-1": {"5": OLD}}},
            'aliases.sd-1.5: no such key, but generate and edit; a name with a dot in it stands in quotes: "sd-1.5"',
        ),
        ({"aliases": {"a": {"edit": OLD}}}, "aliases.a.generate: required, but not there"),
    ],
)
def test_a_mistake_names_the_key_what_was_given_and_what_is_allowed(said: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match="validation error") as refused:
        ModelsFile(**said)  # type: ignore[arg-type]
    assert words in explain(refused.value)


def test_aliases_name_one_model_or_one_for_each_task() -> None:
    both = {"generate": TEXT, "edit": OLD}
    catalogue = extend(MODELS, ModelsFile(aliases={"gpt-image-1": both, "owner/sd-1.5": OLD}))  # type: ignore[dict-item]
    assert [catalogue.named("gpt-image-1", task).slug for task in ("generate", "edit")] == [TEXT, OLD]
    assert catalogue.named("owner/sd-1.5", "generate").slug == OLD
    assert catalogue.named(OLD, "generate").slug == OLD
    with pytest.raises(NotFound):
        catalogue.find("gpt-image-1")
    with pytest.raises(NotFound, match=f"{OLD}, .*, default, gpt-image-1, owner/sd-1.5; the operator can make"):
        catalogue.named("gpt-image-1.5", "generate")
    assert list(catalogue.aliases) == ["default", "gpt-image-1", "owner/sd-1.5"]


def test_there_is_always_a_default_which_can_be_another() -> None:
    assert [MODELS.named("default", task).slug for task in ("generate", "edit")] == [TEXT, "sd3-med-img2img"]
    assert extend(MODELS, ModelsFile(aliases={"default": OLD})).named("default", "generate").slug == OLD  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("name", "slug", "words"),
    [
        (OLD, OLD, f"aliases.{OLD}: no alias can be called so; allowed: 1 to 80 of "),
        ("a/b/c", OLD, "aliases.a/b/c: no alias"),
        ("/b", OLD, "aliases./b: no alias"),
        ("a b", OLD, "aliases.a b: no alias"),
        ("a\n", OLD, "aliases.a\n: no alias"),
        ("x" * 81, OLD, "no alias"),
        ("a", "none", "aliases.a.generate: 'none' was given; allowed: sd1.5-img2img, "),
        ("a", "default", "aliases.a.generate: 'default' was given"),
    ],
)
def test_an_alias_is_no_slug_and_names_slugs(name: str, slug: str, words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        extend(MODELS, ModelsFile(aliases={name: slug}))  # type: ignore[dict-item]
    assert words in refused.value.message


def test_a_lora_is_a_path_or_a_table() -> None:
    entry = ModelEntry.model_validate({"loras": ["a.safetensors", {"file": "b.safetensors", "scale": 0.5}]})
    assert [(lora.file, lora.scale) for lora in entry.loras] == [
        (Path("a.safetensors"), 1.0),
        (Path("b.safetensors"), 0.5),
    ]
