"""What a task is going to draw, and with what; decided before its weights are there."""

from __future__ import annotations

import torch

from tintype.catalog.loras import read_loras
from tintype.worker.jobs import jobs, result_size, unread
from tintype.worker.models import ModelPool
from tintype.worker.recipe import recipe
from tintype.worker.task import Draft, RunningRequest


def draft(task: RunningRequest, models: ModelPool) -> Draft:
    """The jobs of a task whose input picture has arrived, and what they need; raises what the fetch has raised.

    Notes in the task how its pictures can be made again, what draws them, how large they will be, and what of its texts
    is not read.
    """
    source = task.fetched.result()
    dtype = torch.float32 if task.in_float32 else None
    task.loaded = loaded = models.get(task.spec, dtype, read_loras(task.order.loras))
    picture = source.image if source else None
    task.recipe = recipe(task.spec.slug, task.order, source, loaded)
    task.warnings = unread(loaded.family, task.order)
    task.size = result_size(task.order, picture)
    wanted = jobs(task.order, picture, loaded.native_size)
    return Draft(wanted, loaded.family.demand(wanted[0]))
