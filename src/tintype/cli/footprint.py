"""How much memory models' weights take, told by their files' headers before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.component import Component
from tintype.checkpoints.weights import builtin_weights
from tintype.errors import WeightsUnusable
from tintype.fleet.devices import DRIVER
from tintype.hub.registry import Registry
from tintype.settings import Settings


def memory_bytes(specs: Iterable[ModelSpec], registry: Registry, settings: Settings) -> int | None:
    """Bytes of the weights of models that are loaded together, what they share counted once; None if unknown.

    Where the number format is measured at the start, the larger one counts.
    """
    try:
        counts = {one.identity: one.parameter_count for spec in specs for one in _components(spec, registry)}
    except WeightsUnusable:
        return None  # `models check` says why
    return sum(counts.values()) * _itemsize(settings)


def _components(spec: ModelSpec, registry: Registry) -> Iterator[Component]:
    from tintype.checkpoints.checkpoint import Checkpoint  # noqa: PLC0415 - imports torch, which `serve` must not
    from tintype.checkpoints.single_file import COMPONENTS  # noqa: PLC0415

    if spec.slug in registry.missing:
        return
    own = registry.weights.get(spec.slug) or builtin_weights(spec.family, few_steps=spec.few_steps)
    checkpoint = Checkpoint(own, spec.family)
    for name in COMPONENTS[spec.family]:
        if component := checkpoint.component(name):
            yield component


def _itemsize(settings: Settings) -> int:
    """Bytes of a number: a GPU that computes in bfloat16 is given it, and a CPU may be."""
    return 2 if settings.dtype == "bfloat16" or (settings.dtype == "auto" and DRIVER.exists()) else 4
