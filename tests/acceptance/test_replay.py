"""A picture says how it was made, and can be made again."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from click.testing import Result
from PIL import Image

from tests.acceptance.harness import Server, done, here, words
from tests.acceptance.test_http_helpers import INPAINTING, refused, same
from tintype.catalog.formats import FORMATS
from tintype.media.images import encode, read_note

TEXT = "stable-diffusion-3.5-turbo-txt2img"
PROMPT = "Fuchs, 狐 🦊"
QUICK: dict[str, Any] = {"prompt": PROMPT, "width": 128, "height": 64, "steps": 4, "guidance_scale": 3, "seed": 9}


def replay(server: Server, picture: Path, *options: object) -> Result:
    env = {"TINTYPE_WEIGHTS": str(server.settings["weights"])}
    return here("replay", picture, "--data", server.data, *options, **env)


def replay_elsewhere(server: Server, picture: Path) -> str:
    """In a process of its own, without our environment."""
    command = [sys.executable, "-m", "tintype", "replay", str(picture), "--data", str(server.data)]
    env = {"OMP_NUM_THREADS": "1", "PATH": "", "TINTYPE_WEIGHTS": str(server.settings["weights"])}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=env).stdout.splitlines()[-1]


def kept(result: dict[str, Any], path: Path) -> Path:
    path.write_bytes(httpx2.get(result["output"], timeout=60).content)
    return path


@pytest.mark.parametrize("format", [*FORMATS])
def test_an_exact_picture_is_made_again_bit_for_bit(server: Server, tmp_path: Path, format: str) -> None:
    """In company: other requests of the same size run at the same time, and share their steps, but not this one's."""
    client = server.client()
    company = [client.submit_async(TEXT, **QUICK | {"steps": 20, "seed": seed}) for seed in range(3)]
    result = client.submit_async(TEXT, **QUICK, exact=True, image_format=format).wait(interval=0.1)
    assert done(replay(server, kept(result, tmp_path / f"picture.{format}"))) == "identical"
    if format == "png":
        assert replay_elsewhere(server, tmp_path / "picture.png") == "identical"
    assert [job.wait(interval=0.1)["status"] for job in company] == ["COMPLETED"] * 3


def test_the_answer_carries_the_recipe(server: Server, tmp_path: Path) -> None:
    result = server.client().run(TEXT, **QUICK, batch_size=2, image_format="png")
    assert result["recipe"]["order"]["prompt"] == PROMPT
    assert result["recipe"]["dtype"] == "float32"
    seeds = [image["seed"] for image in result["images"]]
    assert seeds == ["9", "10"]
    picture = httpx2.get(result["images"][1]["url"], timeout=60).content
    note = read_note(picture)
    assert '"seed": 10' in note
    assert PROMPT in note
    text = Image.open(io.BytesIO(picture)).info["parameters"]
    assert text.startswith(PROMPT)
    assert "Steps: 4, Sampler: DPM++ 2M, Schedule type: SGM Uniform, CFG scale: 3, Seed: 10, Size: 128x64" in text


def test_a_caller_s_own_picture_must_be_given_again(server: Server, tmp_path: Path) -> None:
    source = io.BytesIO()
    Image.effect_mandelbrot((128, 128), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(source, "PNG")
    (tmp_path / "source.png").write_bytes(source.getvalue())
    posted = server.http().post(
        "/v1/sd3-med-img2img",
        data={"prompt": "a fox", "num_inference_steps": "2", "exact": "true", "strength": "0.5"},
        files={"image": source.getvalue()},
    )
    (tmp_path / "made.jpeg").write_bytes(posted.content)
    without = replay(server, tmp_path / "made.jpeg")
    assert "must be given with --image" in words(without)
    other = replay(server, tmp_path / "made.jpeg", "--image", tmp_path / "made.jpeg")
    assert "from another input image" in words(other)
    again = replay(server, tmp_path / "made.jpeg", "--image", tmp_path / "source.png")
    assert done(again) == "identical"


def test_what_was_repainted_is_made_again_with_its_mask(server: Server, tmp_path: Path) -> None:
    """The command line makes the same, bit for bit, of the files that a form had."""
    image, mask, made = (tmp_path / f"{name}.png" for name in ("image", "mask", "made"))
    Image.effect_mandelbrot((128, 128), (-2, -1.5, 1, 1.5), 60).convert("RGB").save(image)
    half = Image.new("1", (64, 64))
    half.paste(1, (0, 0, 32, 64))
    half.save(mask)
    asked = {"prompt": "a fox", "strength": "0.2", "seed": "4", "scheduler": "Euler a", "exact": "true"}
    files = {"image": image.read_bytes(), "mask": mask.read_bytes()}
    posted = server.http().post(f"/v1/{INPAINTING}", data=asked, files=files)
    made.write_bytes(posted.content)
    recipe = json.loads(read_note(posted.content))
    assert len({recipe["source"], recipe["mask"], ""}) == 3
    assert "must be given with --mask" in words(replay(server, made, "--image", image))
    assert "from another mask than this" in words(replay(server, made, "--image", image, "--mask", image))
    assert done(replay(server, made, "--image", image, "--mask", mask)) == "identical"
    env = {"TINTYPE_WEIGHTS": str(server.settings["weights"])}
    options = [f"--{name}={value}" for name, value in asked.items() if name != "exact"]
    where = ["--dtype", "float32", "--data", server.data, "-o", tmp_path / "local.jpeg"]
    done(here("generate", INPAINTING, *options, "--exact", "--image", image, "--mask", mask, *where, **env))
    assert same((tmp_path / "local.jpeg").read_bytes(), posted.content)


def test_a_mask_without_white_is_refused_and_costs_nothing(server: Server) -> None:
    http, black = server.http(), io.BytesIO()
    Image.new("L", (64, 64), 90).save(black, "PNG")
    before = http.get("/v1/get-user-credits").json()["credits"]
    asked = {"prompt": "a fox", "image": "/sd-img2img-input.jpeg"}
    refused(http.post(f"/v1/{INPAINTING}", data=asked, files={"mask": black.getvalue()}), 400, "mask: nothing of it is")
    assert http.get("/v1/get-user-credits").json()["credits"] == before


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"sampler": "gone_plugin"}, "it was made with 'gone_plugin', which is not installed here"),
        ({"count": 2}, "carries no recipe that this version"),
        ({"steps": "x"}, "carries no recipe that this version"),
        ({"width": 10**9}, "carries no recipe that this version"),
        ({"image": "/etc/passwd"}, "carries no recipe that this version"),
    ],
)
def test_a_recipe_that_somebody_else_wrote(
    server: Server, exact: bytes, tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    recipe = json.loads(read_note(exact))
    recipe["order"] |= change
    (tmp_path / "forged.png").write_bytes(encode(Image.new("RGB", (64, 64)), "png", note=json.dumps(recipe)))
    failed = replay(server, tmp_path / "forged.png")
    assert why in words(failed)


@pytest.fixture(scope="module")
def exact(server: Server) -> bytes:
    return httpx2.get(server.client().run(TEXT, **QUICK, exact=True, image_format="png")["output"], timeout=60).content


def test_a_picture_without_a_recipe(server: Server, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "plain.png")
    failed = replay(server, tmp_path / "plain.png")
    assert "carries no recipe" in words(failed)
