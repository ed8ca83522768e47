"""The command line in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.acceptance.harness import Server
from tintype.catalog.models import MODELS
from tintype.cli import tintype as root
from tintype.client import Client, RequestFailed, ServerRefused


def tintype(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tintype", *map(str, arguments)]
    wide = {**os.environ, "COLUMNS": "200"}
    return subprocess.run(command, check=check, capture_output=True, text=True, timeout=150, env=wide)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    weights.mkdir(exist_ok=True)
    (folder / "weights").symlink_to(weights)
    return folder


def test_generate_is_reproducible_and_several_pictures_are_seeds_apart(data: Path) -> None:
    slug = "stable-diffusion-3.5-turbo-txt2img"
    common = ["--prompt", "a fox", "--width", 128, "--height", 64, "--steps", 3, "--dtype", "float32", "--data", data]
    made = tintype("generate", slug, *common, "--seed", 41, "--batch-size", 2, "-o", data / "two.png")
    assert "seed 41" in made.stdout
    assert "seed 42" in made.stdout
    tintype("generate", slug, *common, "--seed", 42, "-o", data / "one.png")
    with Image.open(data / "two-2.png") as second, Image.open(data / "one.png") as alone:
        assert second.size == alone.size == (128, 64)
        differences = [abs(a - b) for a, b in zip(second.tobytes(), alone.tobytes(), strict=True)]
    assert max(differences) <= 1


def test_generate_takes_a_local_picture(data: Path) -> None:
    Image.new("RGB", (300, 200), "teal").save(data / "in.png")
    out = data / "out.webp"
    tintype("generate", "sd1.5-img2img", "--prompt", "x", "--image", data / "in.png", "--strength", 0.1, "-o", out,
            "--data", data)  # fmt: skip
    with Image.open(out) as image:
        assert (image.format, image.size) == ("WEBP", (512, 512))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "x", "--steps", "71"], "steps: '71' was sent; allowed: a whole number from 1 to 70"),
        (["--prompt", "x", "-o", "out.exe"], "--output: 'out.exe' was sent; allowed: a name that ends in"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str) -> None:
    failed = tintype("generate", "stable-diffusion-3.5-turbo-txt2img", *arguments, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"tintype: {words}")
    assert failed.stderr.count("\n") == 1


def test_every_help_page_has_an_example() -> None:
    pages = [([], root)]
    for path, command in pages:
        pages += [([*path, name], child) for name, child in getattr(command, "commands", {}).items()]
    assert len(pages) > 15
    for path, command in pages:
        assert "Example" in (command.help or ""), f"tintype {' '.join(path)}"


def test_models() -> None:
    assert [one["slug"] for one in json.loads(tintype("models", "list", "--json").stdout)] == list(MODELS)
    schema = json.loads(tintype("models", "show", "sd1.5-img2img", "--json").stdout)
    assert schema["properties"]["num_inference_steps"]["maximum"] == 100
    assert "a whole number from 20 to 100" in tintype("models", "show", "sd1.5-img2img").stdout
    assert tintype("models", "show", "nope", check=False).returncode == 1


def test_keys(server: Server) -> None:
    secret = server.cli("keys", "create", "--name", "mine").strip()
    assert server.http(secret).get("/v1/get-user-credits").is_success
    [mine] = [key for key in json.loads(server.cli("keys", "list", "--json")) if key["name"] == "mine"]
    assert secret not in json.dumps(mine)
    server.cli("keys", "revoke", mine["id"])
    assert server.http(secret).get("/v1/get-user-credits").status_code == 401


def test_a_first_start_prints_its_key_once_and_the_curl_that_works(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "weights").symlink_to(weights)
    server = Server(tmp_path, bootstrap_key="")
    lines = server.start().printed
    [curl] = [index for index, line in enumerate(lines) if line.strip().startswith("curl")]
    command = "".join(lines[curl : curl + 3]).replace("picture.jpeg", str(tmp_path / "picture.jpeg"))
    subprocess.run(command, shell=True, check=True, capture_output=True, timeout=120)
    with Image.open(tmp_path / "picture.jpeg") as image:
        assert image.size == (512, 512)
    secret = next(line for line in lines if line.strip().startswith("SG_")).strip()
    assert server.stop() == 0
    assert not any("SG_" in line for line in server.start().printed)
    assert server.http(secret).get("/v1/get-user-credits").json()["credits"] == pytest.approx(1000 - 0.0037)
    assert server.stop() == 0


def test_our_own_client(server: Server) -> None:
    seen = []
    with Client(server.address, key=str(server.settings["bootstrap_key"])) as client:
        result = client.run(
            "stable-diffusion-3.5-turbo-txt2img", prompt="x", width=64, height=64, seed=3, progress=seen.append
        )
        assert client.download(result.output).startswith(b"\xff\xd8")
        assert result.seed == 3
        assert seen[-1]["status"] == "COMPLETED"
        assert client.credits() > 0
        assert len(client.models()) == 4
        with pytest.raises(ServerRefused, match="steps"):
            client.submit("stable-diffusion-3.5-turbo-txt2img", prompt="x", steps=0)
        with pytest.raises(RequestFailed, match="not a public address"):
            client.run("sd1.5-img2img", prompt="x", image="http://127.0.0.1/x.png")


def test_demo(tmp_path: Path) -> None:
    done = tintype("demo", "--output", tmp_path / "demo")
    pictures = [tmp_path / "demo" / f"{slug}.jpeg" for slug in MODELS]
    for path in [*pictures, tmp_path / "demo" / "contact-sheet.jpeg"]:
        with Image.open(path) as image:
            image.load()
        assert str(path) in done.stdout.replace("\n", "")
