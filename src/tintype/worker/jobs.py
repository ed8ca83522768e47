"""An order and its input picture → one job per picture; finished pixels → a file."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from tintype.core import GenerationParams
from tintype.diffusion.image_state import Family
from tintype.diffusion.job import ImageSpec
from tintype.media.made import Encoded, encoded, output_size
from tintype.media.scaling import fit, native_size, resize
from tintype.worker.recipe import Recipe, infotext


def result_size(order: GenerationParams, picture: Image.Image | None) -> tuple[int, int]:
    """Width and height in pixels of the pictures that the order will get."""
    return output_size(order, None if picture is None else picture.size)


def jobs(order: GenerationParams, picture: Image.Image | None, native: int | None) -> list[ImageSpec]:
    """One job per picture that the order wants, all from the same input picture, at the size that the weights draw."""
    wanted = result_size(order, picture)
    width, height = native_size(*wanted, native) if native else wanted
    # Fitted to the wanted shape first: what shrinking to the drawn one distorts, enlarging the result sets right.
    source = None if picture is None else to_tensor(resize(fit(picture, *wanted), width, height))
    return [
        ImageSpec(
            prompt=order.prompt,
            negative_prompt=order.negative_prompt,
            steps=order.steps,
            guidance=order.guidance,
            strength=order.strength,
            seed=seed,
            sampler=order.sampler,
            schedule=order.schedule,
            width=width,
            height=height,
            picture=source,
        )
        for seed in order.seeds
    ]


def unread(family: Family, order: GenerationParams) -> list[str]:
    """What its caller should know of texts that are longer than the model reads."""
    texts = {"prompt": order.prompt, "negative_prompt": order.negative_prompt if order.has_negative else ""}
    lengths = {name: family.lengths(text) for name, text in texts.items()}
    return [
        f"{name}: the model reads the first {one.read} of its {one} tokens; what comes after them made no difference"
        for name, one in lengths.items()
        if one.read < one.sent
    ]


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """RGB picture → (1, 3, height, width) float32 in [-1, 1]."""
    pixels = torch.from_numpy(np.array(picture, dtype=np.float32) / 255.0)
    return 2.0 * pixels.permute(2, 0, 1)[None] - 1.0


def to_file(
    order: GenerationParams, pixels: torch.Tensor, size: tuple[int, int], seed: int, how: Recipe | None
) -> Encoded:
    """Pixels (height, width, 3) of 8 bits → the file that the order wants, at that size; it says how it was made."""
    texts = () if how is None else (how.text(), infotext(how, size))
    return encoded(order, resize(Image.fromarray(pixels.numpy()), *size), seed, *texts)
