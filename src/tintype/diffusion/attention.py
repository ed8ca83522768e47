"""Which of torch's attention kernels is fastest for a shape: none is for all, and torch's own order is a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tintype.diffusion.arithmetic import medians

log = structlog.get_logger()

#: Those that a GPU may have, and the one that is always there.
KERNELS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
#: Measurements of each, in turn.
ROUNDS = 3


@contextmanager
def attending(kernel: SDPBackend) -> Iterator[None]:
    """While the block lasts, attention runs on this kernel, or on another one where this can't do the shape.

    It holds for the whole process: nothing else that must not change may run meanwhile.
    """
    others = [other for other in KERNELS if other is not kernel]
    with sdpa_kernel([kernel, *others], set_priority=True):
        yield


def pick_attention(
    work: Callable[[], object], device: torch.device, kernels: tuple[SDPBackend, ...] = KERNELS
) -> SDPBackend:
    """The kernel that the work is fastest with on the device; it is run a few times with each."""

    def with_kernel(kernel: SDPBackend) -> Callable[[], None]:
        def run() -> None:
            with attending(kernel):
                work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    times = medians([with_kernel(kernel) for kernel in kernels], ROUNDS)
    fastest = min(zip(times, kernels, strict=True), key=lambda pair: pair[0])[1]
    shown = {kernel.name.lower(): round(1000 * seconds, 2) for kernel, seconds in zip(kernels, times, strict=True)}
    log.info("attention kernel chosen", kernel=fastest.name.lower(), milliseconds=shown)
    return fastest
