"""What models cost in memory and to bring back, and what a kept prompt saves; with the built-in weights."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline

from tintype.catalog.models import MODELS, SD3_MEDIUM_IMG2IMG
from tintype.checkpoints.weights import builtin_weights
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.text import PromptCache
from tintype.worker.models import ModelPool

#: Looks at the cache in one measurement: a single one takes microseconds.
HITS = 100
Timed = Callable[[Callable[[], Any]], tuple[Any, float]]


def fresh(prompts: int = 0) -> ModelPool:
    """The built-in models in a memory of their own, with so many bytes for encoded prompts."""
    return ModelPool("cpu", "float32", 256, {}, memory=DeviceMemory(), prompts=PromptCache(prompts))


def together() -> float:
    """Bytes of all models' weights in one memory, over those of one pipeline per model."""
    models = fresh()
    apart = sum(part.size for spec in MODELS.values() for part in models.load(spec).family.components)
    return models.memory.used / apart


def switch(timed: Timed, rounds: int) -> list[float]:
    """Time to bring a model back whose weights have left, over diffusers' load of the same folder."""
    models, folder = fresh(), builtin_weights(SD3_MEDIUM_IMG2IMG.family).path
    load = partial(StableDiffusion3Pipeline.from_pretrained, folder, text_encoder_3=None, tokenizer_3=None)
    load(), models.load(SD3_MEDIUM_IMG2IMG)
    ratios = []
    for _ in range(rounds):
        models.memory.evict_expired(-1)
        mine = timed(partial(models.load, SD3_MEDIUM_IMG2IMG))[1]
        ratios.append(mine / timed(load)[1])
    return ratios


def kept_prompts(timed: Timed, rounds: int) -> list[float]:
    """Time of a prompt that is kept over that of one that has to be encoded."""
    family: Any = fresh(2**24).load(SD3_MEDIUM_IMG2IMG).family
    ratios = []
    with torch.inference_mode():
        for number in range(rounds):
            misses = [timed(partial(family._text, f"fox {number} {index}"))[1] for index in range(8)]
            hits = timed(partial(_ask_again, family, f"fox {number} 0"))[1] / HITS
            ratios.append(hits / statistics.median(misses))
    return ratios


def _ask_again(family: Any, text: str) -> None:
    for _ in range(HITS):
        family._text(text)
