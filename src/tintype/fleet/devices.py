"""The devices of this machine, without asking torch where there is no GPU driver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
COUNT = "import torch; print(torch.cuda.device_count(), int(torch.backends.mps.is_available()))"


def devices(wanted: str) -> list[str]:
    """The devices to work on: those named, or with `auto` every GPU that torch can use, else the CPU."""
    if wanted != "auto":
        return [name.strip() for name in wanted.split(",") if name.strip()]
    if not DRIVER.exists():
        return ["cpu"]
    return [f"cuda:{index}" for index in range(_count()[0])] or ["cpu"]


def missing_devices(names: Sequence[str]) -> list[str]:
    """Those of these devices that torch doesn't find on this machine; torch isn't asked for CPUs alone."""
    if {*names} <= {"auto", "cpu"}:
        return []
    gpus, apple = _count()
    found = {"auto", "cpu", *(["cuda"] if gpus else []), *(f"cuda:{index}" for index in range(gpus))}
    return [name for name in names if name not in found | ({"mps"} if apple else set())]


def _count() -> tuple[int, int]:
    """CUDA's devices (or ROCm's), and Apple's: a child counts, because this process never imports torch."""
    counted = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)  # noqa: S603
    gpus, apple = counted.stdout.split()
    return int(gpus), int(apple)
