"""The families by name, and the device that they run on."""

from __future__ import annotations

import structlog
import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.files import MALFORMED
from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion.fitting import require_fit
from tintype.diffusion.image_state import Family
from tintype.diffusion.kit import Kit
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.memory.plan import Memory
from tintype.diffusion.prompts import Prompts
from tintype.diffusion.sd3 import SD3
from tintype.diffusion.sd15 import SD15
from tintype.errors import WeightsUnusable

log = structlog.get_logger()

#: The component that is asked at every step.
DENOISERS = {"sd15": "unet", "sd3": "transformer"}


def load_family(
    name: str,
    weights: WeightsSpec,
    device: torch.device,
    dtype: torch.dtype,
    t5_tokens: int,
    memory: Memory | None = None,
    prompts: Prompts | None = None,
) -> Family:
    """A family over a checkpoint: its files are looked at now, its weights come when they are needed.

    Without a memory of others' too, it has one of its own without a budget. Raises WeightsUnusable.
    """
    quiet_libraries()  # with the first family, since importing them takes seconds
    try:
        checkpoint = Checkpoint(weights, name)
        require_fit(checkpoint)
        for words in checkpoint.ignored:
            log.warning("part of a LoRA has no effect", detail=words)
        kit = Kit(checkpoint, device, dtype, memory or Memory.endless(), prompts or Prompts(0))
        return SD15(kit) if name == "sd15" else SD3(kit, t5_tokens)
    except (OSError, *MALFORMED) as error:
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
