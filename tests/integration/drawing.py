"""Drawing jobs with the product's own engine, alone or together."""

from __future__ import annotations

from typing import Any

import torch

from tintype.core import ImageSpec
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.memory.component import LoadedComponent
from tintype.engine import Engine


def draw(
    family: Family,
    *specs: ImageSpec,
    init: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    max_rows: int = 16,
) -> list[ImageState]:
    """All the images together, to their end; init: what those that start from an image start from; mask: with it."""
    engine = Engine(max_rows)
    with torch.inference_mode():
        pictures = [begin(family, spec, init, mask) for spec in specs]
        for picture in pictures:
            engine.add(picture)
        while engine.live:
            engine.step()
    return [whole(picture) for picture in pictures]


def begin(family: Family, spec: ImageSpec, init: torch.Tensor | None, mask: torch.Tensor | None = None) -> ImageState:
    """The image, from the given one if it starts from one."""
    return family.begin(spec, init, mask) if spec.params.init else family.begin(spec)


def whole(picture: ImageState) -> ImageState:
    """The picture itself, once it is certain that nothing went wrong with it."""
    if picture.error is not None:
        raise picture.error
    assert picture.latents is not None
    assert torch.isfinite(picture.latents).all()
    return picture


def network(component: LoadedComponent) -> Any:
    """A component's module, there to stay."""
    component.memory.acquire(component)
    return component.module


def pixels(
    family: Family, spec: ImageSpec, init: torch.Tensor | None = None, mask: torch.Tensor | None = None
) -> torch.Tensor:
    """The image, (H, W, 3) of 8 bits."""
    [picture] = draw(family, spec, init=init, mask=mask)
    with torch.inference_mode():
        return picture.family.autoencoder.decode(picture.latents)
