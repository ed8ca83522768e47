"""Passes that OpenVINO compiled: what they give, in which memory they are, and what becomes of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from structlog.testing import capture_logs
from tests.integration.conftest import KL
from tests.integration.drawing import draw
from tests.toy_weights import image_spec, toy_weights

from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion import openvino
from tintype.diffusion.compile import run_eagerly
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family
from tintype.diffusion.memory.component import LoadedComponent, Location
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.openvino import SIZE, OpenVinoCache
from tintype.engine import Engine

CPU = torch.device("cpu")
#: By the latents' channels: of UNets and of SD 3.
SAMPLERS = {4: {"sampler": "Euler"}, 16: {"sampler": "euler", "schedule": "normal"}}
JOB = {"prompt": "a fox", "steps": 2, "guidance": 4.0, "seed": 1, "width": 64, "height": 64}


@pytest.fixture
def cache() -> Iterator[OpenVinoCache]:
    one = OpenVinoCache(only_faster=False, often=1)
    yield one
    one.close()


@contextmanager
def running(family: Family, cache: OpenVinoCache) -> Iterator[None]:
    """The family's passes go through the cache."""
    family.run = family.autoencoder.run = cache
    try:
        yield
    finally:
        family.run = family.autoencoder.run = run_eagerly


def spec(family: Family, **changes: Any) -> ImageSpec:
    return image_spec(**JOB | SAMPLERS[family.autoencoder.channels] | changes)


def made(family: Family) -> tuple[torch.Tensor, torch.Tensor]:
    """An image's latents and pixels."""
    [image] = draw(family, spec(family))
    with torch.inference_mode():
        assert image.latents is not None
        return image.latents, family.autoencoder.decode(image.latents)


@contextmanager
def eager_passes(*components: LoadedComponent) -> Iterator[list[str]]:
    """What is run of networks' modules in the block."""
    seen: list[str] = []
    parts = [part for one in components for part in one.module.named_children()]
    hooks = [part.register_forward_pre_hook(lambda *_, name=name: seen.append(name)) for name, part in parts]
    yield seen
    for hook in hooks:
        hook.remove()


@pytest.fixture
def kl(folder: Callable[..., Path], load: Callable[..., Family]) -> Family:
    """SD 1.5 with the published kind of autoencoder."""
    return load("sd15", folder("sd15-kl", "sd15", vae=("AutoencoderKL", KL | {"latent_channels": 4})))


# SDXL is drawn in bfloat16 below.
@pytest.mark.parametrize("fixture", ["kl", pytest.param("sdxl", marks=pytest.mark.nightly), "sd3"])
def test_what_is_compiled_gives_what_the_networks_give(
    request: pytest.FixtureRequest, cache: OpenVinoCache, fixture: str
) -> None:
    family = request.getfixturevalue(fixture)
    expected, pixels = made(family)
    with running(family, cache):
        assert torch.equal(made(family)[0], expected), "eagerly, while it is compiled"
        cache.wait()
        with eager_passes(family.denoiser, family.autoencoder.component) as seen:
            latents, drawn = made(family)
        assert not seen
    torch.testing.assert_close(latents, expected, atol=1e-3, rtol=1e-3)
    assert (drawn.int() - pixels.int()).abs().max() <= 1


def test_in_bfloat16_timesteps_are_not_rounded(weights: Path, cache: OpenVinoCache) -> None:
    """OpenVINO's own sinusoid is that of 980 at 981."""
    toys = WeightsSpec(toy_weights("sdxl", weights))
    precise, half = (load_family("sdxl", toys, CPU, dtype, 16) for dtype in (torch.float32, torch.bfloat16))

    def predicted(family: Family) -> torch.Tensor:
        with torch.inference_mode():
            image = family.begin(spec(family))
            levels = torch.tensor([981.0, 977.0])
            return family.predict(image.ask.x.expand(2, -1, -1, -1), levels, image.text)

    expected, eager = predicted(precise), predicted(half)
    with running(half, cache):
        predicted(half)
        cache.wait()
        compiled = predicted(half)
    assert not torch.equal(compiled, eager)
    assert (compiled - expected).norm() < 1.5 * (eager - expected).norm()


def test_rows_are_run_in_parts(sd3: Family, cache: OpenVinoCache) -> None:
    specs = [spec(sd3, seed=seed, guidance=1.0) for seed in range(3)]
    expected = [image.latents for image in draw(sd3, *specs)]
    with running(sd3, cache):
        for _ in range(2):
            latents = [image.latents for image in draw(sd3, *specs)]
            cache.wait()
    for one, other in zip(latents, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert sorted(size[0] for [(_, size, *_), *_] in cache._copies[sd3.denoiser.module].runs) == [1, 2]


@pytest.mark.parametrize(("size", "rows", "parts"), [(1, 7, [4, 2, 1]), (1, 40, [32, 8]), (2**29, 3, [1, 1, 1])])
def test_large_networks_run_rows_one_by_one(cache: OpenVinoCache, size: int, rows: int, parts: list[int]) -> None:
    """Each compiled pass holds the weights once more."""
    component = DeviceMemory().component("large", "denoiser", size, object)
    assert cache.parts(rows, component, "") == parts
    assert not cache.parts(rows, None, "")


@pytest.fixture
def small(weights: Path) -> tuple[Family, DeviceMemory]:
    """SD 1.5 in a memory that has room for no compiled pass beside it."""
    memory = DeviceMemory()
    family = load_family("sd15", WeightsSpec(toy_weights("sd15", weights)), CPU, torch.float32, 16, memory=memory)
    made(family)
    memory.budget = memory.used + int(family.denoiser.size)
    return family, memory


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """A strong one, of the UNet's attention."""
    width, rank = 64, 4
    name = "unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
    pair = {f"{name}.lora_A.weight": torch.randn(rank, width), f"{name}.lora_B.weight": torch.randn(width, rank)}
    save_file(pair, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors"


def compiled(memory: DeviceMemory) -> list[LoadedComponent]:
    return [one for one in memory.known.values() if "compiled" in one.name and one.location is Location.DEVICE]


def test_they_are_evicted_for_what_is_needed_and_made_anew(
    small: tuple[Family, DeviceMemory], cache: OpenVinoCache
) -> None:
    family, memory = small
    memory.budget *= 1000
    expected, _ = made(family)
    with running(family, cache):
        made(family)
        cache.wait()
        held = sorted(one.size for one in compiled(memory))
        weights = sorted(one.size for one in (family.denoiser, family.autoencoder.component))
        assert all(one >= round(SIZE * other) for one, other in zip(held, weights, strict=True))
        assert not memory.evict_unused(family.denoiser) or not compiled(memory)
        assert torch.equal(made(family)[0], expected), "eagerly again"
        cache.wait()
        assert len(compiled(memory)) == len(held)


def test_without_room_it_stays_eager_until_there_is_some(
    small: tuple[Family, DeviceMemory], cache: OpenVinoCache
) -> None:
    family, memory = small
    with running(family, cache), capture_logs() as logs:
        engine = Engine(2)
        with torch.inference_mode():
            engine.add(family.begin(spec(family)))  # which holds the denoiser
            engine.step()
            cache.wait()
            assert not compiled(memory)
            memory.budget *= 1000
            engine.step()
            cache.wait()
            assert compiled(memory)
    assert "no room for a prepared pass" in [line["event"] for line in logs]


@pytest.mark.parametrize(
    ("only_faster", "name", "value", "cause"),
    [
        (False, "TOLERANCE", dict.fromkeys((torch.float32, torch.bfloat16), 0.0), "it gives other numbers"),
        (True, "MIN_SPEEDUP", inf, "times as fast as the eager pass"),
    ],
)
def test_what_is_wrong_or_slow_is_not_used(
    monkeypatch: pytest.MonkeyPatch, weights: Path, only_faster: bool, name: str, value: Any, cause: str
) -> None:
    monkeypatch.setattr(openvino, name, value)
    sd3 = load_family("sd3", WeightsSpec(toy_weights("sd3", weights)), CPU, torch.float32, 16)
    cache = OpenVinoCache(only_faster=only_faster, often=1)
    expected, _ = made(sd3)
    with running(sd3, cache), capture_logs() as logs:
        made(sd3)
        cache.wait()
        assert torch.equal(made(sd3)[0], expected)
    cache.close()
    assert cause in next(line["cause"] for line in logs if line["log_level"] == "warning")
    assert not any(cache._copies[sd3.denoiser.module].runs.values())


def test_weights_with_a_lora_have_passes_of_their_own(weights: Path, lora: Path, cache: OpenVinoCache) -> None:
    base = WeightsSpec(toy_weights("sd15", weights))
    memory = DeviceMemory()
    every = [base, replace(base, loras=(Lora(lora),)), replace(base, loras=(Lora(lora, 0.5),))]
    families = [load_family("sd15", one, CPU, torch.float32, 16, memory=memory) for one in every]
    expected = [made(family)[0] for family in families]
    assert not torch.allclose(expected[0], expected[1], atol=1e-2)
    for round_ in range(2):
        for family, latents in zip(families, expected, strict=True):
            with running(family, cache):
                torch.testing.assert_close(made(family)[0], latents, atol=1e-3, rtol=1e-3)
            cache.wait()
        assert len(compiled(memory)) == 4, f"three UNets and the decoder that they share, in round {round_}"


def test_exact_requests_run_eagerly_for_ever(kl: Family, cache: OpenVinoCache) -> None:
    engine = Engine(16)
    with running(kl, cache), torch.inference_mode():
        engine.add(kl.begin(spec(kl)), exact=True)
        while engine.live:
            [*ended] = engine.step()
        kl.autoencoder.decode(ended[0].latents, exact=True)
    assert not cache._copies


def test_nobody_is_told_of_its_use(cache: OpenVinoCache) -> None:
    """The package would send word of each import to its maker."""
    assert openvino.import_openvino().__name__ == "openvino"
    assert sys.modules["openvino_telemetry"] is None
    assert sys.modules["openvino.tools.ovc.telemetry_utils"].tm.__name__ == "openvino.tools.ovc.telemetry_stub"
