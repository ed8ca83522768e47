"""Families with toy weights, in float32 so that numbers can be compared."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.toy_weights import FAMILIES, build_once, toy_weights, write_random

from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.libraries import quiet_libraries

T5_TOKENS = 32
KL = {
    "block_out_channels": (16, 16, 16, 16),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "norm_num_groups": 8,
    "sample_size": 64,
}


@pytest.fixture(scope="session")
def folder(weights: Path) -> Callable[..., Path]:
    """Writes a toy folder of a family with some components and scheduler settings changed; returns where it is."""

    def write(name: str, family: str, scheduler: dict[str, Any] | None = None, **components: Any) -> Path:
        usual, steps = FAMILIES[family]
        changed = {**usual, **components}
        return build_once(weights / name, lambda path: write_random(path, changed, {**steps, **(scheduler or {})}))

    return write


@pytest.fixture
def copied(weights: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a family's toy weights that may be changed."""
    return lambda family: Path(shutil.copytree(toy_weights(family, weights), tmp_path / family))


@pytest.fixture(scope="session")
def load() -> Callable[[str, Path], Family]:
    """Loads a family from a folder, in float32 on the CPU."""
    quiet_libraries()
    return lambda family, path: load_family(family, WeightsSpec(path), torch.device("cpu"), torch.float32, T5_TOKENS)


@pytest.fixture(scope="session")
def sd15(weights: Path, load: Callable[[str, Path], Family]) -> Family:
    """The toy weights of SD 1.5."""
    return load("sd15", toy_weights("sd15", weights))


@pytest.fixture(scope="session")
def sdxl(weights: Path, load: Callable[[str, Path], Family]) -> Family:
    """The toy weights of SDXL."""
    return load("sdxl", toy_weights("sdxl", weights))


@pytest.fixture(scope="session")
def sd3(weights: Path, load: Callable[[str, Path], Family]) -> Family:
    """The toy weights of SD 3."""
    return load("sd3", toy_weights("sd3", weights))


@pytest.fixture(scope="session")
def picture() -> torch.Tensor:
    """An input picture with some structure, (1, 3, 64, 96) in [-1, 1]."""
    down = torch.linspace(-3, 3, 64).view(1, 1, 64, 1)
    across = torch.linspace(-5, 5, 96).view(1, 1, 1, 96)
    return torch.cat([torch.sin(down * across), torch.cos(down + across), torch.sin(3 * down - across)], dim=1)
