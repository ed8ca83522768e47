"""Meters: how much memory a piece of work takes on a device, and how much of it there is."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import torch

from tintype.diffusion.memory.peaks import Meter

STATUS, CLEAR, MEMORY = Path("/proc/self/status"), Path("/proc/self/clear_refs"), Path("/proc/meminfo")
#: A container's own limit (cgroup v2).
LIMIT, CURRENT = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
#: Blocks up to this size are kept by the C library once they are freed, and are no growth when they are used again
#: (mallopt(3), M_MMAP_THRESHOLD).
HEAP = 32 * 2**20
#: Left alone: what libraries take for themselves and what an allocator loses between its blocks, as a share of what is
#: free and in bytes.
MARGIN, LEAST_MARGIN = 0.05, 512 * 2**20


class CudaMeter:
    """By the counters of torch's own allocator, which are the host's: reading them waits for nothing."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0

    def start(self) -> None:
        """Count anew."""
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)

    def stop(self) -> int:
        """Bytes allocated at once since then."""
        return int(torch.cuda.max_memory_allocated(self._device) - self._before)


class ProcessMeter:
    """By the process's resident memory, as Linux counts it: with what its other threads do meanwhile."""

    def __init__(self) -> None:
        self._before = 0

    def start(self) -> None:
        """Have the system forget the highest mark (proc(5), clear_refs)."""
        CLEAR.write_text("5")
        self._before = _of_status("VmRSS")

    def stop(self) -> int | None:
        """Bytes from then to the highest mark; None for so few that the process may have had them already."""
        grown = _of_status("VmHWM") - self._before
        return grown if grown >= HEAP else None


def meter(device: torch.device) -> Meter | None:
    """The device's; None where there is none, and guesses have to do."""
    if device.type == "cuda":
        return CudaMeter(device)
    if device.type == "cpu" and os.access(CLEAR, os.W_OK):
        return ProcessMeter()
    return None


def spare(device: torch.device, share: float = 1.0) -> int:
    """Bytes that can be used now: what is free on the device, at most this share of all it has, less a margin."""
    free, whole = torch.cuda.mem_get_info(device) if device.type == "cuda" else (free_on_host(), _all_on_host())
    own = min(int(free), int(share * whole))
    return max(0, own - margin(own))


def margin(free: int) -> int:
    """Bytes to leave alone of so many free ones."""
    return max(round(free * MARGIN), LEAST_MARGIN)


def free_on_host() -> int:
    """Bytes of main memory that a process could still get, within its container's limit."""
    with suppress(OSError, ValueError):
        available = _kilobytes(MEMORY, "MemAvailable")
        with suppress(OSError, ValueError):  # "max" where there is no limit
            return min(available, int(LIMIT.read_text()) - int(CURRENT.read_text()))
        return available
    return _all_on_host() // 2  # no Linux: half of what there is


def _all_on_host() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_status(name: str) -> int:
    return _kilobytes(STATUS, name)


def _kilobytes(file: Path, name: str) -> int:
    """A line `name: 123 kB`, in bytes; raises ValueError where there is none."""
    for line in file.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)
