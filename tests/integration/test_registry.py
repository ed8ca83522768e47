"""A models file and what follows from it: weights found in every place, and a further slug on every surface."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.integration.website import serving

from tintype.catalog.modelfile import ModelEntry, ModelsFile, extend
from tintype.catalog.models import MODELS, SOURCES
from tintype.checkpoints.weights import Lora, WeightsSpec, builtin_weights
from tintype.cli import tintype
from tintype.errors import ConfigurationInvalid, InvalidParameter
from tintype.hub.folder import format_size
from tintype.hub.registry import Registry, build_registry
from tintype.settings import Settings

OLD, SD3, TEXT = "sd1.5-img2img", "sd3-med-img2img", "stable-diffusion-3.5-turbo-txt2img"
FURTHER = """
[models.quick]
like = "stable-diffusion-3.5-turbo-txt2img"
title = "Quick"
description = "Small and quick."
price = 0.001
sizes = [64, 128]
defaults = {steps = 2, image_format = "png"}
"""


def built(data: Path, text: str, **settings: Any) -> Registry:
    (data / "models.toml").write_text(text, "utf-8")
    return build_registry(Settings.of(data=data, **settings))


@pytest.fixture
def places(tmp_path: Path) -> Path:
    """A data folder with things to point at."""
    for name in ("sd15", "other", "sd3", "tokenizers"):
        (tmp_path / name).mkdir()
    for name in ("one.safetensors", "vae.safetensors", "clip_l.safetensors", "style.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_without_a_file_every_model_has_the_built_in_weights(tmp_path: Path) -> None:
    registry = build_registry(Settings.of(data=tmp_path))
    assert (dict(registry.catalogue), registry.weights, registry.missing) == (dict(MODELS), {}, {})


def test_weights_have_one_fingerprint_wherever_they_are_named(tmp_path: Path) -> None:
    names = {slug: build_registry(Settings.of(data=tmp_path)).fingerprint(slug) for slug in (OLD, SD3, TEXT)}
    assert names[OLD] == builtin_weights("sd15").fingerprint
    assert len({*names.values()}) == 3
    registry = built(tmp_path, f'[models."{OLD}"]\nfolder = "away"\n')
    assert registry.fingerprint(OLD) == registry.identities[OLD], "they are on other machines"


def test_paths_count_from_the_models_file(places: Path) -> None:
    registry = built(
        places,
        f'[models."{OLD}"]\nfolder = "sd15"\nvae = "vae.safetensors"\nprediction = "v_prediction"\n'
        'components = {unet = "one.safetensors"}\n'
        'loras = ["style.safetensors", {file = "style.safetensors", scale = 0.5}]\n'
        f'[models.{SD3}]\nfile = "one.safetensors"\ntext_encoders = ["clip_l.safetensors"]\ntokenizers = "tokenizers"\n'
        't5 = "none"\npin = true\nkeep_alive = 60\navailable_loras = {style = "style.safetensors"}',
    )
    style = places / "style.safetensors"
    assert {slug: registry.weights[slug] for slug in (OLD, SD3)} == {
        OLD: WeightsSpec(
            places / "sd15",
            loras=(Lora(style), Lora(style, 0.5)),
            components=(("vae", places / "vae.safetensors"), ("unet", places / "one.safetensors")),
            prediction="v_prediction",
        ),
        SD3: WeightsSpec(
            places / "one.safetensors",
            components=(("tokenizers", places / "tokenizers"), ("text_encoder", places / "clip_l.safetensors")),
            t5="none",
            available_loras=(("style", Lora(style)),),
        ),
    }
    [param] = [param for param in registry.catalogue[SD3].parameters if param.name == "loras"]
    assert param.check("style:0.5") == "style:0.5"
    assert (registry.entries[SD3].pin, registry.entries[SD3].keep_alive) == (True, 60)


def test_a_further_slug_draws_with_its_model_s_weights_and_what_it_adds(places: Path) -> None:
    text = f'[models."{OLD}"]\nfolder = "sd15"\n[models.styled]\nlike = "{OLD}"\nloras = ["style.safetensors"]\n'
    assert built(places, text).weights["styled"] == WeightsSpec(
        places / "sd15", loras=(Lora(places / "style.safetensors"),)
    )
    environment = {OLD: places / "other"}
    assert built(places, text, weights=environment).weights["styled"].path == places / "other"
    assert built(places, f'[models.mine]\nlike = "{OLD}"').weights == {}


def test_the_environment_s_folder_wins(places: Path) -> None:
    own = built(places, f'[models."{OLD}"]\nfolder = "sd15"\nt5 = "cpu"', weights={OLD: places / "other"})
    assert own.weights[OLD] == WeightsSpec(places / "other", t5="cpu")


def test_a_file_that_is_named_for_once_has_the_tokenizers_that_the_model_had(places: Path) -> None:
    registry = built(places, f'[models."{OLD}"]\nfolder = "sd15"')
    file = places / "one.safetensors"
    assert registry.with_weights(OLD, file).weights[OLD] == WeightsSpec(file)
    (places / "sd15" / "tokenizer").mkdir()
    assert registry.with_weights(OLD, file).weights[OLD].components == (("tokenizers", places / "sd15"),)
    assert registry.with_weights(OLD, places / "other").weights[OLD] == WeightsSpec(places / "other")
    assert registry.with_weights(OLD, None) is registry


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f'[models."{OLD}"]\nsource = "a/b"', f"its weights are not here yet; run tintype models pull {OLD}"),
        (f'[models."{OLD}"]\nloras = ["style.safetensors"]', "its weights are not here yet; run "),
        (f'[models."{OLD}"]\navailable_loras = {{a = "style.safetensors"}}', "its weights are not here yet; run "),
        (f'[models."{OLD}"]\nfile = "one.safetensors"', "its tokenizers are not here; run tintype models pull"),
        (
            f'[models."{OLD}"]\nfolder = "sd15"\nloras = [{{source = "a/b", file = "x.safetensors"}}]',
            "the LoRA of a/b is not here yet; run tintype models pull",
        ),
        (f'[models."{OLD}"]\nfolder = "/nowhere"', "no such file or folder: /nowhere (models.sd1.5-img2img.folder)"),
        (
            f'[models."{OLD}"]\nfolder = "sd15"\nvae = "/no.safetensors"',
            "no such file or folder: /no.safetensors (models.sd1.5-img2img.vae)",
        ),
    ],
)
def test_what_is_configured_and_not_here_is_never_replaced(places: Path, text: str, why: str) -> None:
    registry = built(places, text)
    assert registry.missing[OLD].startswith(why)
    assert OLD not in registry.weights
    with pytest.raises(ConfigurationInvalid, match=OLD):
        registry.require([SD3, OLD])
    registry.require([SD3])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[models", "models.toml: it is not TOML: "),
        (f'[models.{SD3}]\navailable_loras = {{"a b" = "style.safetensors"}}', "models.sd3-med-img2img.available_lo"),
        ('[models.x]\nlike = "y"', "models.x.like: 'y' was given; allowed: sd1.5-img2img"),
    ],
)
def test_a_mistake_is_one_line(places: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refused:
        built(places, text)
    assert refused.value.message.startswith(words)
    assert "\n" not in refused.value.message


def test_a_path_of_the_environment_that_leads_nowhere_is_said_by_whoever_draws(tmp_path: Path) -> None:
    registry = build_registry(Settings.of(data=tmp_path, weights={OLD: Path("/no")}))
    assert OLD in registry.configured, "a server whose workers are elsewhere needs no weights"
    with pytest.raises(ConfigurationInvalid, match=rf"{OLD}: no such file or folder: /no \(TINTYPE_WEIGHTS\)"):
        registry.require([OLD])


def test_a_models_file_that_is_named_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"nope.toml: can't be read: No such file"):
        build_registry(Settings.of(data=tmp_path, models=tmp_path / "nope.toml"))


def test_a_further_slug_is_a_model_on_every_surface(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(FURTHER)
    with serving(tmp_path) as site, site.http() as http:
        models = {model["slug"]: model for model in http.get("/v1/models").json()["models"]}
        assert list(models) == [*MODELS, "quick"]
        assert (models["quick"]["title"], models["quick"]["price"]) == ("Quick", 0.001)
        listed = http.get("/inference-model-information/list").json()
        assert "quick" in json.dumps(listed)
        openapi = http.get("/openapi.json").json()
        paths, schemas = openapi["paths"], openapi["components"]["schemas"]
        body = paths["/v2/quick"]["post"]["requestBody"]["content"]["application/json"]
        assert body["schema"]["$ref"] == "#/components/schemas/QuickParams"
        assert schemas["QuickParams"]["properties"]["width"]["$ref"] == "#/components/schemas/QuickWidth"
        assert schemas["QuickWidth"]["enum"] == [64, 128]
        assert body["examples"]["example"]["value"]["steps"] == 2
        assert "/v1/quick" in paths
        page = http.get("/models/quick", headers={"accept": "text/html"})
        assert (page.status_code, "<title>Quick" in page.text) == (200, True)
        assert "quick" in http.post("/v1/nope", json={}).json()["error"]
        refused = http.post("/v2/quick", json={"prompt": "a fox", "width": 256})
        assert (refused.status_code, refused.json()["error"]) == (
            400,
            "width: 256 was sent; allowed: one of 64, 128",
        )
        submitted = http.post("/v2/quick", json={"prompt": "a fox"}).json()
        request = site.own.store.queue.find(submitted["request_id"], site.account_id)
        assert (request.slug, request.params["steps"], request.steps, request.billing.price) == ("quick", 2, 2, 1_000)
        made = http.post("/v2/keys", json={"name": "narrow", "models": ["quick"]})
        assert made.json()["key"]["models"] == ["quick"]
        environment = {"TINTYPE_DATA": str(tmp_path)}
        command = ["keys", "create", "--name", "k", "--models", "quick", "--test"]
        made = CliRunner(env=environment).invoke(tintype, command)
        with site.http(made.stdout.strip()) as tester:  # the stand-in plays it, with the models file's defaults
            played = tester.post("/v1/quick", json={"prompt": "a fox"})
            assert (played.status_code, played.headers["content-type"]) == (200, "image/png")
            assert json.loads(played.headers["x-output-metadata"]) == {"width": 64, "height": 64}
            assert tester.post(f"/v1/{TEXT}", json={"prompt": "a fox"}).status_code == 403


def test_an_operator_s_price_is_the_environment_s_then_the_file_s(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(FURTHER)
    runner = CliRunner(env={"TINTYPE_DATA": str(tmp_path), "TINTYPE_PRICES": '{"sd1.5-img2img": 0.5}'})

    def listed(**env: str) -> dict[str, Any]:
        said = runner.invoke(tintype, ["models", "list", "--json"], env=env)
        return {row["slug"]: row for row in json.loads(said.stdout)}

    rows = listed()
    assert (rows["quick"]["price"], rows[OLD]["price"], rows[SD3]["price"]) == (0.001, 0.5, 0.0076)
    assert "$0.001 a picture" in runner.invoke(tintype, ["models", "show", "quick"]).stdout
    over = {"TINTYPE_PRICES": '{"quick": {"dollars": 2, "per": "second"}}'}
    rows = {
        row["slug"]: row for row in json.loads(runner.invoke(tintype, ["models", "list", "--json"], env=over).stdout)
    }
    assert (rows["quick"]["price"], rows["quick"]["price_per"]) == (2.0, "second")
    helped = runner.invoke(tintype, ["generate", "quick", "--help"])
    assert "Small and quick." in helped.stdout
    missing = CliRunner().invoke(tintype, ["generate", "quick", "--data", str(tmp_path)])
    assert "--prompt: required; `tintype generate quick --help` has an example" in str(
        missing.exception or missing.output
    )
    named = CliRunner().invoke(tintype, ["generate", "quick", "--prompt", "x", "--data", str(tmp_path), "--width", "7"])
    assert "allowed: one of 64, 128" in str(named.exception)


@pytest.mark.parametrize(("slug", "base"), [(slug, one.weights_of) for slug, one in MODELS.items() if one.weights_of])
def test_models_that_share_weights_have_the_same_wherever_they_are_from(slug: str, base: str, places: Path) -> None:
    named = f'[models."{base}"]\nfolder = "sd15"\nloras = ["late.safetensors"]\n'
    found = built(places, named)
    assert found.missing[slug] == found.missing[base], "no others replace them"
    (places / "late.safetensors").write_bytes(b"x")
    found, lora = built(places, named), Lora(places / "late.safetensors")
    assert found.weights[slug] == found.weights[base] == WeightsSpec(places / "sd15", (lora,))
    found = built(places, f'{named}[models."{slug}"]\nfolder = "other"\n')
    assert found.weights[slug] == WeightsSpec(places / "other")


XL = "sdxl1.0-txt2img"


def test_a_refiner_s_weights_let_callers_ask_for_it(places: Path) -> None:
    (places / "refiner").mkdir()
    (places / "refiner.safetensors").write_bytes(b"x")
    folders = built(places, f'[models."{XL}"]\nfolder = "other"\nrefiner = "refiner"')
    assert folders.weights[XL] == WeightsSpec(places / "other", refiner=WeightsSpec(places / "refiner"))
    asked = {**MODELS[XL].example, "refiner": True, "high_noise_fraction": 0.6, "strength": 0.3}
    params = folders.served.find(XL).parse(asked).params
    assert (params.refiner, params.high_noise_fraction, params.refiner_strength, params.strength) == (True, 0.6, 0.3, 1)
    keys = 'file = "one.safetensors"\ntokenizers = "tokenizers"\nrefiner = "refiner.safetensors"'
    files = built(places, f'[models."{XL}"]\n{keys}')
    shared = (("tokenizers", places / "tokenizers"),)
    expected = WeightsSpec(places / "refiner.safetensors", components=shared)
    assert files.weights[XL].refiner == expected, "a file has none of its own"
    gone = built(places, f'[models."{XL}"]\nfolder = "other"\nrefiner = "nowhere"')
    assert gone.missing[XL].startswith(f"no such file or folder: {places / 'nowhere'}")


def test_a_refiner_that_nobody_could_ask_for_is_refused(places: Path) -> None:
    for slug in ("sdxl-img2img", OLD):
        with pytest.raises(ConfigurationInvalid, match=r"\.refiner: .* takes none; leave refiner out"):
            built(places, f'[models."{slug}"]\nrefiner = "other"')
    with pytest.raises(InvalidParameter, match="allowed: false, as no weights for the refiner are here"):
        MODELS[XL].parse({**MODELS[XL].example, "refiner": True})


def test_the_documentation_s_examples_are_understood() -> None:
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text("utf-8")
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert len(examples) >= 4
    for example in examples:
        file = ModelsFile(**tomllib.loads(example))
        assert file.models.keys() <= extend(MODELS, file).keys()
    keys = {key for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for key in re.findall(r"`(\w+)`", row)}
    assert keys >= ModelEntry.model_fields.keys()


def test_the_documentation_names_every_source() -> None:
    text = (Path(__file__).parents[2] / "docs" / "weights.md").read_text("utf-8")
    for slug, source in SOURCES.items():
        [row] = re.findall(rf"^\| `{re.escape(slug)}` \|.*$", text, re.MULTILINE)
        assert format_size(source.size) in row
        assert source.repository in row or source.needs_lora
