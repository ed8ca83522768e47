"""Which number format a model gets, from what its folder and its device say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from tintype.checkpoints.component import Component
from tintype.diffusion import dtype_selection
from tintype.diffusion.devices import DEVICE_TYPES
from tintype.diffusion.dtype_selection import MAX_CHANNELS, WORK, Layers, medians, pick_dtype, speedup
from tintype.errors import WeightsUnusable
from tintype.families.sd15 import SD15

CPU = torch.device("cpu")
UNET = {"block_out_channels": [48, 96, 160], "sample_size": 16}
SD3_LARGE = {"num_attention_heads": 38, "attention_head_dim": 64, "sample_size": 128, "patch_size": 2}


def component(config: dict[str, Any]) -> Component:
    return Component(SD15.denoiser, "UNet2DConditionModel", config, [])


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        (UNET, Layers(96, 8, True)),
        ({"block_out_channels": (320, 640, 1280, 1280)}, Layers(1280, 16, True)),
        (SD3_LARGE, Layers(2432, 64, False)),
    ],
)
def test_layers_are_those_in_the_middle(config: dict[str, Any], layers: Layers) -> None:
    assert Layers.of(component(config)) == layers


@pytest.mark.parametrize(
    "config", [{}, {"block_out_channels": []}, UNET | {"sample_size": "x"}, SD3_LARGE | {"patch_size": 0}]
)
def test_a_configuration_without_a_size_is_the_weights_fault(config: dict[str, Any]) -> None:
    with pytest.raises(WeightsUnusable, match=r"component unet: its config\.json"):
        Layers.of(component(config))


def test_what_is_measured_stays_small() -> None:
    small = Layers.of(component(SD3_LARGE)).within(WORK)
    assert small.channels == MAX_CHANNELS
    assert 2 * small.side**2 * small.work <= WORK < 2 * (small.side + 1) ** 2 * small.work
    assert Layers.of(component(UNET)).within(WORK) == Layers(96, 8, True)


def test_a_named_format_is_taken_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dtype_selection, "speedup", lambda _: pytest.fail("it was measured"))
    assert pick_dtype("float32", CPU, component(UNET)) is torch.float32
    assert pick_dtype("bfloat16", CPU, component(UNET)) is torch.bfloat16
    monkeypatch.setitem(DEVICE_TYPES, "cpu", replace(DEVICE_TYPES["cpu"], bfloat16=lambda _: False))
    assert pick_dtype("auto", CPU, component(UNET)) is torch.float32, "nothing to choose from"


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, torch.float32), (1.05, torch.float32), (1.3, torch.bfloat16)])
def test_auto_takes_the_faster_one(monkeypatch: pytest.MonkeyPatch, ratio: float, expected: torch.dtype) -> None:
    monkeypatch.setitem(DEVICE_TYPES, "cpu", replace(DEVICE_TYPES["cpu"], bfloat16=lambda _: True))
    monkeypatch.setattr(dtype_selection, "speedup", lambda _: ratio)
    assert pick_dtype("auto", CPU, component(UNET)) is expected


def test_the_measurement_runs_both_formats_in_turn() -> None:
    before = torch.random.get_rng_state()
    assert speedup(Layers(16, 4, True)) > 0
    assert speedup(Layers(16, 4, False)) > 0
    assert torch.equal(torch.random.get_rng_state(), before)
    runs: list[str] = []
    assert len(medians([lambda: runs.append("a"), lambda: runs.append("b")], 3)) == 2
    assert runs == ["a", "b"] * 4
