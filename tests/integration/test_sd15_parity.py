"""`sd1.5-img2img` against diffusers' own pipeline: same weights, seed and parameters, same picture."""

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
from PIL import Image
from tests.integration.conftest import KL
from tests.integration.drawing import pixels
from tests.toy_weights import image_spec, toy_weights

from tintype.catalog.models import SD15_IMG2IMG
from tintype.catalog.parameters import SD15_SCHEDULERS, planned_steps
from tintype.core import ImageSpec
from tintype.diffusion.image_state import Family
from tintype.diffusion.sd15 import SCHEDULERS
from tintype.worker.plan import to_tensor

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


@cache
def loaded(path: Path, kind: type) -> tuple[Any, Any]:
    """A pipeline, loaded once, and the configuration of the scheduler that it came with."""
    pipe = kind.from_pretrained(
        path, safety_checker=None, feature_extractor=None, image_encoder=None, requires_safety_checker=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe, pipe.scheduler.config


def pipeline(path: Path, scheduler: str, kind: type = StableDiffusionImg2ImgPipeline) -> Any:
    pipe, config = loaded(path, kind)
    name, extra = CLASSES[scheduler]
    pipe.scheduler = getattr(import_module("diffusers.schedulers"), name).from_config(config, **extra)
    return pipe


def reference(path: Path, job: ImageSpec, source: Image.Image) -> torch.Tensor:
    made = pipeline(path, job.params.sampler)(
        prompt=job.params.prompt,
        negative_prompt=job.params.negative_prompt,
        image=source,
        num_inference_steps=job.params.steps,
        guidance_scale=job.params.guidance,
        strength=job.params.strength,
        generator=torch.Generator().manual_seed(job.seed),
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
        "width": 192,
        "height": 128,
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
    assert tuple(CLASSES) == SD15_SCHEDULERS


@pytest.mark.parametrize("scheduler", CLASSES)
def test_every_scheduler(sd15: Family, weights: Path, source: Image.Image, scheduler: str) -> None:
    for wanted in (job(source, sampler=scheduler), job(source, sampler=scheduler, strength=0.31, steps=23, seed=4)):
        assert_same(pixels(sd15, wanted, to_tensor(source)), reference(toy_weights("sd15", weights), wanted, source))


@pytest.mark.parametrize("scheduler", ["DDIM", "Euler a", "UniPC"])
@pytest.mark.parametrize("changes", [{"strength": 1.0}, {"guidance": 1.0}, {"guidance": 0.1}, {"negative_prompt": ""}])
def test_edges(sd15: Family, weights: Path, source: Image.Image, scheduler: str, changes: dict[str, Any]) -> None:
    wanted = job(source, sampler=scheduler, **changes)
    assert_same(pixels(sd15, wanted, to_tensor(source)), reference(toy_weights("sd15", weights), wanted, source))


@pytest.mark.parametrize("scheduler", CLASSES)
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


def test_text_to_image(sd15: Family, weights: Path) -> None:
    wanted = job(None, sampler="Euler")
    made = pipeline(toy_weights("sd15", weights), "Euler", StableDiffusionPipeline)(
        prompt=wanted.params.prompt,
        negative_prompt=wanted.params.negative_prompt,
        width=wanted.width,
        height=wanted.height,
        num_inference_steps=wanted.params.steps,
        guidance_scale=wanted.params.guidance,
        generator=torch.Generator().manual_seed(wanted.seed),
    ).images[0]
    assert_same(pixels(sd15, wanted), torch.from_numpy(np.array(made)))


@pytest.mark.parametrize("name", SCHEDULERS)
def test_planned_steps_are_the_scheduler_s_own(name: str) -> None:
    module, kind, changes = SCHEDULERS[name]
    published = {"beta_schedule": "scaled_linear", "skip_prk_steps": True}
    scheduler = getattr(import_module(f"diffusers.schedulers.{module}"), kind).from_config(published | changes)
    scheduler.set_timesteps(20)
    asked = {**SD15_IMG2IMG.example, "num_inference_steps": 20, "strength": 0.5, "scheduler": name}
    params = SD15_IMG2IMG.read(SD15_IMG2IMG.validate(asked)[0])
    assert planned_steps(SD15_IMG2IMG, params) == len(scheduler.timesteps[10 * scheduler.order :])
