"""Drawing jobs with the product's own engine, alone or together."""

from __future__ import annotations

from typing import Any

import torch

from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.job import ImageSpec
from tintype.diffusion.memory.part import Part
from tintype.engine import Engine


def draw(family: Family, *jobs: ImageSpec, max_rows: int = 16) -> list[ImageState]:
    """All the jobs together, to their end."""
    engine = Engine(max_rows)
    with torch.inference_mode():
        pictures = [family.begin(job) for job in jobs]
        for picture in pictures:
            engine.add(picture)
        while engine.live:
            engine.step()
    return [whole(picture) for picture in pictures]


def whole(picture: ImageState) -> ImageState:
    """The picture itself, once it is certain that nothing went wrong with it."""
    if picture.error is not None:
        raise picture.error
    assert picture.latents is not None
    assert torch.isfinite(picture.latents).all()
    return picture


def network(part: Part) -> Any:
    """A component's module, there to stay."""
    part.memory.keep(part)
    return part.module


def pixels(family: Family, job: ImageSpec) -> torch.Tensor:
    """The job's picture, (H, W, 3) of 8 bits."""
    [picture] = draw(family, job)
    with torch.inference_mode():
        return family.finish(picture.latents)
