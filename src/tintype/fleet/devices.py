"""The devices of this machine, without asking torch where there is no GPU driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")
COUNT = "import torch; print(torch.cuda.device_count())"


def devices(wanted: str) -> list[str]:
    """The devices to work on: those named, or with `auto` every GPU that torch can use, else the CPU."""
    if wanted != "auto":
        return [name.strip() for name in wanted.split(",") if name.strip()]
    if not DRIVER.exists():
        return ["cpu"]
    # Asked in a child, because this process never imports torch.
    counted = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True)  # noqa: S603
    return [f"cuda:{index}" for index in range(int(counted.stdout))] or ["cpu"]
