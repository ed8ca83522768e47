"""One order drawn in this process, without a queue: what `tintype generate` does."""

from __future__ import annotations

from collections.abc import Callable

import torch

from tintype.core import GenerationParams
from tintype.diffusion.image_state import ImageState
from tintype.engine import Engine
from tintype.media.decoder import Decoded
from tintype.media.made import Encoded
from tintype.worker.jobs import jobs, result_size, to_file
from tintype.worker.models import LoadedModel
from tintype.worker.recipe import recipe


def draw_order(
    loaded: LoadedModel,
    slug: str,
    order: GenerationParams,
    source: Decoded | None,
    max_rows: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Encoded]:
    """The order's pictures as files; `progress` is told evaluations done and in all. Raises what the model raises."""
    engine = Engine(max_rows)
    family = loaded.family
    picture = source.image if source else None
    whole = recipe(slug, order, source, loaded)
    with torch.inference_mode():
        pictures = [family.begin(job) for job in jobs(order, picture, loaded.native_size)]
        for one in pictures:
            engine.add(one, alone=order.exact)
        while engine.live:
            engine.step()
            progress(sum(one.step for one in pictures), sum(one.steps for one in pictures))
        pixels = [family.finish(_latents(one)) for one in pictures]
    size = result_size(order, picture)
    made = zip(pixels, order.seeds, strict=True)
    return [to_file(order, drawn, size, seed, whole.of(seed)) for drawn, seed in made]


def _latents(picture: ImageState) -> torch.Tensor:
    if picture.latents is None:
        raise picture.error or RuntimeError("a picture ended without latents")
    return picture.latents
