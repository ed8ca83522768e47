"""A model of a family without built-in weights: listed everywhere, served once it has weights, and in nobody's way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs
from tests.integration.website import serving
from tests.toy_weights import AUTOENCODER, toy_weights, write_random
from tests.toy_weights import FAMILIES as TOYS

from tintype.catalog.models import MODELS, SD15_IMG2IMG
from tintype.catalog.spec import Catalogue
from tintype.checkpoints.weights import WeightsSpec
from tintype.cli import tintype
from tintype.errors import ConfigurationInvalid
from tintype.families import FAMILIES
from tintype.families.sd15 import SD15
from tintype.hub import registry as registries
from tintype.hub.registry import build_registry
from tintype.settings import Settings
from tintype.worker.models import ModelPool

BARE = "bare-img2img"
#: Models of the catalogue that are so.
XL = ("sdxl1.0-txt2img", "sdxl-img2img")
WORDS = (
    "needs weights that this server doesn't have: its operator can run tintype models pull bare-img2img and restart, "
    "or name them in the models file"
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth model, of a family without built-in weights."""
    monkeypatch.setitem(FAMILIES, "bare", replace(SD15, name="bare", builtin=None))
    spec = replace(SD15_IMG2IMG, slug=BARE, title="Bare", family="bare")
    monkeypatch.setattr(registries, "MODELS", Catalogue([*MODELS.values(), spec]))


def test_without_weights_it_is_known_and_not_served(tmp_path: Path) -> None:
    registry = build_registry(Settings.of(data=tmp_path))
    assert registry.unserved[BARE] == WORDS
    assert (registry.catalogue.keys() - registry.served.keys(), registry.missing) == ({BARE, *XL}, {})
    assert registry.unserved[XL[1]] == registry.unserved[XL[0]] == WORDS.replace(BARE, XL[0]), "both are pulled at once"
    assert BARE not in registry.identities, "no server offers it"
    registry.require(registry.served)
    with pytest.raises(ConfigurationInvalid, match=f"{BARE}: needs weights"):
        registry.require([BARE])


def test_with_weights_it_is_served(tmp_path: Path) -> None:
    named = build_registry(Settings.of(data=tmp_path, weights=json.dumps({BARE: str(tmp_path)})))
    assert (named.unserved.keys(), BARE in named.served) == ({*XL}, True)
    given = build_registry(Settings.of(data=tmp_path)).with_weights(BARE, tmp_path)
    assert (given.unserved.keys(), BARE in given.served) == ({*XL}, True)
    (tmp_path / "models.toml").write_text(f'[models.{BARE}]\nsource = "somebody/else"')
    elsewhere = build_registry(Settings.of(data=tmp_path))
    assert ([*elsewhere.missing], BARE in elsewhere.served) == ([BARE], True), "as of old"


def test_the_server_lists_it_and_says_how_to_have_it_served(tmp_path: Path) -> None:
    with serving(tmp_path) as site, site.http() as http:
        listed = {model["slug"]: model for model in http.get("/v1/models").json()["models"]}
        assert (listed[BARE]["weights"], listed[BARE]["weights_note"]) == ("needs weights", WORDS)
        assert listed[BARE]["weights_command"] == f"tintype models pull {BARE}"
        source = SD15_IMG2IMG.source
        assert source is not None
        published = {"repository": source.repository, "licence": source.licence, "gated": False, "bytes": source.size}
        assert listed[BARE]["weights_published"] == published
        assert listed[SD15_IMG2IMG.slug]["weights"] == "built-in"
        pull = f"tintype models pull {SD15_IMG2IMG.slug}"
        assert {listed[slug]["weights_command"] for slug in (SD15_IMG2IMG.slug, "sd1.5-inpainting")} == {pull}, "shared"
        for method, path in (
            ("POST", f"/v1/{BARE}"),
            ("POST", f"/v2/{BARE}"),
            ("GET", f"/v1/{BARE}"),
            ("POST", f"/v2/models/{BARE}/warm"),
            ("GET", f"/v2/models/{BARE}/warm"),
        ):
            answer = http.request(method, path, json={"prompt": "a fox"} if method == "POST" else None)
            assert (answer.status_code, WORDS in answer.text) == (404, True), (path, answer.text)
            assert "expired" not in answer.text, "it says what to do about weights"
        assert http.get(f"/models/{BARE}").status_code == 200, "its page is there"
        paths = http.get("/openapi.json").json()["paths"]
        assert (f"/v2/{BARE}" in paths, f"/v2/{SD15_IMG2IMG.slug}" in paths) == (False, True)
        site.beat("w1")
        assert http.get("/ready").status_code == 200


def test_the_command_line_lists_it(tmp_path: Path) -> None:
    def said(*words: str) -> str:
        ran = CliRunner().invoke(tintype, ["models", *words, "--data", str(tmp_path)], catch_exceptions=False)
        assert ran.exit_code == 0, ran.output
        return ran.stdout

    rows = {row["slug"]: row for row in json.loads(said("list", "--json"))}
    assert (rows[BARE]["weights"], rows[BARE]["state"], rows[BARE]["bytes"]) == ("needs weights", WORDS, 0)
    assert f"{BARE}: {WORDS}" in said("list")
    assert WORDS in said("show", BARE)
    assert f"{BARE}: {WORDS}" in said("check", "--all")


def test_a_worker_passes_over_it(tmp_path: Path) -> None:
    settings = Settings.of(data=tmp_path)
    models = ModelPool.from_settings(settings, build_registry(settings), "cpu")
    assert (models.with_denoiser(), BARE in models.catalogue) == (set(), False)


def test_a_worker_logs_at_its_start_what_can_not_be_drawn_with(weights: Path, tmp_path: Path) -> None:
    components = {"vae": ("AutoencoderTiny", AUTOENCODER | {"latent_channels": 16})}
    write_random(tmp_path / "sd3", components, TOYS["sd3"][1])
    wrong = WeightsSpec(toy_weights("sd15", weights), components=(("vae", tmp_path / "sd3" / "vae"),))
    whole = WeightsSpec(toy_weights("sd15", weights))
    spec = replace(SD15_IMG2IMG, slug="other")
    own = {SD15_IMG2IMG.slug: wrong, spec.slug: whole, "gone": WeightsSpec(tmp_path / "nowhere")}
    with capture_logs() as logs:
        ModelPool("cpu", "float32", 32, own, catalogue=Catalogue([SD15_IMG2IMG, spec])).check()
    [said] = logs
    assert said["model"] == SD15_IMG2IMG.slug
    assert said["error"] == "component unet: it takes 4 channels; the latents of vae have 16"
