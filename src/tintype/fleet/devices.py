"""The devices of this machine, without asking torch where there is no GPU."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

#: Of NVIDIA's driver and AMD's. Intel's GPUs need a torch that was built for them, and Apple's have no other system.
DRIVERS = (Path("/proc/driver/nvidia/gpus"), Path("/dev/kfd"))
FIND = "from tintype.diffusion.devices import found_devices; print(*found_devices())"


def devices(wanted: str) -> list[str]:
    """The devices to work on: those named, or with `auto` every GPU that torch can use, else the CPU."""
    if wanted != "auto":
        return [name.strip() for name in wanted.split(",") if name.strip()]
    return (_gpus() if may_have_gpu() else []) or ["cpu"]


def missing_devices(names: Sequence[str]) -> list[str]:
    """Those of these devices that torch doesn't find on this machine; torch isn't asked for CPUs alone."""
    if {*names} <= {"auto", "cpu"}:
        return []
    gpus = _gpus()
    found = {"auto", "cpu", *gpus, *(name.partition(":")[0] for name in gpus)}
    return [name for name in names if name not in found]


def may_have_gpu() -> bool:
    """Whether it is worth asking torch, which takes seconds."""
    return any(path.exists() for path in DRIVERS) or sys.platform == "darwin" or version("torch").endswith("+xpu")


def _gpus() -> list[str]:
    """Those that torch can use: a child finds them, because this process never imports torch."""
    found = subprocess.run([sys.executable, "-c", FIND], capture_output=True, text=True, check=True)  # noqa: S603
    return found.stdout.split()
