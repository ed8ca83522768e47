"""What differs between types of devices, and in which order a GPU is called, without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.fakedevice import FAKE, FakeDevice, fake_memory, load_fake
from tests.integration.test_fake_device import elided, run
from tests.toy_weights import image_spec
from tests.true_sizes import true_size
from torch.nn.attention import SDPBackend

from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion import cuda_graphs, devices
from tintype.diffusion.compile import CompileCache, pick_run, run_eagerly
from tintype.diffusion.cuda_graphs import ROUNDS, WARM_UPS, CudaGraph, pick_attention
from tintype.diffusion.devices import DEVICE_TYPES, found_devices, pick_device
from tintype.diffusion.dtype_selection import pick_dtype
from tintype.diffusion.memory import device_memory, transfer
from tintype.diffusion.memory.component import meter
from tintype.diffusion.memory.device_memory import available, margin, open_memory
from tintype.diffusion.memory.transfer import CudaTransfer, PlainTransfer

GPUS = ("cuda", "xpu", "mps")
GIGABYTE = 2**30


def has(monkeypatch: pytest.MonkeyPatch, **counts: int) -> None:
    """This machine has that many of each type."""
    for name in GPUS:
        row = replace(DEVICE_TYPES[name], count=lambda name=name: counts.get(name, 0))
        monkeypatch.setitem(DEVICE_TYPES, name, row)


def test_auto_is_the_first_gpu_of_any_type(monkeypatch: pytest.MonkeyPatch) -> None:
    for counts, found, picked in (
        ({"cuda": 2, "mps": 1}, ["cuda:0", "cuda:1", "mps"], "cuda"),
        ({"xpu": 1}, ["xpu:0"], "xpu"),
        ({"mps": 1}, ["mps"], "mps"),
        ({}, [], "cpu"),
    ):
        has(monkeypatch, **counts)
        assert (found_devices(), pick_device("auto")) == (found, torch.device(picked))
    assert pick_device("cuda:1") == torch.device("cuda:1")


@pytest.fixture(params=GPUS)
def like(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The fake device is of each type in turn, with 8 of 10 GB free; main memory has 6 GB free."""
    row = replace(DEVICE_TYPES[request.param], memory=lambda _: (8 * GIGABYTE, 10 * GIGABYTE), bfloat16=lambda _: True)
    monkeypatch.setitem(DEVICE_TYPES, FAKE.type, row)
    monkeypatch.setattr(device_memory, "free_on_host", lambda: 6 * GIGABYTE)
    return str(request.param)


def test_each_type_has_its_memory(like: str) -> None:
    unified = like == "mps"
    free = (6 if unified else 8) * GIGABYTE
    assert available(FAKE) == free - margin(free), "of Apple's, main memory is the limit"
    memory = open_memory(FAKE, None)
    assert (memory.host_budget > 0) is not unified, "weights would be offloaded to where they are"
    assert isinstance(memory._transfer, CudaTransfer if like == "cuda" else PlainTransfer)
    assert (meter(FAKE) is None) is unified, "which counts no peaks"
    assert isinstance(pick_run("auto", FAKE), CompileCache) is (like == "cuda")
    assert like == "cuda" or pick_run("graphs", FAKE) is run_eagerly


def test_a_gpu_without_bfloat16_has_float32(like: str, monkeypatch: pytest.MonkeyPatch) -> None:
    component: Any = object()
    assert pick_dtype("auto", FAKE, component) == torch.bfloat16
    older = replace(DEVICE_TYPES[FAKE.type], bfloat16=lambda _: False)
    monkeypatch.setitem(DEVICE_TYPES, FAKE.type, older)
    assert pick_dtype("auto", FAKE, component) == torch.float32


def test_a_request_runs_on_each_type(like: str, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies to those without pinned memory wait: they are the same ones."""
    folder = true_size("sd15", weights)
    usual = {"prompt": "a fox", "steps": 2, "guidance": 5.0, "width": 512, "height": 512}
    spec = image_spec(sampler="UniPC", seed=1, init=True, strength=0.99, **usual)
    device = FakeDevice()
    if like == "cuda":
        monkeypatch.setitem(DEVICE_TYPES, FAKE.type, replace(DEVICE_TYPES[FAKE.type], mark=device.mark))
    with torch.inference_mode(), device:
        family = load_fake("sd15", WeightsSpec(folder), fake_memory(device))
        family.run = elided
        image = family.begin(spec, torch.zeros(1, 3, 512, 512))
        assert bool(device.waits) is (like != "cuda")
        assert bool(device.sent) is (like == "cuda")
        steps = run(device, image)
        assert len(device.marks) == (2 * steps - 1 if like == "cuda" else 0), "others are never ahead"
        assert torch.float64 not in device.dtypes, "Apple's have none"


class Stub:
    """What torch.cuda is asked, in order, and nothing else."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        #: Replays of graphs, by what was captured.
        self.captured: list[Any] = []
        self._streams = 0

    class _Named:
        def __init__(self, stub: Stub, name: str) -> None:
            self._stub, self._name = stub, name

        def __getattr__(self, call: str) -> Any:
            def called(*others: Any) -> None:
                named = " ".join([self._name, call, *(one._name for one in others if hasattr(one, "_name"))])
                self._stub.calls.append(named)

            return called

    def Stream(self) -> Any:  # noqa: N802 - as torch has it
        return self._Named(self, "side")

    def Event(self) -> Any:  # noqa: N802
        self._streams += 1
        return self._Named(self, f"event {self._streams}")

    def CUDAGraph(self) -> Any:  # noqa: N802
        return self._Named(self, "graph")

    def current_stream(self, device: Any = None) -> Any:
        return self._Named(self, "current")

    def synchronize(self, device: Any) -> None:
        self.calls.append("synchronize")

    @contextmanager
    def device(self, device: torch.device) -> Iterator[None]:
        yield

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        self.calls.append("on side")
        yield
        self.calls.append("off side")

    @contextmanager
    def graph(self, graph: Any, *, capture_error_mode: str) -> Iterator[None]:
        self.calls.append(f"capture {capture_error_mode}")
        yield
        self.calls.append("captured")


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    one = Stub()
    monkeypatch.setattr(torch, "cuda", one)
    return one


def test_a_graph_is_captured_once_and_again_when_the_weights_have_moved(stub: Stub) -> None:
    network = torch.nn.Linear(4, 4).requires_grad_(False)

    def work(x: torch.Tensor) -> torch.Tensor:
        stub.calls.append("pass")
        return network(x)

    recorded = CudaGraph(work, network, picks_attention=False)
    capture = [
        *("side wait_stream current", "on side", *WARM_UPS * ["pass"], "off side"),
        *("current wait_stream side", "capture thread_local", "pass", "captured"),
    ]
    first = recorded(x=torch.ones(2, 4))
    assert stub.calls == [*capture, "graph replay"]
    stub.calls.clear()
    again = recorded(x=torch.full((2, 4), 2.0))
    assert stub.calls == ["graph replay"]
    assert torch.equal(recorded._inputs["x"], torch.full((2, 4), 2.0)), "copied into what was captured"
    assert first.data_ptr() != again.data_ptr() != recorded._output.data_ptr(), "outlives the next replay"
    stub.calls.clear()
    for tensor in network.parameters():
        tensor.data = tensor.data.clone()
    recorded(x=torch.ones(2, 4))
    assert stub.calls == [*capture, "graph replay"]


def test_attention_is_timed_until_the_device_has_done_it(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def kernel(one: SDPBackend) -> Iterator[None]:
        stub.calls.append(one.name)
        yield

    monkeypatch.setattr(cuda_graphs, "attention_kernel", kernel)
    kernels = (SDPBackend.FLASH_ATTENTION, SDPBackend.MATH)
    pick_attention(lambda: stub.calls.append("pass"), torch.device("cuda"), kernels)
    assert stub.calls == (ROUNDS + 1) * [part for one in kernels for part in (one.name, "pass", "synchronize")]


def test_weights_are_staged_through_two_buffers_in_turn(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is written once its last copy has left it, and the module is handed over when all have arrived."""
    monkeypatch.setattr(transfer, "BUFFER", 64)
    network = torch.nn.Linear(8, 5).requires_grad_(False)  # 160 bytes and 20
    expected = {name: tensor.clone() for name, tensor in network.named_parameters()}
    moving = CudaTransfer(torch.device("cpu"))
    with FakeDevice():  # for its pinned memory
        there = moving.to_device(network)
    chunk = ("event {} synchronize", "event {} record current")
    assert stub.calls == [*(part.format(event) for event in (2, 1, 2, 1) for part in chunk), "current synchronize"]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in there.named_parameters())
    stub.calls.clear()
    device = FakeDevice()
    with device:
        back = moving.to_host(there)
        assert all(tensor.is_pinned() for tensor in back.parameters())
        stub.calls.clear()
        moving.to_device(back)
    assert stub.calls == ["current synchronize"], "pinned already: copied as it is"


def test_weights_of_other_gpus_are_copied_as_torch_does() -> None:
    network = torch.nn.Linear(4, 4).requires_grad_(False)
    expected = network.weight.clone()
    moving = PlainTransfer(torch.device("cpu"))
    assert torch.equal(moving.to_host(moving.to_device(network)).weight, expected)
    moving.trim()
    assert devices.device_type(torch.device("cpu")).pinned is False
