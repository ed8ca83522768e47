"""`tintype models pull`, `check` and `remove` against a hub on loopback, and what is served then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save, save_file

from tests.acceptance.harness import Server, done, here, until, words
from tests.integration.toyhub import TOKEN, ToyHub, toy_hub
from tests.integration.website import serving
from tests.toy_weights import toy_weights
from tintype.catalog.models import MEDIUM, MEDIUM_COMMIT, SOURCES
from tintype.checkpoints.weights import WeightsSpec
from tintype.errors import ConfigurationInvalid
from tintype.hub import download
from tintype.hub.folder import ModelsFolder
from tintype.hub.registry import build_registry
from tintype.media.images import read_note
from tintype.settings import Settings

SD15, SD3, TURBO = "sd1.5-img2img", "sd3-med-img2img", "stable-diffusion-3-turbo-img2img"
BIG = "transformer/diffusion_pytorch_model.safetensors"
LORA = b"\0" * 3000
#: What a folder has beside what is needed.
OTHERS = {"README.md": b"x", "transformer/flax_model.msgpack": b"x" * 5000, "vae/old.bin": b"x" * 5000}


@pytest.fixture
def hub(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyHub]:
    """SD 3 Medium's own repository, gated, with toy weights; and a token that may read it."""
    with toy_hub() as hub:
        hub.add(MEDIUM, toy_weights("sd3", weights), **OTHERS).gated = True
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
        yield hub


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, which the environment names."""
    monkeypatch.setenv("TINTYPE_DATA", str(tmp_path))
    return tmp_path


def pull(slug: str = SD3, *options: object) -> str:
    return done(here("models", "pull", slug, *options))


def refused(*arguments: object) -> str:
    """What a command that fails says, in one line."""
    return words(here("models", *arguments))


def listed(slug: str) -> dict[str, Any]:
    rows = json.loads(here("models", "list", "--json").stdout)
    return next(row for row in rows if row["slug"] == slug)


def place(data: Path) -> Path:
    return data / "models" / MEDIUM.replace("/", "--") / MEDIUM_COMMIT


def test_a_gated_model_is_pulled_and_then_served(
    hub: ToyHub, data: Path, weights: Path, new_server: Callable[..., Server]
) -> None:
    assert listed(SD3)["weights"] == "built-in"
    assert pull().startswith(f"{SD3}: {MEDIUM} at {MEDIUM_COMMIT[:8]}, ")
    assert f"/api/models/{MEDIUM}/revision/{MEDIUM_COMMIT}" in hub.asked
    assert not set(OTHERS) & {path.split("/", 5)[-1] for path in hub.asked}
    assert hub.leaked == []
    row = listed(SD3)
    assert (row["weights"], row["from"], row["state"]) == ("pulled", f"{MEDIUM}@{MEDIUM_COMMIT[:8]}", "ready")
    assert row["bytes"] == sum(file.stat().st_size for file in place(data).rglob("*") if file.is_file())
    assert done(here("models", "check", SD3)).endswith("whole")
    own = build_registry(Settings.of(data=data)).weights[SD3]
    assert own.fingerprint == WeightsSpec(toy_weights("sd3", weights)).fingerprint
    write_lora(data / "style.safetensors")
    (data / "models.toml").write_text(
        f'[models.mine]\nlike = "{SD3}"\ndefaults = {{num_inference_steps = 1}}\n'
        'available_loras = {style = "style.safetensors"}'
    )
    assert (listed("mine")["weights"], listed("mine")["from"]) == ("shared", SD3)
    where = {"models": data / "models.toml", "models_folder": data / "models"}
    http = new_server(weights="{}", **where).start().http()
    models = {model["slug"]: model for model in http.get("/v1/models").json()["models"]}
    assert [slug for slug, model in models.items() if "weights" not in model] == [SD3, "sd3-med-txt2img", "mine"]
    picture = BytesIO()
    Image.new("RGB", (64, 64), "teal").save(picture, "png")
    body = {"prompt": "a fox", "image": b64encode(picture.getvalue()).decode()}
    drawn = http.post("/v1/mine", json=body)
    assert (drawn.status_code, "x-weights" in drawn.headers) == (200, False)
    assert json.loads(read_note(drawn.content))["weights"] == own.fingerprint
    styled = http.post("/v1/mine", json=body | {"loras": "style:0.5"})
    assert styled.status_code == 200
    assert pixels(styled.content) != pixels(drawn.content)
    assert pixels(http.post("/v1/mine", json=body | {"loras": "style:0"}).content) == pixels(drawn.content)
    assert "style" in http.post("/v1/mine", json=body | {"loras": "other"}).json()["error"]


def test_sdxl_is_served_once_its_fp16_files_are_pulled(hub: ToyHub, data: Path, weights: Path) -> None:
    xl, source = "sdxl1.0-txt2img", SOURCES["sdxl1.0-txt2img"]
    hub.add(source.repository, toys := toy_weights("sdxl", weights))
    files = hub.repositories[source.repository].files
    for path in toys.rglob("*.safetensors"):
        half = {name: tensor.half() for name, tensor in load_file(path).items()}
        files[str(path.relative_to(toys)).replace(".safetensors", ".fp16.safetensors")] = save(half)
    assert listed(xl)["weights"] == listed("sdxl-img2img")["weights"] == "needs weights"
    assert pull(xl).startswith(f"{xl}: {source.repository} at {source.revision[:8]}, ")
    fetched = {path for path in hub.sent if path.endswith(".safetensors")}
    assert {Path(path).parent.name for path in fetched} == {"unet", "vae", "text_encoder", "text_encoder_2"}
    assert all(path.endswith(".fp16.safetensors") for path in fetched)
    assert (listed(xl)["weights"], listed("sdxl-img2img")["weights"]) == ("pulled", "shared")
    assert done(here("models", "check", xl)).endswith("whole")
    found = build_registry(Settings.of(data=data))
    assert found.weights[xl] == found.weights["sdxl-img2img"]
    assert {xl, "sdxl-img2img"} <= found.served.keys()


def write_lora(file: Path) -> None:
    """A LoRA for one layer of the toy transformer."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        sides = {"A": torch.randn(2, 32), "B": torch.randn(32, 2)}
    layer = "transformer.transformer_blocks.0.attn.to_v"
    save_file({f"{layer}.lora_{side}.weight": tensor for side, tensor in sides.items()}, file)


def pixels(file: bytes) -> bytes:
    return Image.open(BytesIO(file)).tobytes()


def test_all_that_the_models_file_names_is_pulled_and_a_worker_waits_for_it(
    hub: ToyHub, data: Path, weights: Path
) -> None:
    hub.add("somebody/tune", toy_weights("sd15", weights))
    assert done(here("models", "pull", "--all")).startswith("nothing to pull: the models file names no repository")
    (data / "models.toml").write_text(
        f'[models."{SD15}"]\nsource = "somebody/tune"\n[models.{SD3}]\nsource = "{MEDIUM}"\n'
        f'[models.mine]\nlike = "{SD15}"\n[models.hers]\nlike = "{SD15}"\nfolder = "{data}"'
    )
    assert refused("pull") == "name a model, or say --all, and then not --from"
    with subprocess.Popen(
        [sys.executable, "-m", "tintype", "models", "wait"], env=dict(os.environ), stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr
        said = waiting.stderr.readline()
        assert here("models", "pull", "--all").stdout.count("tintype serve uses it") == 2
        assert waiting.wait(150) == 0
    assert said.startswith(
        f"waiting for weights: {SD15}: its weights are not here yet; run tintype models pull {SD15}; "
    )
    asked = len(hub.asked)
    here("models", "pull", "--all")
    assert len(hub.asked) == asked


def test_a_second_pull_asks_for_nothing(hub: ToyHub, data: Path) -> None:
    pull()
    asked = len(hub.asked)
    pull()
    assert len(hub.asked) == asked


def test_a_pull_that_is_killed_goes_on_where_it_was(hub: ToyHub, data: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()
    size = len(hub.repositories[MEDIUM].files[BIG])

    def hold(path: str, sent: int) -> bool:
        if path == BIG and sent > size // 2:
            reached.set()
            return go_on.wait(150) and False
        return True

    hub.before = hold
    command = [sys.executable, "-m", "tintype", "models", "pull", SD3]
    with subprocess.Popen(command, env=dict(os.environ), stderr=subprocess.DEVNULL) as process:
        assert reached.wait(150)
        part = place(data) / f"{BIG}.part"
        until(lambda: part.is_file() and part.stat().st_size > size // 4)
        process.kill()
    go_on.set()
    there = part.stat().st_size
    assert listed(SD3)["weights"] == "built-in"
    hub.before = lambda path, sent: True
    hub.sent.clear()
    pull()
    assert hub.sent[BIG] == size - there
    assert done(here("models", "check", SD3)).endswith("whole")


def test_a_connection_that_breaks_is_taken_up_again(hub: ToyHub, data: Path) -> None:
    broken: list[int] = []

    def twice(path: str, sent: int) -> bool:
        breaks = path == BIG and sent > 0 and len(broken) < 2 and sent not in broken
        broken.extend([sent] if breaks else [])
        return not breaks

    hub.before = twice
    hub.busy = ["model_index.json"]
    pull()
    assert (len(broken), hub.busy) == (2, [])
    assert hub.sent[BIG] == len(hub.repositories[MEDIUM].files[BIG])


def test_a_connection_that_always_breaks_is_given_up(hub: ToyHub, data: Path) -> None:
    hub.before = lambda path, sent: path != BIG
    said = refused("pull", SD3)
    assert said.startswith(f"{hub.address} can't be reached: ")
    assert "HF_ENDPOINT" in said
    assert "--from" in said


def test_a_forged_file_is_never_served(hub: ToyHub, data: Path) -> None:
    content = hub.repositories[MEDIUM].files[BIG]
    hub.forged[BIG] = content[:-1] + bytes([content[-1] ^ 1])
    assert refused("pull", SD3) == f"{MEDIUM}: {BIG} is not what the hub says it is (wrong checksum); pull again"
    assert listed(SD3)["weights"] == "built-in"
    hub.forged.clear()
    hub.sent.clear()
    pull()
    assert hub.sent[BIG] == len(content)


def test_what_was_damaged_since_is_found_and_fetched_again(hub: ToyHub, data: Path) -> None:
    pull()
    with (place(data) / BIG).open("r+b") as file:
        file.seek(5000)
        file.write(b"damaged")
    checked = here("models", "check", "--all")
    assert checked.exit_code == 1
    [line] = [line for line in checked.stdout.splitlines() if line.startswith(SD3)]
    assert line == f"{SD3}: {BIG} is not what was pulled; run tintype models pull {SD3} --verify"
    hub.sent.clear()
    pull(SD3, "--verify")
    assert list(hub.sent) == [BIG]
    assert here("models", "check", "--all").exit_code == 0


def test_what_is_gone_is_not_replaced_by_the_built_in_weights(hub: ToyHub, data: Path) -> None:
    pull()
    (place(data) / BIG).unlink()
    why = f"{BIG} is missing; run tintype models pull {SD3} again"
    assert (listed(SD3)["weights"], listed(SD3)["state"]) == ("missing", why)
    refusing = f"{SD3}: {why}"
    assert words(here("serve", "--port", 0)) == refusing
    assert words(here("worker")) == refusing
    assert words(here("generate", SD3, "--prompt", "x", "-o", data / "x.png")) == refusing
    with serving(data) as site, site.http() as http:  # the weights may lie on workers' machines alone
        models = {model["slug"]: model for model in http.get("/v1/models").json()["models"]}
    assert "weights" not in models[SD3]
    pull()
    assert listed(SD3)["state"] == "ready"


def test_who_may_not_read_a_gated_repository_is_told_what_to_do(
    hub: ToyHub, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = f"{MEDIUM} is gated: sign in at {hub.address}/{MEDIUM} and accept its licence; "
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert refused("pull", SD3) == accept + (
        "the token is valid, may read gated repositories, and is of the account that was accepted"
    )
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setenv("HF_HOME", str(data / "nobody"))
    assert refused("pull", SD3) == accept + (
        "make a token that may read at https://huggingface.co/settings/tokens, and give it in HF_TOKEN or with "
        "--token-file"
    )
    (data / "token").write_text(f"{TOKEN}\n")
    pull(SD3, "--token-file", data / "token")


def test_what_the_hub_does_not_have(hub: ToyHub, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused("pull", SD15).startswith("repository stable-diffusion-v1-5/stable-diffusion-v1-5 not found")
    (data / "models.toml").write_text(f'[models.{SD3}]\nsource = "{MEDIUM}"\nrevision = "v9"')
    assert refused("pull", SD3) == f"{MEDIUM} has no revision v9"
    assert refused("pull", "nope").startswith("Model nope not found; the models are sd1.5-img2img, ")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert refused("pull", SD3).startswith("http://127.0.0.1:9 can't be reached: ")


def test_turbo_says_what_it_needs(hub: ToyHub, data: Path) -> None:
    assert refused("pull", TURBO).startswith(f"{TURBO}: its own weights are not public; name a few-step LoRA")


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """A file system of its own with so many bytes; skips where this process may not mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_without_room_is_said_before_and_a_full_one_when_it_is(
    hub: ToyHub, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setenv("TINTYPE_MODELS_FOLDER", str(disk))
    with small_disk(disk, 2**20):
        assert " are needed, and 1.05 MB are free in " in refused("pull", SD3)
        assert not any(file.endswith("safetensors") for file in hub.sent)
    with small_disk(disk, 80 * 2**20):

        def fill(path: str, sent: int) -> bool:
            if path == BIG and sent == 0:
                with (disk / "somebody's").open("wb") as file:
                    file.truncate(0)
                    shutil.copyfileobj(_Endless(shutil.disk_usage(disk).free - 10_000), file)
            return True

        hub.before = fill
        assert refused("pull", SD3) == f"the disk is full: {disk}; free some space, and pull again"
        assert listed(SD3)["weights"] == "built-in"
        (disk / "somebody's").unlink()
        hub.before = lambda path, sent: True
        pull()
        assert listed(SD3)["weights"] == "pulled"


class _Endless:
    """So many zeros, to be read."""

    def __init__(self, left: int) -> None:
        self.left = left

    def read(self, size: int) -> bytes:
        given = min(size, self.left)
        self.left -= given
        return bytes(given)


def test_slugs_share_a_repository_and_a_file_goes_with_its_last_user(hub: ToyHub, data: Path) -> None:
    hub.add("somebody/fast", data, **{"fast.safetensors": LORA}).commits["main"] = "d" * 40
    lora = '{source = "somebody/fast", file = "fast.safetensors", scale = 0.5}'
    (data / "models.toml").write_text(f"[models.{TURBO}]\nloras = [{lora}]")
    assert listed(TURBO)["state"] == f"its weights are not here yet; run tintype models pull {TURBO}"
    pull()
    hub.sent.clear()
    pull(TURBO)
    assert set(hub.sent) == {"fast.safetensors"}
    fast = build_registry(Settings.of(data=data)).weights[TURBO]
    assert [(one.path.read_bytes(), one.scale) for one in fast.loras] == [(LORA, 0.5)]
    assert fast.path == place(data)
    assert done(here("models", "remove", SD3, "--yes")) == f"{SD3}: 0 bytes freed"
    assert listed(TURBO)["state"] == "ready"
    assert listed(SD3)["weights"] == "built-in"
    here("models", "remove", TURBO, "--yes")
    assert [path.name for path in (data / "models").iterdir()] == [".lock"]
    assert refused("remove", TURBO, "--yes") == f"nothing was pulled for {TURBO}: there is nothing to remove"


def test_a_branch_stays_what_it_was_until_an_update(hub: ToyHub, data: Path, weights: Path) -> None:
    repository = hub.add("somebody/tune", toy_weights("sd15", weights))
    (data / "models.toml").write_text(f'[models."{SD15}"]\nsource = "somebody/tune"')
    pull(SD15)
    repository.commits["main"] = "e" * 40
    repository.files["model_index.json"] += b" "
    (data / "models" / "somebody--tune" / ("c" * 40) / "vae" / "config.json").unlink()
    pull(SD15)
    assert listed(SD15)["from"] == "somebody/tune@cccccccc"
    pull(SD15, "--update")
    assert listed(SD15)["from"] == "somebody/tune@eeeeeeee"
    (data / "models.toml").write_text(f'[models."{SD15}"]\nsource = "{MEDIUM}"')
    other = f"pulled is the folder of somebody/tune, configured the folder of {MEDIUM}; run tintype models pull {SD15}"
    assert listed(SD15)["state"] == other


def test_weights_that_are_here_are_registered_where_they_are(data: Path, weights: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(toy_weights("sd3", weights), mine)
    pull(SD3, "--from", mine)
    assert (listed(SD3)["weights"], listed(SD3)["from"]) == ("pulled", str(mine))
    (mine / "model_index.json").write_text("{", "utf-8")
    assert here("models", "check", SD3).exit_code == 1
    assert listed(SD3)["state"].startswith("model_index.json has 1 bytes instead of ")
    done(here("models", "remove", SD3, "--yes"))
    assert (mine / BIG).is_file()
    assert listed(SD3)["weights"] == "built-in"
    (tmp_path / "old.ckpt").write_bytes(b"x")
    assert "must be .safetensors; pickled weights can run code" in refused("pull", SD3, "--from", tmp_path / "old.ckpt")
    (tmp_path / "empty").mkdir()
    assert "there is no model_index.json in it" in refused("pull", SD3, "--from", tmp_path / "empty")


def test_nothing_outside_is_ever_removed(hub: ToyHub, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pull()
    own = place(data).parent
    elsewhere = data / "elsewhere"
    own.rename(elsewhere)
    own.symlink_to(elsewhere)
    assert "nothing is removed there" in refused("remove", SD3, "--yes")
    assert (elsewhere / MEDIUM_COMMIT / BIG).is_file()
    monkeypatch.setenv("TINTYPE_WEIGHTS", json.dumps({SD15: str(data)}))
    assert refused("remove", SD15, "--yes") == f"{SD15} draws with {data}, which is yours: only what was pulled goes"


def test_weights_of_another_family_are_named(data: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_WEIGHTS", json.dumps({SD15: str(toy_weights("sd3", weights))}))
    checked = here("models", "check", SD15)
    assert checked.exit_code == 1
    assert f"{SD15}: checkpoint: sd3 is Stable Diffusion 3 (StableDiffusion3Pipeline), not a model of" in checked.stdout


def test_removing_asks(hub: ToyHub, data: Path) -> None:
    assert refused("remove", SD3) == f"nothing was pulled for {SD3}: there is nothing to remove"  # without a question
    assert not (data / "models").exists()
    pull()
    assert here("models", "remove", SD3).exit_code == 1  # nobody answers
    assert listed(SD3)["weights"] == "pulled"


def test_one_pull_at_a_time(hub: ToyHub, data: Path) -> None:
    reached, go_on = threading.Event(), threading.Event()

    def hold(path: str, sent: int) -> bool:
        reached.set()
        return go_on.wait(150)

    hub.before = hold
    first = threading.Thread(target=here, args=("models", "pull", SD3))
    first.start()
    assert reached.wait(150)
    said = refused("pull", SD3)
    go_on.set()
    first.join()
    assert said.startswith("another tintype is pulling or removing in ")


def test_a_manifest_that_is_none_is_named(data: Path) -> None:
    (data / "models").mkdir()
    (data / "models" / f"{SD3}.json").write_text("[]")
    with pytest.raises(ConfigurationInvalid, match=f"{SD3}.json: not a manifest of pulled weights"):
        ModelsFolder(data / "models").manifest(SD3)


def test_a_file_in_the_original_layout_gets_tokenizers_that_are_no_weights(hub: ToyHub, data: Path) -> None:
    (data / "one.safetensors").write_bytes(b"x")
    (data / "models.toml").write_text(f'[models.{SD3}]\nfile = "one.safetensors"')
    assert listed(SD3)["state"].startswith(f"its tokenizers are not here; run tintype models pull {SD3}, or ")
    pull()
    assert {path.partition("/")[0] for path in hub.sent} == {"tokenizer", "tokenizer_2"}
    own = build_registry(Settings.of(data=data)).weights[SD3]
    assert (own.path, own.components) == (data / "one.safetensors", (("tokenizers", place(data)),))
    (data / "models.toml").unlink()
    assert listed(SD3)["state"].startswith(
        f"pulled is the tokenizers of {MEDIUM}, configured the folder of {MEDIUM}; run "
    )
    pull()
    assert (listed(SD3)["weights"], listed(SD3)["state"]) == ("pulled", "ready")
