"""SDXL against diffusers' own pipelines: same weights, seed and parameters, same image."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl_img2img import (
    StableDiffusionXLImg2ImgPipeline,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from tests.integration.conftest import KL, T5_TOKENS
from tests.integration.drawing import pixels
from tests.integration.test_sd15_parity import OF_EACH_KIND, assert_same, job, pipeline
from tests.toy_weights import toy_weights

from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion.check import check
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.unet import RefinedUNet
from tintype.errors import WeightsUnusable
from tintype.worker.plan import to_tensor


def reference(path: Path, wanted: ImageSpec, source: Image.Image | None) -> torch.Tensor:
    """What diffusers' pipelines make of it, from text alone where there is no source."""
    params = wanted.params
    kind = StableDiffusionXLPipeline if source is None else StableDiffusionXLImg2ImgPipeline
    start: dict[str, Any] = {"width": wanted.width, "height": wanted.height}
    if source is not None:
        start = {"image": source, "strength": params.strength}
    made = pipeline(path, params.sampler, kind)(
        prompt=params.prompt,
        negative_prompt=params.negative_prompt or None,
        num_inference_steps=params.steps,
        guidance_scale=params.guidance,
        generator=torch.Generator().manual_seed(wanted.seed),
        **start,
    ).images[0]
    return torch.from_numpy(np.array(made))


@pytest.fixture(scope="module")
def source(picture: torch.Tensor) -> Image.Image:
    array = (picture[0].permute(1, 2, 0) * 127 + 128).to(torch.uint8).numpy()
    return Image.fromarray(array)


@pytest.mark.parametrize("scheduler", OF_EACH_KIND)
def test_text_to_image(sdxl: Family, weights: Path, scheduler: str) -> None:
    wanted = job(None, sampler=scheduler)
    assert_same(pixels(sdxl, wanted), reference(toy_weights("sdxl", weights), wanted, None))


@pytest.mark.parametrize("scheduler", OF_EACH_KIND)
def test_image_to_image(sdxl: Family, weights: Path, source: Image.Image, scheduler: str) -> None:
    for wanted in (job(source, sampler=scheduler), job(source, sampler=scheduler, strength=0.31, steps=23, seed=4)):
        assert_same(pixels(sdxl, wanted, to_tensor(source)), reference(toy_weights("sdxl", weights), wanted, source))


@pytest.mark.parametrize("changes", [{"strength": 1.0}, {"guidance": 1.0}, {"negative_prompt": ""}])
def test_edges(sdxl: Family, weights: Path, source: Image.Image, changes: dict[str, Any]) -> None:
    for start in (source, None):
        wanted = job(start, sampler="UniPC", **changes)
        init = None if start is None else to_tensor(start)
        assert_same(pixels(sdxl, wanted, init), reference(toy_weights("sdxl", weights), wanted, start))


def test_a_strength_of_nothing_gives_the_picture_back(sdxl: Family, source: Image.Image) -> None:
    start = to_tensor(source)
    found = pixels(sdxl, job(source, sampler="UniPC", strength=0.0), start)
    with torch.inference_mode():
        assert torch.equal(found, sdxl.autoencoder.decode(sdxl.autoencoder.encode(start, None)))


@pytest.mark.parametrize("scheduler", ["DDIM", "UniPC", "Euler a"])
def test_v_prediction_and_autoencoder_kl(
    folder: Callable[..., Path], load: Callable[..., Family], source: Image.Image, scheduler: str
) -> None:
    path = folder(
        "sdxl-v-kl",
        "sdxl",
        {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing"},
        vae=("AutoencoderKL", KL | {"latent_channels": 4, "scaling_factor": 0.13025}),
    )
    family = load("sdxl", path)
    for start in (source, None):
        wanted = job(start, sampler=scheduler)
        init = None if start is None else to_tensor(start)
        assert_same(pixels(family, wanted, init), reference(path, wanted, start))


def test_weights_for_which_an_empty_negative_prompt_is_one(
    copied: Callable[[str], Path], load: Callable[..., Family], sdxl: Family
) -> None:
    path = copied("sdxl")
    index = json.loads((path / "model_index.json").read_text())
    (path / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": False}))
    wanted = job(None, sampler="UniPC", negative_prompt="")
    found = pixels(load("sdxl", path), wanted)
    assert_same(found, reference(path, wanted, None))
    assert not torch.equal(found, pixels(sdxl, wanted))
    (path / "model_index.json").write_text(json.dumps(index | {"force_zeros_for_empty_prompt": "yes"}))
    with pytest.raises(WeightsUnusable, match=r"force_zeros_for_empty_prompt is yes; allowed: true or false"):
        load("sdxl", path)


#: Component → modules that the LoRA below changes: of an attention with two blocks, and of each text encoder.
LORA_TARGETS = {
    "unet": ["to_k", "ff.net.2", "proj_in"],
    "text_encoder": ["q_proj", "fc1"],
    "text_encoder_2": ["v_proj"],
}


@pytest.fixture(scope="module")
def trained(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A LoRA of the UNet and both text encoders, as diffusers saves it; and the model that it is fused into."""
    folder = tmp_path_factory.mktemp("lora")
    pipe = StableDiffusionXLPipeline.from_pretrained(toy_weights("sdxl", weights))
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(11)
        for name, modules in LORA_TARGETS.items():
            config = LoraConfig(r=4, lora_alpha=4, target_modules=modules, init_lora_weights=False)
            getattr(pipe, name).add_adapter(config)
        layers = {f"{name}_lora_layers": get_peft_model_state_dict(getattr(pipe, name)) for name in LORA_TARGETS}
        pipe.save_lora_weights(folder, **layers)
        pipe.fuse_lora(components=[*LORA_TARGETS], lora_scale=0.5)
        pipe.unload_lora_weights()
        pipe.save_pretrained(folder / "fused")
    return folder / "pytorch_lora_weights.safetensors", folder / "fused"


def kohya(name: str) -> str:
    """diffusers' name of a LoRA's tensor in kohya's words, whose UNet is in the original layout."""
    component, _, rest = name.partition(".")
    module, half, _ = rest.rsplit(".", 2)
    if component == "unet":
        places = {
            "down_blocks.1.attentions.0": "input_blocks.3.1",
            "mid_block.attentions.0": "middle_block.1",
            "up_blocks.0.attentions.0": "output_blocks.0.1",
            "up_blocks.0.attentions.1": "output_blocks.1.1",
        }
        [place] = [place for place in places if module.startswith(place + ".")]
        module = places[place] + module.removeprefix(place)
    if component.startswith("text") and not module.startswith("text_model."):
        module = f"text_model.{module}"
    prefix = {"unet": "lora_unet", "text_encoder": "lora_te1", "text_encoder_2": "lora_te2"}[component]
    half = {"lora_A": "lora_down", "lora_B": "lora_up"}[half]
    return f"{prefix}_{module.replace('.', '_')}.{half}.weight"


@pytest.mark.parametrize(
    "named", [str, kohya, lambda name: f"base_model.model.{name}"], ids=["diffusers", "kohya", "peft"]
)
def test_a_lora_of_the_unet_and_both_text_encoders(
    weights: Path, trained: tuple[Path, Path], sdxl: Family, tmp_path: Path, named: Callable[[str], str]
) -> None:
    file, fused = trained
    content = {named(name): tensor for name, tensor in load_file(file).items()}
    save_file(content, tmp_path / "style.safetensors")
    own = WeightsSpec(toy_weights("sdxl", weights), (Lora(tmp_path / "style.safetensors", 0.5),))
    assert check(own, "sdxl") == []
    family = load_family("sdxl", own, torch.device("cpu"), torch.float32, T5_TOKENS)
    wanted = job(None, sampler="Euler")
    found = pixels(family, wanted)
    assert_same(found, reference(fused, wanted, None))
    assert not torch.equal(found, pixels(sdxl, wanted))


@pytest.fixture(scope="module")
def refined(sdxl: Family, weights: Path, load: Callable[..., Family]) -> RefinedUNet:
    """SDXL and its refiner."""
    return RefinedUNet(sdxl, load("sdxl-refiner", toy_weights("sdxl-refiner", weights)))


@cache
def refiner_pipeline(path: Path) -> Any:
    pipe = StableDiffusionXLImg2ImgPipeline.from_pretrained(
        path, text_encoder=None, tokenizer=None, requires_aesthetics_score=True, force_zeros_for_empty_prompt=False
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def refined_reference(weights: Path, wanted: ImageSpec) -> torch.Tensor:
    """What diffusers' two pipelines make of it one after the other, with one generator."""
    params = wanted.params
    generator = torch.Generator().manual_seed(wanted.seed)
    usual = {
        "prompt": params.prompt,
        "negative_prompt": params.negative_prompt or None,
        "num_inference_steps": params.steps,
        "guidance_scale": params.guidance,
        "generator": generator,
    }
    fraction = params.high_noise_fraction
    whole = fraction == 1
    base = pipeline(toy_weights("sdxl", weights), params.sampler, StableDiffusionXLPipeline)
    cut = {} if whole else {"denoising_end": fraction}
    latents = base(**usual, width=wanted.width, height=wanted.height, output_type="latent", **cut).images
    refiner = refiner_pipeline(toy_weights("sdxl-refiner", weights))
    refiner.scheduler = type(base.scheduler).from_config(base.scheduler.config)
    how = {"strength": params.refiner_strength} if whole else {"denoising_start": fraction}
    return torch.from_numpy(np.array(refiner(**usual, image=latents, **how).images[0]))


@pytest.mark.parametrize("scheduler", OF_EACH_KIND)
def test_the_refiner_ends_it_as_diffusers_has_it(refined: RefinedUNet, weights: Path, scheduler: str) -> None:
    wanted = job(None, sampler=scheduler, steps=20, refiner=True)
    assert_same(pixels(refined, wanted), refined_reference(weights, wanted))


@pytest.mark.parametrize(
    "changes",
    [
        {"high_noise_fraction": 0.33, "steps": 23},
        {"high_noise_fraction": 0.33, "sampler": "Heun"},
        {"high_noise_fraction": 0.01},
        {"high_noise_fraction": 1.0, "refiner_strength": 0.4},
        {"high_noise_fraction": 1.0, "refiner_strength": 0.4, "sampler": "Euler a"},
        {"guidance": 1.0},
        {"negative_prompt": ""},
    ],
)
def test_edges_of_the_refiner(refined: RefinedUNet, weights: Path, changes: dict[str, Any]) -> None:
    wanted = job(None, **{"sampler": "UniPC", "steps": 20, "refiner": True, **changes})
    assert_same(pixels(refined, wanted), refined_reference(weights, wanted))


def test_a_refiner_with_nothing_to_do(refined: RefinedUNet, sdxl: Family) -> None:
    """Where no step is left to it, the image is the model's own; and where all are, only the noise is."""
    usual = {"sampler": "UniPC", "steps": 20, "refiner": True}
    own = job(None, **usual, high_noise_fraction=1.0, refiner_strength=0.01)
    assert torch.equal(pixels(refined, own), pixels(sdxl, own))
    with torch.inference_mode():
        begun = refined.begin(job(None, **usual, high_noise_fraction=0.0))
    assert (begun.family is sdxl, begun.steps, begun.then) == (False, 20, None)
