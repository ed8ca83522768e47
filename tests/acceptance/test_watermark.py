"""A server that puts watermarks into its images: they are found, told, looked up, and made again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.acceptance.harness import Server, done, here
from tests.toy_weights import small_setting
from tintype.media.images import decode, read_note
from tintype.media.provenance.mark import find

TEXT = "stable-diffusion-3.5-turbo-txt2img"
#: Large: what toy weights draw is noise, which leaves little room for a mark.
ASKED: dict[str, Any] = {
    **{"prompt": "a fox", "width": 1024, "height": 1024, "steps": 4, "guidance_scale": 3, "seed": 9},
    **{"exact": True, "image_format": "png"},
}


@pytest.fixture(scope="module")
def full(new_server: Callable[..., Server], weights: Path) -> Server:
    return new_server(weights=small_setting(weights), mark="full").start()


@pytest.fixture(scope="module")
def result(full: Server) -> Any:
    return full.client().run(TEXT, **ASKED)


@pytest.fixture(scope="module")
def image(result: Any) -> bytes:
    return httpx2.get(result["output"]).content


def pixels(file: bytes) -> Image.Image:
    return decode(file, 2**20)


def number_of(file: bytes) -> str | None:
    found = find(np.asarray(pixels(file)))
    return found.number.hex() if found and found.number else None


def replayed(file: bytes, server: Server, data: Path, folder: Path, *options: object, **env: str) -> str:
    """What `tintype replay` says, with that data folder."""
    (folder / "image.png").write_bytes(file)
    weights = str(server.settings["weights"])
    return done(here("replay", folder / "image.png", "--data", data, *options, TINTYPE_WEIGHTS=weights, **env))


def test_an_exact_image_has_the_same_pixels_each_time(full: Server, result: Any, image: bytes) -> None:
    again = httpx2.get(full.client().run(TEXT, **ASKED)["output"]).content
    assert pixels(again).tobytes() == pixels(image).tobytes()
    assert again != image, "no two signatures are alike"
    assert number_of(image) == json.loads(read_note(image))["mark"] == result["recipe"]["mark"]
    assert number_of(httpx2.get(full.client().run(TEXT, **ASKED | {"seed": 10})["output"]).content) != number_of(image)


def test_it_is_made_again_with_its_watermark(full: Server, image: bytes, tmp_path: Path) -> None:
    """By its own server's commands, and on a machine that has another database, and so other numbers."""
    for data in (full.data, tmp_path / "elsewhere"):
        assert replayed(image, full, data, tmp_path, "-o", tmp_path / "again.png") == "identical"
        assert number_of((tmp_path / "again.png").read_bytes()) == number_of(image)


def test_an_image_without_one_is_made_again_without_one(full: Server, tmp_path: Path) -> None:
    """As of before there were any, whatever the server does now."""
    flags = {name.replace("_", "-"): value for name, value in ASKED.items() if name not in ("exact", "image_format")}
    options = [*(f"--{name}={value}" for name, value in flags.items()), "--exact", "--data", tmp_path]
    env = {"TINTYPE_WEIGHTS": str(full.settings["weights"]), "TINTYPE_DTYPE": "float32"}
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    done(here("generate", TEXT, *options, "-o", plain, **env, TINTYPE_MARK="off"))
    done(here("generate", TEXT, *options, "-o", marked, **env, TINTYPE_MARK="full"))
    assert (number_of(plain.read_bytes()) is None, number_of(marked.read_bytes()) is None) == (True, False)
    assert replayed(plain.read_bytes(), full, tmp_path, tmp_path, "-o", plain, TINTYPE_MARK="full") == "identical"
    assert number_of(plain.read_bytes()) is None


def test_who_has_the_image_learns_of_it(full: Server, image: bytes) -> None:
    """The file itself; one with a byte changed; and what a page has made of it, without a signature."""
    there = full.http(None)
    found = there.post("/v1/verify", files={"file": image}).json()
    assert (found["signature"]["status"], found["watermark"]["status"]) == ("here", "here")
    assert found["signature"]["actions"] == ["c2pa.created", "c2pa.watermarked.unbound"]
    assert found["watermark"]["number"] == number_of(image)
    assert found["log"]["exact"]["model"] == TEXT
    stripped = io.BytesIO()
    pixels(image).resize((850, 850)).save(stripped, "JPEG", quality=80)
    found = there.post("/v1/verify", files={"file": stripped.getvalue()}).json()
    assert (found["signature"]["status"], found["watermark"]["status"]) == ("none", "here")
    assert found["log"]["exact"] is None
    assert found["log"]["number"][0]["model"] == TEXT


def test_what_no_model_drew_has_none(full: Server) -> None:
    key = full.cli("keys", "create", "--test").split()[-1]
    drawn = httpx2.get(full.client(key).run(TEXT, **ASKED)["output"]).content
    assert number_of(drawn) is None
    assert b"watermarked" not in drawn
    assert b"algorithmicMedia" in drawn
