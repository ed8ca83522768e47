"""How a lack of memory shows: refused beforehand, or run into."""

from __future__ import annotations

import torch

from tintype.errors import NoRoom


def no_room(error: BaseException) -> bool:
    """Whether a smaller piece of the same work may succeed: it was refused its room, or has run out of it."""
    return isinstance(error, NoRoom) or out_of_memory(error)


def out_of_memory(error: BaseException) -> bool:
    """Whether the device, or the CPU, had no room; the CPU's allocator has no class of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
