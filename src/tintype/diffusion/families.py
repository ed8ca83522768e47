"""The families by name, and the device that they run on."""

from __future__ import annotations

import torch

from tintype.checkpoints.checkpoint import Checkpoint
from tintype.checkpoints.weights import Weights
from tintype.diffusion.denoising import Family
from tintype.diffusion.loading import Loader
from tintype.diffusion.sd3 import SD3
from tintype.diffusion.sd15 import SD15
from tintype.errors import WeightsUnusable

#: The component that is asked at every step.
DENOISERS = {"sd15": "unet", "sd3": "transformer"}


def load_family(name: str, weights: Weights, device: torch.device, dtype: torch.dtype, t5_tokens: int) -> Family:
    """Load a family; raises WeightsUnusable."""
    loader = Loader(Checkpoint(weights, name), device, dtype)
    try:
        return SD15(loader) if name == "sd15" else SD3(loader, t5_tokens)
    except torch.OutOfMemoryError:
        raise  # not the weights' fault: there may be room another time
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        # The libraries' messages name folders of this machine: they go to the log through the cause.
        raise WeightsUnusable(f"the weights can't be loaded: {type(error).__name__}") from error


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none."""
    if name != "auto":
        return torch.device(name)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
