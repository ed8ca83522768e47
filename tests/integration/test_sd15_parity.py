"""Stable Diffusion 1.5 against diffusers' own pipelines: same weights, seed and parameters, same picture."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import StableDiffusionImg2ImgPipeline
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_inpaint import StableDiffusionInpaintPipeline
from PIL import Image
from tests.integration.conftest import KL
from tests.integration.drawing import pixels
from tests.toy_weights import UNET, image_spec, toy_weights

from tintype.catalog.models import SD15_IMG2IMG
from tintype.catalog.parameters import planned_steps
from tintype.core import ImageSpec
from tintype.diffusion.image_state import Family
from tintype.diffusion.samplers.schedulers import Schedulers
from tintype.samplers import SCHEDULERS
from tintype.worker.plan import to_mask, to_tensor

#: The classes that SAMPLERS.md and diffusers' table of k-diffusion names give, written out once more.
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "DDIM": ("DDIMScheduler", {}),
    "DPM Multi": ("DPMSolverMultistepScheduler", {}),
    "DPM Single": ("DPMSolverSinglestepScheduler", {}),
    "Euler a": ("EulerAncestralDiscreteScheduler", {}),
    "Euler": ("EulerDiscreteScheduler", {}),
    "Heun": ("HeunDiscreteScheduler", {}),
    "DPM2 a Karras": ("KDPM2AncestralDiscreteScheduler", {"use_karras_sigmas": True}),
    "DPM2 Karras": ("KDPM2DiscreteScheduler", {"use_karras_sigmas": True}),
    "LMS": ("LMSDiscreteScheduler", {}),
    "PNDM": ("PNDMScheduler", {}),
    "DDPM": ("DDPMScheduler", {}),
    "UniPC": ("UniPCMultistepScheduler", {}),
}

#: Of one evaluation a step, of two, of several steps' history, and that draws noise. Image to image is compared with
#: all schedulers in every run; what differs from it in its start, family or prediction alone, with these, and with the
#: others nightly.
KINDS = ("Euler", "Heun", "UniPC", "Euler a")
OF_EACH_KIND = [one if one in KINDS else pytest.param(one, marks=pytest.mark.nightly) for one in CLASSES]


@cache
def loaded(path: Path, kind: type) -> tuple[Any, Any]:
    """A pipeline, loaded once, and the configuration of the scheduler that it came with."""
    pipe = kind.from_pretrained(
        path, safety_checker=None, feature_extractor=None, image_encoder=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe, pipe.scheduler.config


def pipeline(path: Path, scheduler: str, kind: Any = StableDiffusionImg2ImgPipeline) -> Any:
    if kind is StableDiffusionInpaintPipeline:  # itself it loads no folder that doesn't name diffusers' version
        usual, config = loaded(path, StableDiffusionPipeline)
        pipe = kind(**usual.components, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    else:
        pipe, config = loaded(path, kind)
    name, extra = CLASSES[scheduler]
    pipe.scheduler = getattr(import_module("diffusers.schedulers"), name).from_config(config, **extra)
    return pipe


def reference(path: Path, job: ImageSpec, source: Image.Image) -> torch.Tensor:
    return drawn(pipeline(path, job.params.sampler), job, source)


def drawn(pipe: Any, job: ImageSpec, source: Image.Image, **others: Any) -> torch.Tensor:
    """What a pipeline makes of the job."""
    made = pipe(
        prompt=job.params.prompt,
        negative_prompt=job.params.negative_prompt,
        image=source,
        num_inference_steps=job.params.steps,
        guidance_scale=job.params.guidance,
        strength=job.params.strength,
        generator=torch.Generator().manual_seed(job.seed),
        **others,
    ).images[0]
    return torch.from_numpy(np.array(made))


def job(source: Image.Image | None, **changes: Any) -> ImageSpec:
    usual = {
        "prompt": "a fantasy landscape, mystical sky",
        "negative_prompt": "blurry",
        "steps": 12,
        "guidance": 7.5,
        "strength": 0.75,
        "seed": 98877465625,
        "sampler": "DDIM",
        "width": 96,
        "height": 64,
    }
    return image_spec(**usual | changes, init=source is not None)


@pytest.fixture(scope="module")
def source(picture: torch.Tensor) -> Image.Image:
    array = (picture[0].permute(1, 2, 0) * 127 + 128).to(torch.uint8).numpy()
    return Image.fromarray(array)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.float().std() > 10, "the reference shows nothing"
    assert (ours.int() - theirs.int()).abs().max() <= 1


def test_every_name_of_the_wire_is_compared() -> None:
    assert CLASSES.keys() == SCHEDULERS.keys()


@pytest.mark.parametrize("scheduler", CLASSES)
def test_every_scheduler(sd15: Family, weights: Path, source: Image.Image, scheduler: str) -> None:
    for wanted in (job(source, sampler=scheduler), job(source, sampler=scheduler, strength=0.31, steps=23, seed=4)):
        assert_same(pixels(sd15, wanted, to_tensor(source)), reference(toy_weights("sd15", weights), wanted, source))


@pytest.mark.parametrize("scheduler", ["DDIM", "Euler a", "UniPC"])
@pytest.mark.parametrize("changes", [{"strength": 1.0}, {"guidance": 1.0}, {"guidance": 0.1}, {"negative_prompt": ""}])
def test_edges(sd15: Family, weights: Path, source: Image.Image, scheduler: str, changes: dict[str, Any]) -> None:
    wanted = job(source, sampler=scheduler, **changes)
    assert_same(pixels(sd15, wanted, to_tensor(source)), reference(toy_weights("sd15", weights), wanted, source))


@pytest.mark.parametrize("scheduler", OF_EACH_KIND)
def test_v_prediction_and_autoencoder_kl(
    folder: Callable[..., Path], load: Callable[..., Family], source: Image.Image, scheduler: str
) -> None:
    path = folder(
        "sd15-v-kl",
        "sd15",
        {"prediction_type": "v_prediction"},
        vae=("AutoencoderKL", KL | {"latent_channels": 4, "scaling_factor": 0.18215}),
    )
    wanted = job(source, sampler=scheduler)
    assert_same(pixels(load("sd15", path), wanted, to_tensor(source)), reference(path, wanted, source))


#: What DreamShaper 8, Karras' schedulers and pixel models say of their own schedulers.
FOREIGN = {
    "_class_name": "DEISMultistepScheduler",
    "algorithm_type": "deis",
    "solver_type": "logrho",
    "solver_order": 3,
    "use_karras_sigmas": True,
    "clip_sample": True,
    "thresholding": True,
    "skip_prk_steps": False,
    "variance_type": "learned_range",
}


@pytest.mark.parametrize("scheduler", CLASSES)
def test_another_scheduler_s_settings_change_nothing(
    sd15: Family, folder: Callable[..., Path], load: Callable[..., Family], scheduler: str
) -> None:
    wanted = job(None, sampler=scheduler, width=64, height=64, guidance=1.0)
    found = pixels(load("sd15", folder("sd15-foreign", "sd15", FOREIGN)), wanted)
    assert torch.equal(found, pixels(sd15, wanted))


@pytest.mark.parametrize("scheduler", OF_EACH_KIND)
def test_text_to_image(sd15: Family, weights: Path, scheduler: str) -> None:
    wanted = job(None, sampler=scheduler)
    made = pipeline(toy_weights("sd15", weights), scheduler, StableDiffusionPipeline)(
        prompt=wanted.params.prompt,
        negative_prompt=wanted.params.negative_prompt,
        width=wanted.width,
        height=wanted.height,
        num_inference_steps=wanted.params.steps,
        guidance_scale=wanted.params.guidance,
        generator=torch.Generator().manual_seed(wanted.seed),
    ).images[0]
    assert_same(pixels(sd15, wanted), torch.from_numpy(np.array(made)))


@pytest.fixture(scope="module")
def left(source: Image.Image) -> Image.Image:
    """A mask: white on the left, with a ragged edge between latents."""
    mask = Image.new("L", source.size)
    for row in range(source.height):
        mask.paste(255, (0, row, source.width // 2 - row % 13, row + 1))
    return mask


#: Input channels → components of toy weights that draw so; autoencoders of published weights draw from the generator.
AUTOENCODER_KL = ("AutoencoderKL", KL | {"latent_channels": 4, "scaling_factor": 0.18215})
INPAINTING: dict[int, dict[str, Any]] = {
    4: {"vae": AUTOENCODER_KL},
    9: {"vae": AUTOENCODER_KL, "unet": ("UNet2DConditionModel", UNET | {"in_channels": 9, "out_channels": 4})},
}


def inpainted(path: Path, job: ImageSpec, source: Image.Image, mask: Image.Image) -> torch.Tensor:
    pipe = pipeline(path, job.params.sampler, StableDiffusionInpaintPipeline)
    return drawn(pipe, job, source, mask_image=mask, width=source.width, height=source.height)


@pytest.mark.parametrize(
    ("channels", "scheduler"),
    [
        *((4, one) for one in CLASSES),
        *(pytest.param(9, one, marks=() if one in KINDS else pytest.mark.nightly) for one in CLASSES),
    ],
)
def test_inpainting(
    folder: Callable[..., Path],
    load: Callable[..., Family],
    source: Image.Image,
    left: Image.Image,
    scheduler: str,
    channels: int,
) -> None:
    path = folder(f"sd15-kl-{channels}", "sd15", **INPAINTING[channels])
    family = load("sd15", path)
    assert family.needs_mask is (channels == 9)
    for changes in ({}, {"strength": 1.0, "guidance": 1.0}):
        wanted = job(source, sampler=scheduler, **changes)
        found = pixels(family, wanted, to_tensor(source), to_mask(left.convert("RGB")))
        assert_same(found, inpainted(path, wanted, source, left))


def test_inpainting_with_an_autoencoder_that_draws_nothing(
    sd15: Family, weights: Path, source: Image.Image, left: Image.Image
) -> None:
    wanted = job(source, sampler="Euler a")
    found = pixels(sd15, wanted, to_tensor(source), to_mask(left.convert("RGB")))
    assert_same(found, inpainted(toy_weights("sd15", weights), wanted, source, left))


@pytest.mark.parametrize("channels", INPAINTING)
def test_inpainting_with_strength_nothing_gives_the_picture_back(
    folder: Callable[..., Path], load: Callable[..., Family], source: Image.Image, left: Image.Image, channels: int
) -> None:
    family = load("sd15", folder(f"sd15-kl-{channels}", "sd15", **INPAINTING[channels]))
    wanted, start = job(source, strength=0.01), to_tensor(source)
    found = pixels(family, wanted, start, to_mask(left.convert("RGB")))
    with torch.inference_mode():
        coded = family.autoencoder.encode(start, torch.Generator().manual_seed(wanted.seed))
        assert torch.equal(found, family.autoencoder.decode(coded))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_planned_steps_are_the_scheduler_s_own(name: str) -> None:
    asked = {**SD15_IMG2IMG.example, "num_inference_steps": 20, "strength": 0.5, "scheduler": name}
    params = SD15_IMG2IMG.read(SD15_IMG2IMG.validate(asked)[0])
    timesteps = Schedulers({"beta_schedule": "scaled_linear"}).timesteps(name, 20, 10)
    assert planned_steps(params) == len(timesteps)
