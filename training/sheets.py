"""Contact sheets, and the pictures of prompts on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from training.hyper import SIZE


def to_image(picture: torch.Tensor) -> Image.Image:
    """(3, H, W) in [-1, 1] → picture."""
    return Image.fromarray(((picture.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy())


def save_sheet(pictures: torch.Tensor, file: Path, columns: int) -> None:
    """Write (N, 3, H, W) in [-1, 1] as rows of `columns` pictures."""
    save_images([to_image(picture) for picture in pictures], file, columns)


def save_images(pictures: Sequence[Image.Image], file: Path, columns: int) -> None:
    """Write pictures of one size as rows of `columns`."""
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * columns, height * -(-len(pictures) // columns)), "white")
    for place, picture in enumerate(pictures):
        sheet.paste(picture, (place % columns * width, place // columns * height))
    sheet.save(file)


def draw(pipeline: Any, prompts: Sequence[str], steps: int = 20, guidance: float = 3.0, **extra: Any) -> list[Any]:
    """One picture per prompt from a diffusers pipeline, each with its place in the list as its seed."""
    return pipeline(
        list(prompts),
        num_inference_steps=steps,
        guidance_scale=guidance,
        height=SIZE,
        width=SIZE,
        generator=[torch.Generator().manual_seed(seed) for seed in range(len(prompts))],
        **extra,
    ).images
