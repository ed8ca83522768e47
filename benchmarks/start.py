"""From the start of a process to its first picture: `tintype generate` over a plain diffusers script doing the same."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from tintype.catalog.models import SD35_TURBO_TXT2IMG
from tintype.checkpoints.weights import builtin_weights

PROMPT, SIDE = "a pizza on a green background", 128
#: What people write first: the pipeline's front door, the LoRA, four steps.
PLAIN = """
import sys
import torch
from diffusers import StableDiffusion3Pipeline
folder, lora, prompt, side, target = sys.argv[1:]
without_t5 = {"text_encoder_3": None, "tokenizer_3": None}
pipe = StableDiffusion3Pipeline.from_pretrained(folder, **without_t5, torch_dtype=torch.float32)
pipe.transformer.load_lora_adapter(lora, prefix=None)
pipe.transformer.fuse_lora()
generator = torch.Generator().manual_seed(1)
pipe(prompt, num_inference_steps=4, guidance_scale=1.0, width=int(side), height=int(side), max_sequence_length=16,
     generator=generator).images[0].save(target)
"""
Timed = Callable[[Callable[[], Any]], tuple[Any, float]]


def cold_start(timed: Timed, rounds: int) -> list[float]:
    """Ratios of wall-clock seconds, the two in turn; both have been run once, so that their files are in memory."""
    with tempfile.TemporaryDirectory() as folder:
        mine, plain = partial(_ours, Path(folder) / "ours.png"), partial(_plain, Path(folder) / "plain.png")
        mine(), plain()
        return [timed(mine)[1] / timed(plain)[1] for _ in range(rounds)]


def _ours(target: Path) -> None:
    size = ("--width", "256", "--height", "256")  # the least that can be asked for; these weights draw 128 and enlarge
    steps = ("--steps", "4", "--guidance-scale", "1", "--sampler", "euler", "--image-format", "png", "--seed", "1")
    _run("-m", "tintype", "generate", SD35_TURBO_TXT2IMG.slug, "--prompt", PROMPT, *size, *steps, "-o", str(target))


def _plain(target: Path) -> None:
    weights = builtin_weights(SD35_TURBO_TXT2IMG.family, few_steps=True)
    _run("-c", PLAIN, str(weights.path), str(weights.loras[0].path), PROMPT, str(SIDE), str(target))
    if not target.stat().st_size:
        raise RuntimeError("the plain script drew nothing")


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)  # noqa: S603 - our own
