"""The SD 3 family against diffusers' own pipelines, where both can be made to take the same steps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3_img2img import StableDiffusion3Img2ImgPipeline
from PIL import Image
from tests.integration.conftest import KL, T5_TOKENS
from tests.integration.drawing import pixels
from tests.toy_weights import TRANSFORMER, image_spec, toy_weights
from transformers.models.t5.configuration_t5 import T5Config
from transformers.models.t5.modeling_t5 import T5EncoderModel
from transformers.models.t5.tokenization_t5 import T5Tokenizer

from tintype.checkpoints.weights import WeightsSpec, read_json
from tintype.core import ImageSpec
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.errors import PictureNotFinite
from tintype.worker.plan import to_tensor

STEPS = 6
LOWEST = 0.0029940119760479044  # shift(1/1000): where sgm_uniform's line ends, before it is shifted once more


def job(**changes: Any) -> ImageSpec:
    usual = {
        "prompt": "photo of a boy holding phone on table",
        "negative_prompt": "low quality",
        "steps": STEPS,
        "guidance": 5.0,
        "seed": 698845,
        "sampler": "euler",
        "schedule": "sgm_uniform",
        "width": 96,
        "height": 64,
    }
    return image_spec(**usual | changes)


def run_pipeline(kind: type, path: Path, wanted: ImageSpec, **more: Any) -> torch.Tensor:
    index = read_json(path / "model_index.json")
    without = {} if "text_encoder_3" in index else {"text_encoder_3": None, "tokenizer_3": None}
    pipe = kind.from_pretrained(path, image_encoder=None, feature_extractor=None, **without)
    pipe.set_progress_bar_config(disable=True)
    made = pipe(
        prompt=wanted.params.prompt,
        negative_prompt=wanted.params.negative_prompt,
        guidance_scale=wanted.params.guidance,
        width=wanted.width,
        height=wanted.height,
        max_sequence_length=T5_TOKENS,
        generator=torch.Generator().manual_seed(wanted.seed),
        **more,
    ).images[0]
    return torch.from_numpy(np.array(made))


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape
    assert theirs.float().std() > 10, "the reference shows nothing"
    assert (ours.int() - theirs.int()).abs().max() <= 1


def add_t5(path: Path) -> None:
    """A toy T5 and its tokenizer, as the published repositories have them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        width = TRANSFORMER["joint_attention_dim"]
        config = T5Config(vocab_size=60, d_model=width, d_kv=16, d_ff=64, num_layers=2, num_heads=2)
        T5EncoderModel(config).save_pretrained(path / "text_encoder_3")
    letters = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    letters += [(chr(ord("a") + index), -3.0) for index in range(26)]
    T5Tokenizer(vocab=letters, extra_ids=0).save_pretrained(path / "tokenizer_3")


@pytest.fixture(scope="module")
def with_t5(folder: Callable[..., Path]) -> Path:
    path = folder("sd3-t5-kl", "sd3", vae=("AutoencoderKL", KL | {"latent_channels": 16, "shift_factor": 0.06}))
    index = read_json(path / "model_index.json")
    if "text_encoder_3" not in index:
        add_t5(path)
        index |= {
            "text_encoder_3": ["transformers", "T5EncoderModel"],
            "tokenizer_3": ["transformers", "T5TokenizerFast"],
        }
        (path / "model_index.json").write_text(json.dumps(index))
    return path


@pytest.mark.parametrize("guidance", [1.0, 5.0])
def test_text_to_image(sd3: Family, weights: Path, guidance: float) -> None:
    wanted = job(guidance=guidance)
    sigmas = np.linspace(1.0, LOWEST, STEPS + 1)[:-1].tolist()
    theirs = run_pipeline(StableDiffusion3Pipeline, toy_weights("sd3", weights), wanted, sigmas=sigmas)
    assert_same(pixels(sd3, wanted), theirs)


def test_text_to_image_with_t5_and_autoencoder_kl(load: Callable[..., Family], with_t5: Path) -> None:
    wanted = job()
    sigmas = np.linspace(1.0, LOWEST, STEPS + 1)[:-1].tolist()
    theirs = run_pipeline(StableDiffusion3Pipeline, with_t5, wanted, sigmas=sigmas)
    family = load("sd3", with_t5)
    assert_same(pixels(family, wanted), theirs)
    assert (pixels(family, job(prompt="something else")).int() - theirs.int()).abs().max() > 1


def test_t5_can_be_left_out(load: Callable[..., Family], with_t5: Path, tmp_path: Path) -> None:
    """As in a folder that has none; and the picture is another then."""
    shutil.copytree(with_t5, tmp_path / "without")
    index = read_json(with_t5 / "model_index.json")
    del index["text_encoder_3"], index["tokenizer_3"]
    (tmp_path / "without" / "model_index.json").write_text(json.dumps(index))
    left_out = load_family("sd3", WeightsSpec(with_t5, t5="none"), torch.device("cpu"), torch.float32, T5_TOKENS)
    drawn = pixels(left_out, job())
    assert torch.equal(drawn, pixels(load("sd3", tmp_path / "without"), job()))
    assert not torch.equal(drawn, pixels(load("sd3", with_t5), job()))


def test_t5_can_run_in_the_host_s_memory(load: Callable[..., Family], with_t5: Path) -> None:
    memory = DeviceMemory(2**30, cpu=DeviceMemory(2**30))
    weights = WeightsSpec(with_t5, t5="cpu")
    family = load_family("sd3", weights, torch.device("cpu"), torch.float32, T5_TOKENS, memory=memory)
    assert torch.equal(pixels(family, job()), pixels(load("sd3", with_t5), job()))
    assert [one.name for one in memory.cpu.known.values()] == ["text_encoder_3"]
    assert "text_encoder_3" not in [one.name for one in memory.known.values()]
    assert family.estimate(job()).fits()


def test_image_to_image(sd3: Family, weights: Path, picture: torch.Tensor) -> None:
    source = Image.fromarray((picture[0].permute(1, 2, 0) * 127 + 128).to(torch.uint8).numpy())
    wanted = job(init=True, strength=0.5)
    # KSampler's strength: the last 6 of 12 steps. diffusers' own rule takes the same when it is asked for 12.
    sigmas = np.linspace(1.0, LOWEST, 2 * STEPS + 1)[:-1].tolist()
    theirs = run_pipeline(
        StableDiffusion3Img2ImgPipeline,
        toy_weights("sd3", weights),
        wanted,
        image=source,
        strength=0.5,
        num_inference_steps=2 * STEPS,
        sigmas=sigmas,
    )
    assert_same(pixels(sd3, wanted, to_tensor(source)), theirs)


def test_a_decoder_that_breaks_down_draws_no_black_picture(sd3: Family) -> None:
    with pytest.raises(PictureNotFinite):
        sd3.autoencoder.decode(torch.full((1, 16, 8, 8), float("nan")))


def test_strength_nothing_gives_the_picture_back(sd3: Family, picture: torch.Tensor) -> None:
    wanted = job(init=True, strength=0.0)
    with torch.inference_mode():
        kept = sd3.autoencoder.decode(sd3.autoencoder.encode(picture, None))
    assert torch.equal(pixels(sd3, wanted, picture), kept)
