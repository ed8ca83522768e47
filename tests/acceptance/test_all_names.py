"""Every name of the contract once, in real processes: schedulers, samplers, schedules, formats, and files' layouts.

One server draws them all together. What fails is named as a sub-test; the tests are few, so that no process of
pytest-xdist has to draw for another's.
"""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import cycle, product
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import (
    INPAINTING,
    MEDIUM,
    MEDIUM_TEXT,
    OLD,
    OLD_TEXT,
    TEXT,
    TURBO,
    XL,
    XL_TEXT,
    refused,
    submit,
)
from tests.integration.test_checkpoint_layouts import (
    SD3,
    SD15,
    SDXL,
    original_vae,
    sd3_originals,
    sd15_originals,
    sdxl_originals,
    tensors,
    under,
    written,
)
from tests.toy_weights import FAMILIES, build_once, small_setting, toy_weights, write_random
from tintype.catalog.models import MODELS
from tintype.samplers import ALIASES, OFFERED, SAMPLERS, SCHEDULERS, SCHEDULES

#: One request: whose parameters a model has, its slug, what is sent, the picture's format and size.
Wanted = tuple[str, dict[str, Any], str, tuple[int, int]]
SIDE = 64


def png(side: int = SIDE) -> str:
    """An input picture with something to see on it, as a data URI."""
    ramp = np.arange(side, dtype=np.uint8) * (256 // side)
    picture = Image.fromarray(np.stack([np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side))] * 2, -1)[..., :3])
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def mask(side: int = SIDE) -> str:
    """Its left half white, as a data URI."""
    picture = Image.new("1", (side, side))
    picture.paste(1, (0, 0, side // 2, side))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def old(scheduler: str, **changes: Any) -> Wanted:
    """One of the twelve, with as few steps as SD 1.5 may have."""
    sent = {"prompt": "a fox", "image": png(), "scheduler": scheduler, "seed": 5, **changes}
    return OLD, sent, "JPEG", (512, 512)


def text(sampler: str, schedule: str, steps: int = 3) -> Wanted:
    """One of the SD 3 family's samplers; a guidance above 1, so that all of them have two rows."""
    where = {"prompt": "a fox", "width": SIDE, "height": SIDE, "seed": 5, "guidance_scale": 1.5}
    asked = {"sampler": sampler, "scheduler": schedule, "steps": steps, "image_format": "png"}
    return TEXT, {**where, **asked}, "PNG", (SIDE, SIDE)


def plain(slug: str, **changes: Any) -> dict[str, Any]:
    """The least that each model wants."""
    few: dict[str, dict[str, Any]] = {
        OLD: {"image": png(), "strength": 0.1},
        MEDIUM: {"image": png(), "num_inference_steps": 2},
        TURBO: {"image": png(), "mode": "image-to-image"},
        TEXT: {"width": SIDE, "height": SIDE},
        OLD_TEXT: {"img_width": SIDE, "img_height": SIDE},
        INPAINTING: {"image": png(), "mask": mask(), "strength": 0.1},
        MEDIUM_TEXT: {"img_width": SIDE, "img_height": SIDE, "num_inference_steps": 2},
        XL_TEXT: {"img_width": SIDE, "img_height": SIDE, "num_inference_steps": 20},
        XL: {"image": png(), "num_inference_steps": 20, "strength": 0.1},
    }
    return {"prompt": "a fox", "seed": 5, **few[slug], **changes}


#: Whose sides a models file may choose: SIDE, since larger pictures show no more of a layout.
SIZED = (OLD, OLD_TEXT, INPAINTING, XL_TEXT)


def names(pairs: Iterable[tuple[str, str]]) -> dict[str, Wanted]:
    """Every name that a request may have, samplers and schedules in these pairs."""
    wanted = {f"{sampler} {schedule}": text(sampler, schedule) for sampler, schedule in pairs}
    for scheduler in SCHEDULERS:
        wanted[f"{scheduler} from noise"] = old(scheduler, strength=1)
        wanted[f"{scheduler} in two steps"] = old(scheduler, strength=0.1)
        wanted[f"{scheduler} inpainting"] = INPAINTING, plain(INPAINTING, scheduler=scheduler), "JPEG", (512, 512)
    for slug, param in ((TEXT, "image_format"), (TURBO, "output_format")):
        for choice in MODELS[slug].formats:
            wanted[f"{slug} {choice}"] = slug, plain(slug, **{param: choice}), choice.upper(), (SIDE, SIDE)
    return wanted


def drawn(http: httpx2.Client, wanted: Mapping[str, Wanted]) -> dict[str, dict[str, Any]]:
    """All of them at once, by their names: what each of them has come to."""
    ids = {name: submit(http, slug, sent) for name, (slug, sent, _, _) in wanted.items()}
    ended: dict[str, dict[str, Any]] = {}

    def look() -> bool:
        for name in [name for name in ids if name not in ended]:
            answer = http.get(f"/v2/requests/{ids[name]}")
            if not answer.is_success or answer.json()["status"] in ("QUEUED", "PROCESSING"):
                return False
            ended[name] = answer.json()
        return True

    until(look, 240)
    return ended


def check(http: httpx2.Client, made: dict[str, Any], format: str, size: tuple[int, int]) -> None:
    """It is one picture, as it was asked for, that shows something."""
    assert made["status"] == "COMPLETED", made
    [file] = made["images"]
    assert file["content_type"] == f"image/{format.lower()}"
    with Image.open(io.BytesIO(http.get(file["url"]).content)) as picture:
        picture.load()
        assert (picture.format, picture.size) == (format, size)
        pixels = np.asarray(picture.convert("RGB"), dtype=float)
    assert pixels.std() > 2, "it is one colour"


#: Each sampler once, and each schedule several times: what a pair draws, the samplers' own tests compare.
ONCE = [*zip((*OFFERED, *ALIASES), cycle(SCHEDULES), strict=False)]
EVERY = [*product((*OFFERED, *ALIASES), SCHEDULES)]


@pytest.mark.parametrize("pairs", [ONCE, pytest.param(EVERY, marks=pytest.mark.nightly)], ids=["once", "every"])
def test_every_sampler_schedule_scheduler_and_format(
    server: Server, subtests: pytest.Subtests, pairs: list[tuple[str, str]]
) -> None:
    assert {name for pair in pairs for name in pair} == {*OFFERED, *ALIASES, *SCHEDULES}
    http, wanted = server.http(), names(pairs)
    for name, made in drawn(http, wanted).items():
        with subtests.test(name):
            check(http, made, *wanted[name][2:])


def test_what_can_not_be_drawn_in_one_step_is_refused_whatever_the_schedule(
    server: Server, subtests: pytest.Subtests
) -> None:
    http = server.http()
    for sampler in [name for name, spec in SAMPLERS.items() if spec.min_steps > 1]:
        for schedule in SCHEDULES:
            with subtests.test(f"{sampler} {schedule}"):
                answer = http.post(f"/v2/{TEXT}", json=text(sampler, schedule, steps=1)[1])
                refused(answer, 400, f"{sampler} needs at least 2 steps, 1 was sent")


def generating(folder: Path, scheduler: str) -> list[str]:
    """What `tintype` is given to draw with a scheduler, into a file of its name."""
    image = folder / "in.png"
    Image.open(io.BytesIO(base64.b64decode(png().partition(",")[2]))).save(image)
    asked = ["--prompt", "a fox", "--image", image, "--scheduler", scheduler, "--strength", 0.2, "--seed", 5]
    where = ["--data", folder, "-o", folder / f"{scheduler}.png"]
    return ["generate", OLD, *map(str, [*asked, *where])]


def run(weights: Path, *command: str) -> None:
    """In a process of its own."""
    env = {**os.environ, "TINTYPE_WEIGHTS": small_setting(weights), "TINTYPE_THREADS": "1"}
    ran = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True, check=False, timeout=150)
    assert ran.returncode == 0, ran.stderr


def check_drawn(folder: Path, scheduler: str) -> None:
    with Image.open(folder / f"{scheduler}.png") as picture:
        assert picture.size == (512, 512)
        assert np.asarray(picture, dtype=float).std() > 2


#: One after the other in one process: importing torch takes longer than drawing.
SEVERAL = """
import json, sys
from tintype.cli import tintype
for arguments in json.loads(sys.argv[1]):
    tintype.main(arguments, standalone_mode=False)
"""


@pytest.mark.nightly  # the server has drawn with each
def test_generate_with_every_scheduler(weights: Path, tmp_path: Path) -> None:
    run(weights, "-c", SEVERAL, json.dumps([generating(tmp_path, scheduler) for scheduler in SCHEDULERS]))
    for scheduler in SCHEDULERS:
        check_drawn(tmp_path, scheduler)


@pytest.mark.nightly
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_generate_in_a_process_of_its_own(weights: Path, tmp_path: Path, scheduler: str) -> None:
    run(weights, "-m", "tintype", *generating(tmp_path, scheduler))
    check_drawn(tmp_path, scheduler)


def layouts(cache: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Family → layout → the keys of a models file that name toy weights in it."""
    folders = {}
    for family, components in (("sd15", SD15), ("sdxl", SDXL), ("sd3", SD3)):
        usual, scheduler = FAMILIES[family]
        whole = {**usual, **components}

        def build(path: Path, whole: Any = whole, scheduler: Any = scheduler) -> None:
            write_random(path, whole, scheduler)

        folders[family] = build_once(cache / "names" / family, build)
    return {"sd15": _sd15(folders["sd15"]), "sdxl": _sdxl(folders["sdxl"]), "sd3": _sd3(folders["sd3"])}


def _sd15(folder: Path) -> dict[str, dict[str, Any]]:
    whole = sd15_originals(folder)
    unet = {name: tensor for name, tensor in whole.items() if name.startswith("model.diffusion_model.")}
    alone = {
        "file": written(folder / "unet.safetensors", unet),
        "vae": written(folder / "vae.safetensors", original_vae(tensors(folder, "vae"), 4)),
        "text_encoders": [written(folder / "clip.safetensors", tensors(folder, "text_encoder"))],
        "tokenizers": folder,
    }
    single = {"file": written(folder / "whole.safetensors", whole), "tokenizers": folder}
    return {"folder": {"folder": folder}, "file": single, "parts": alone}


def _sdxl(folder: Path) -> dict[str, dict[str, Any]]:
    whole = sdxl_originals(folder)
    unet = {name: tensor for name, tensor in whole.items() if name.startswith("model.diffusion_model.")}
    clips = {name: tensors(folder, part) for name, part in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2"))}
    alone = {
        "file": written(folder / "unet.safetensors", unet),
        "vae": written(folder / "vae.safetensors", tensors(folder, "vae")),
        "text_encoders": [written(folder / f"{name}.safetensors", one) for name, one in clips.items()],
        "tokenizers": folder,
    }
    single = {"file": written(folder / "whole.safetensors", whole), "tokenizers": folder}
    return {"folder": {"folder": folder}, "file": single, "parts": alone}


def _sd3(folder: Path) -> dict[str, dict[str, Any]]:
    clips = {name: tensors(folder, part) for name, part in (("clip_l", "text_encoder"), ("clip_g", "text_encoder_2"))}
    encoders = [under(f"text_encoders.{name}.transformer.", one) for name, one in clips.items()]
    whole = {name: tensor for part in (sd3_originals(folder), *encoders) for name, tensor in part.items()}
    denoiser = {name: tensor for name, tensor in whole.items() if name.startswith("model.diffusion_model.")}
    alone = {
        "file": written(folder / "mmdit.safetensors", denoiser),
        "vae": written(folder / "vae.safetensors", original_vae(tensors(folder, "vae"), 4)),
        "text_encoders": [written(folder / f"{name}.safetensors", one) for name, one in clips.items()],
        "tokenizers": folder,
    }
    single = {"file": written(folder / "whole.safetensors", whole), "tokenizers": folder}
    return {"folder": {"folder": folder}, "file": single, "parts": alone}


def _toml(value: Any) -> str:
    return f"[{', '.join(map(_toml, value))}]" if isinstance(value, list) else f'"{value}"'


#: The layouts are a family's: one model of each is drawn with in all of them, the others with a folder.
ONE_OF_EACH = {spec.family: slug for slug, spec in MODELS.items()}.values()


@pytest.mark.parametrize("whole", [ONE_OF_EACH, pytest.param(MODELS, marks=pytest.mark.nightly)], ids=["one", "all"])
def test_every_model_in_every_layout(
    new_server: Callable[..., Server], weights: Path, subtests: pytest.Subtests, whole: Collection[str]
) -> None:
    server = new_server(max_rows=4)
    server.data.mkdir(parents=True, exist_ok=True)
    lines, wanted = [], {}
    for layout_of, slug in ((layouts(weights)[spec.family], slug) for slug, spec in MODELS.items()):
        for layout, keys in layout_of.items() if slug in whole else [("folder", layout_of["folder"])]:
            own = f"{slug.replace('.', '')}-{layout}"
            lines += [
                f'[models."{own}"]',
                f'like = "{slug}"',
                *([f"sizes = [{SIDE}]"] if slug in SIZED else []),
                *(f"{key} = {_toml(value)}" for key, value in keys.items()),
            ]
            wanted[own] = own, plain(slug), "JPEG", (SIDE, SIDE)
    small = toy_weights("sdxl", weights), toy_weights("sdxl-refiner", weights)
    lines += [
        '[models."refined"]',
        f'like = "{XL_TEXT}"',
        f"sizes = [{SIDE}]",
        *(f'{key} = "{folder}"' for key, folder in zip(("folder", "refiner"), small, strict=True)),
    ]
    wanted["refined"] = "refined", plain(XL_TEXT, refiner=True), "JPEG", (SIDE, SIDE)
    (server.data / "models.toml").write_text("\n".join(lines))
    http = server.start().http()
    for name, made in drawn(http, wanted).items():
        with subtests.test(name):
            check(http, made, *wanted[name][2:])
