"""Opens a family with a checkpoint's weights, on a device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

import structlog
import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.files import MALFORMED
from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion.check import require_fit
from tintype.diffusion.image_state import Family
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.loading import Components
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.text import PromptCache
from tintype.diffusion.unet import LatentUNet, RefinedUNet
from tintype.errors import WeightsUnusable
from tintype.families.spec import Capability, FamilySpec

log = structlog.get_logger()


def load_family(
    name: str,
    weights: WeightsSpec,
    device: torch.device,
    dtype: torch.dtype,
    t5_tokens: int,
    memory: DeviceMemory | None = None,
    prompts: PromptCache | None = None,
) -> Family:
    """A family with a checkpoint's weights: its files are checked now, and loaded when they are first used.

    Without a memory shared with other models, it has one of its own, without a budget. Raises WeightsUnusable.
    """
    with usable():
        checkpoint = open_checkpoint(name, weights)
        for words in checkpoint.ignored:
            log.warning("part of a LoRA has no effect", detail=words)
        memory, prompts = memory or DeviceMemory(), prompts or PromptCache(0)
        components = Components(checkpoint, device, dtype, memory, prompts, t5_tokens)
        return family_class(checkpoint.family)(components)


def with_refiner(base: Family, refiner: Family) -> Family:
    """A family whose images another one ends; raises WeightsUnusable where it can't."""
    if not (isinstance(base, LatentUNet) and isinstance(refiner, LatentUNet)):
        raise WeightsUnusable("only a UNet's images can be ended by a refiner, another UNet")
    return RefinedUNet(base, refiner)


def open_checkpoint(name: str, weights: WeightsSpec, needs: Capability | None = None) -> Checkpoint:
    """A checkpoint all of whose components are there and fit together, by their configurations.

    needs: what the model starts from; None for any.

    Raises WeightsUnusable.
    """
    quiet_libraries()  # with the first family, since importing them takes seconds
    with usable():
        checkpoint = Checkpoint(weights, name)
        require_fit(checkpoint, needs)
        return checkpoint


@contextmanager
def usable() -> Iterator[None]:
    """Turn what malformed files raise in the block into WeightsUnusable."""
    try:
        yield
    except (OSError, *MALFORMED) as error:
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def family_class(spec: FamilySpec) -> Callable[[Components], Family]:
    """What runs a family, which its descriptor names."""
    module, _, name = spec.runs.rpartition(".")
    found: Callable[[Components], Family] = getattr(import_module(module), name)
    return found
