"""The families by name, and the device that they run on."""

from __future__ import annotations

import structlog
import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.files import MALFORMED
from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion.check import require_fit
from tintype.diffusion.image_state import Family
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.loading import Components
from tintype.diffusion.memory.device_memory import Memory
from tintype.diffusion.sd3 import SD3
from tintype.diffusion.sd15 import SD15
from tintype.diffusion.text import PromptCache
from tintype.errors import WeightsUnusable

log = structlog.get_logger()

#: The component that every step runs.
DENOISERS = {"sd15": "unet", "sd3": "transformer"}


def load_family(
    name: str,
    weights: WeightsSpec,
    device: torch.device,
    dtype: torch.dtype,
    t5_tokens: int,
    memory: Memory | None = None,
    prompts: PromptCache | None = None,
) -> Family:
    """A family with a checkpoint's weights: its files are checked now, and loaded when they are first used.

    Without a memory shared with other models, it has one of its own, without a budget. Raises WeightsUnusable.
    """
    quiet_libraries()  # with the first family, since importing them takes seconds
    try:
        checkpoint = Checkpoint(weights, name)
        require_fit(checkpoint)
        for words in checkpoint.ignored:
            log.warning("part of a LoRA has no effect", detail=words)
        components = Components(checkpoint, device, dtype, memory or Memory.unlimited(), prompts or PromptCache(0))
        return SD15(components) if name == "sd15" else SD3(components, t5_tokens)
    except (OSError, *MALFORMED) as error:
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
