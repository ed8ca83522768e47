"""Whole requests of every family at true size on a GPU that is not there: what is where, and who waits for what."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakedevice import FAKE, DevicesMixed, FakeDevice, RecordingActivation, fake_memory, load_fake
from tests.toy_weights import image_spec
from tests.true_sizes import MODELS, true_size, write_hole
from torch.utils._python_dispatch import _disable_current_modes

from tintype.checkpoints.weights import Lora, WeightsSpec
from tintype.diffusion.devices import DEVICE_TYPES, send
from tintype.diffusion.families import with_refiner
from tintype.diffusion.image_state import CHECK_EVERY, Family, ImageState
from tintype.diffusion.memory.component import Location
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.text import PromptCache
from tintype.engine import Engine
from tintype.samplers import SAMPLERS, SCHEDULERS

DOCUMENT = Path(__file__).parents[2] / "docs" / "memory.md"
#: Bytes that aren't worth a formula: torch's allocator takes at least as many at a time.
SMALL = 16 * 2**20
BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
#: The only line of a step at which the host waits for the device: every 16 steps, and at the end of an image.
NAN_CHECK = "image_state: if not torch.isfinite(self.ask.x if returned is None else returned).all():"
#: And of `dpm_adaptive`, whose next step depends on the image.
ERROR = "dpm_solver: error = float(((low - high) / allowed).square().mean().sqrt())"
#: What every pass sends: its rows' noise levels.
LEVELS = "engine: level = send(torch.tensor(levels, dtype=torch.float32), x.device)"
#: What is drawn on the CPU, step by step, so that a seed means the same image on every device.
NOISE = "spec: return lambda: torch.randn("
SCHEDULERS_NOISE = "schedulers: x = self.scheduler.step(answer.guided, timestep, x, return_dict=False, **extra)[0]"
#: What an inpainting of weights without a mask's channels sends after each step: the noise level of what is kept.
KEPT = "schedulers: noisy: torch.Tensor = self.scheduler.add_noise(latents, noise, timestep[None])"


@pytest.fixture(scope="module")
def fake(weights: Path) -> Iterator[FakeDevice]:
    for name in MODELS:
        true_size(name, weights)  # before it is entered: building them isn't its business
    yield FakeDevice()
    gc.collect()  # now, not while another test measures the process


@pytest.fixture
def device(fake: FakeDevice, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDevice]:
    """The fake device, which is like NVIDIA's."""
    monkeypatch.setitem(DEVICE_TYPES, FAKE.type, replace(DEVICE_TYPES["cuda"], mark=fake.mark))
    with torch.inference_mode(), fake:
        fake.forget()
        yield fake


@dataclass
class Model:
    """A model at its true size."""

    family: Family
    memory: DeviceMemory
    #: Of its images, and sampler.
    usual: dict[str, Any]

    def begin(self, *, init: bool = False, masked: bool = False, **params: Any) -> ImageState:
        """An image, from another one if told."""
        spec = image_spec(init=init, **{**self.usual, **params})
        size = spec.height, spec.width
        mask = torch.zeros(1, 1, *size) if masked else None
        return self.family.begin(spec, torch.zeros(1, 3, *size) if init else None, mask)


@pytest.fixture
def load(weights: Path, device: FakeDevice) -> Callable[..., Model]:
    """Opens a model on the fake device."""

    def load(name: str, memory: DeviceMemory | None = None, side: int = 0, **more: Any) -> Model:
        family, memory = MODELS[name][0], memory or fake_memory(device)
        spec = WeightsSpec(true_size(name, weights), **more)
        side = side or (512 if name.startswith("sd15") else 1024)
        sampler = {"sampler": "euler", "schedule": "simple"} if family == "sd3" else {"sampler": "Euler"}
        usual = {"prompt": "a fox", "steps": 2, "guidance": 5.0, "seed": 1, "width": side, "height": side, **sampler}
        return Model(load_fake(family, spec, memory, PromptCache(2**30)), memory, usual)

    return load


@pytest.fixture(scope="module")
def models(fake: FakeDevice) -> Iterator[dict[str, Model]]:
    """Those of which tests of many rows need but one each."""
    found: dict[str, Model] = {}
    yield found
    found.clear()


def run(device: FakeDevice, *images: ImageState, engine: Engine | None = None) -> int:
    """To the end of all of the engine's images, counting from here; returns the number of steps."""
    engine = engine or Engine(max_rows=16)
    for image in images:
        engine.add(image)
    device.forget()
    steps = 0
    while engine.live:
        assert {image.ask.x.dtype for image in engine.live} == {FLOAT32}
        for image in engine.step():
            if image.error:
                raise image.error
        steps += 1
    return steps


def elided(network: Any, *, component: object = None, exact: bool = False, **inputs: torch.Tensor) -> torch.Tensor:
    """A pass of which only the shape and the dtype of its output are left; inputs must be where the network is."""
    assert {tensor.device for tensor in (*network.parameters(), *inputs.values())} == {FAKE}
    return torch.empty_like(next(iter(inputs.values()))[:, : network.config.out_channels])


def sent(device: FakeDevice, line: str) -> int:
    """How often the line sent something, which is not counted any more."""
    found = [key for key in device.sent if key.startswith(line)]
    return sum(device.sent.pop(key) for key in found)


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("sd15", 512),
        ("sd15", 768),
        ("sdxl", 1024),
        pytest.param("sdxl-refiner", 1024, marks=pytest.mark.nightly),
        ("sd3-medium", 1024),
        ("sd35-large", 1024),
    ],
)
def test_images_join_and_leave_without_anyone_s_waiting_in_the_memory_that_was_promised(
    name: str, side: int, load: Callable[..., Model], device: FakeDevice
) -> None:
    """One with guidance and from an image, one without that joins when the first has gone a step, and eight more."""
    model = load(name, side=side)
    gc.collect()  # the models of tests before
    before = device.allocated
    device.forget()
    guided = model.begin(init=True, strength=0.99, negative_prompt="", steps=3)
    assert not device.waits, "what a request sends is sent while the device works"
    engine = Engine(max_rows=16)
    engine.add(guided)
    engine.step()
    joined = model.begin(init=True, prompt="a dog", guidance=1.0, steps=3)
    highest = device.highest
    steps = run(device, joined, engine=engine)
    assert device.waits == {NAN_CHECK: 2}
    assert (sent(device, LEVELS), device.sent) == (steps, {})
    assert device.computed.keys() == {BFLOAT16}, "the denoiser's arithmetic"
    assert device.dtypes.keys() == {BFLOAT16, FLOAT32}
    assert run(device, *(model.begin(guidance=1.0, steps=1, seed=seed) for seed in range(8)), engine=engine) == 1
    highest = max(highest, device.highest)
    assert device.marks == ["marked", "waited"], "for the step before, while the device is at this one"
    device.forget()
    for image in (guided, joined):  # the first pass after a load isn't measured
        model.family.autoencoder.decode(image.latents)
    assert device.waits.total() == 4, "for whether they are finite, and for their pixels"
    assert device.computed.keys() == {BFLOAT16}
    taken = max(highest, device.highest) - before
    assert 0.85 < taken / model.memory.peak < 1, "weights, and the passes next to them"
    _compare(name, side, model.memory)


def _compare(name: str, side: int, memory: DeviceMemory) -> None:
    """What was reserved for each pass with what it took, and both with the document's table."""
    lines = []
    assert isinstance(memory.activation, RecordingActivation)
    for key, taken in sorted(memory.activation.taken.items(), key=lambda item: item[0][1:]):
        component, kind, _, _, rows = key
        reserved = memory.activation.guesses[key]
        what = f"{memory.known[component].name}, {kind}"
        lines.append(f"| {name}, {side}² | {what} | {rows} | {reserved / 2**20:.1f} | {taken / 2**20:.1f} |")
        if taken > SMALL:
            assert taken <= reserved < 1.15 * taken, lines[-1]
        assert taken <= reserved + SMALL, lines[-1]
    print("\n".join(lines))  # noqa: T201 - for `pytest -s`
    assert {*lines} <= {*DOCUMENT.read_text().splitlines()}, "\n".join(["docs/memory.md's table has to have", *lines])


@pytest.mark.parametrize("schedule", ["karras", pytest.param("simple", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_sampler_waits(
    sampler: str, schedule: str, models: dict[str, Model], load: Callable[..., Model], device: FakeDevice
) -> None:
    model = models.get("sd3") or models.setdefault("sd3", load("sd3-medium"))
    model.family.run = elided
    steps = run(device, model.begin(sampler=sampler, schedule=schedule, steps=4))
    waits = {NAN_CHECK: 1 + (steps - 1) // CHECK_EVERY}
    assert device.waits == (waits | {ERROR: steps // 3} if sampler == "dpm_adaptive" else waits)
    assert (sent(device, NOISE) > 0) is SAMPLERS[sampler].stochastic
    assert (sent(device, LEVELS), device.sent) == (steps, {})
    assert device.dtypes.keys() == {BFLOAT16, FLOAT32}, "Apple's have no float64"


@pytest.mark.parametrize("name", ["sd15", pytest.param("sdxl", marks=pytest.mark.nightly)])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("init", [False, True])
def test_no_scheduler_waits(
    name: str, scheduler: str, init: bool, models: dict[str, Model], load: Callable[..., Model], device: FakeDevice
) -> None:
    model = models.get(name) or models.setdefault(name, load(name))
    model.family.run = elided
    with _disable_current_modes():
        model.family.schedulers.timesteps(scheduler, 1)  # type: ignore[attr-defined]
    device.forget()
    image = model.begin(sampler=scheduler, init=init, steps=4, strength=0.8)
    assert not device.waits
    steps = run(device, image)
    assert device.waits == {NAN_CHECK: 1}
    assert (sent(device, SCHEDULERS_NOISE) > 0) is SCHEDULERS[scheduler].stochastic
    assert (sent(device, LEVELS), device.sent) == (steps, {})
    assert device.dtypes.keys() == {BFLOAT16, FLOAT32}


@pytest.mark.parametrize("scheduler", ["DDIM", "Euler", "UniPC"])
@pytest.mark.parametrize("name", ["sd15", "sd15-inpainting"])
def test_inpainting_does_not_wait_either(
    name: str, scheduler: str, load: Callable[..., Model], device: FakeDevice
) -> None:
    model = load(name)
    model.family.run = elided
    image = model.begin(sampler=scheduler, init=True, masked=True, steps=4, strength=0.8)
    assert not device.waits
    steps = run(device, image)
    assert device.waits == {NAN_CHECK: 1}
    assert (sent(device, KEPT) > 0) is (name == "sd15"), "it has to be shown what is kept"
    assert (sent(device, LEVELS), device.sent) == (steps, {})


def test_a_refiner_goes_on_where_the_first_denoiser_was(load: Callable[..., Model], device: FakeDevice) -> None:
    base = load("sdxl")
    refiner = load("sdxl-refiner", base.memory)
    for one in (base, refiner):
        one.family.run = elided
    both = replace(base, family=with_refiner(base.family, refiner.family))
    image = both.begin(steps=5, refiner=True)
    assert not device.waits
    assert run(device, image) == 5
    assert image.family is refiner.family
    assert device.waits == {NAN_CHECK: 2}, "what the first has drawn is looked at, too"
    assert not sent(device, SCHEDULERS_NOISE)


def test_t5_on_the_cpu_sends_what_it_has_encoded(load: Callable[..., Model], device: FakeDevice) -> None:
    model = load("sd3-medium-narrow-t5", t5="cpu")
    model.family.run = elided
    image = model.begin()
    t5 = model.family.t5.component  # type: ignore[attr-defined]
    assert (t5.memory is model.memory.cpu, next(t5.module.parameters()).device.type) == (True, "cpu")
    assert image.text.embeds.device == FAKE
    assert not device.waits
    assert sent(device, "text: return send(forward.run(encode), like.device, like.dtype)") == 2
    assert run(device, image) == 2


def test_what_was_offloaded_comes_back(load: Callable[..., Model], device: FakeDevice) -> None:
    """In a memory that has room for the denoiser and what it needs, but not for the text encoders next to it."""
    model = load("sdxl", fake_memory(device, budget=5 * 2**30 + 2**29))
    model.family.run = elided
    gc.collect()
    before = device.allocated
    first = model.begin()
    encoder = model.family.clips[1].component  # type: ignore[attr-defined]
    assert encoder.location is Location.DEVICE
    run(device, first)
    assert encoder.location is Location.HOST
    with pytest.raises(DevicesMixed):
        encoder.module(send(torch.zeros(1, 77, dtype=torch.int64), FAKE))
    assert run(device, model.begin(prompt="a dog")) == 2
    assert model.memory.loads == 6, "three networks, two of which came back, and the denoiser that had made way"
    assert abs(device.allocated - before - model.memory.used) < SMALL, "but for latents and embeddings"
    assert device.highest - before < model.memory.budget


LORA = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q.lora_{}.weight"


def test_with_and_without_a_lora_they_share_all_but_the_denoiser(
    load: Callable[..., Model], device: FakeDevice, tmp_path: Path
) -> None:
    file = tmp_path / "lora.safetensors"
    write_hole(file, {LORA.format("down"): torch.Size([4, 1280]), LORA.format("up"): torch.Size([1280, 4])})
    plain = load("sd15")
    changed = load("sd15", plain.memory, loras=(Lora(file, 0.8),))
    for model in (plain, changed):
        model.family.run = elided
    assert plain.family.components[:-1] == changed.family.components[:-1]
    gc.collect()
    before = device.allocated
    engine = Engine(max_rows=16)
    assert run(device, plain.begin(), changed.begin(), engine=engine) == 2
    assert engine.forward_passes == 4, "others' weights"
    assert device.waits == {NAN_CHECK: 2}
    denoiser = plain.family.denoiser.size
    assert abs(device.allocated - before - 2 * denoiser) < 2**28, "the text encoder, and latents"


def test_what_a_gpu_would_refuse_or_wait_for_is_seen(device: FakeDevice) -> None:
    x, here = torch.ones(2, 3, device=FAKE), torch.ones(2, 3)
    for mixed in (
        lambda: x + here,
        lambda: x @ here.T,
        lambda: torch.cat([x, here]),
        lambda: torch.stack([x[0, 0], here[0, 0]]),
    ):
        with pytest.raises(DevicesMixed):
            mixed()
    assert (x * here[0, 0]).is_meta, "a number"
    assert not device.waits
    for number, waits in enumerate(
        (
            lambda: x.sum().item(),
            lambda: bool(x.any()),
            x.cpu,
            lambda: here.to(FAKE),
            lambda: here.to(FAKE, non_blocking=True),  # from pageable memory
            lambda: torch.tensor([1.0], device=FAKE),
            lambda: x[[0]],
            lambda: x[torch.tensor([0])],
            lambda: torch.linalg.solve(x[:, :2], x[:, 0]),
        ),
        start=1,
    ):
        waits()
        assert device.waits.total() == number
    before = device.allocated
    y = x + 1
    assert device.allocated == before + y.untyped_storage().nbytes()
    del y
    assert device.allocated == before
