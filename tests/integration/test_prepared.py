"""Prepared passes on the CPU: who waits for what, whose numbers change, and what happens when preparing fails."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from tests.integration.drawing import draw
from tests.toy_weights import TRANSFORMER, image_spec, toy_weights
from torch.nn.attention import SDPBackend

from tintype.catalog.models import MODELS
from tintype.checkpoints.weights import WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion import compile as compile_module
from tintype.diffusion.compile import MAX_SHAPES, CompileCache, CompiledCopy, pick_run, run_eagerly
from tintype.diffusion.cuda_graphs import ROUNDS, CudaGraph, pick_attention
from tintype.diffusion.image_state import Family
from tintype.diffusion.openvino import OpenVinoCache
from tintype.diffusion.sd3 import SD3
from tintype.engine import Engine
from tintype.worker.models import ModelPool

SAMPLERS = {
    "sd15": {"sampler": "Euler"},
    "sdxl": {"sampler": "Euler"},
    "sd3": {"sampler": "euler", "schedule": "normal"},
}
TOLERANCE = 1e-4
MATH, FLASH = SDPBackend.MATH, SDPBackend.FLASH_ATTENTION


class Compiler:
    """A backend of torch.compile that runs what was traced as it is, and counts; it can be made to wait, or to fail."""

    def __init__(self) -> None:
        self.compiled = 0
        self.runs = 0
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error: Exception | None = None

    def __call__(self, traced: Any, _inputs: Any) -> Callable[..., Any]:
        assert self.may_go_on.wait(60)
        if self.error:
            raise self.error
        self.compiled += 1

        def run(*given: Any) -> Any:
            self.runs += 1
            return traced.forward(*given)

        return run


@pytest.fixture
def compiler() -> Compiler:
    return Compiler()


@pytest.fixture
def preparer(compiler: Compiler) -> Iterator[CompileCache]:
    one = CompileCache(compiles=True, captures=False, backend=compiler, often=1)
    yield one
    compiler.may_go_on.set()
    one.close()


@pytest.fixture
def prepared(preparer: CompileCache, sd3: SD3) -> Iterator[SD3]:
    """SD 3 whose passes are prepared."""
    sd3.run = preparer
    yield sd3
    sd3.run = run_eagerly


def job(name: str = "sd3", **changes: Any) -> ImageSpec:
    usual = {"prompt": "a fox", "steps": 2, "guidance": 4.0, "seed": 1, "width": 64, "height": 64}
    return image_spec(**usual | SAMPLERS[name] | changes)


def latents(family: Family, *jobs: ImageSpec) -> list[torch.Tensor]:
    return [picture.latents for picture in draw(family, *jobs) if picture.latents is not None]


def close(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=TOLERANCE) for a, b in zip(one, other, strict=True))


@pytest.fixture
def deep(folder: Callable[..., Path], load: Callable[..., Family]) -> Family:
    """SD 3 with five blocks that are alike, and the last one, which has no text to hand on."""
    blocks = ("SD3Transformer2DModel", TRANSFORMER | {"num_layers": 6})
    return load("sd3", folder("deep", "sd3", transformer=blocks))


@pytest.mark.parametrize(
    ("name", "fixture", "compiled"),
    # SDXL's UNet is SD 1.5's with more inputs.
    [pytest.param("sd15", "sd15", 1, marks=pytest.mark.nightly), ("sdxl", "sdxl", 1), ("sd3", "deep", 2)],
)
def test_requests_run_eagerly_until_it_is_prepared(
    request: pytest.FixtureRequest, preparer: CompileCache, compiler: Compiler, name: str, fixture: str, compiled: int
) -> None:
    family = request.getfixturevalue(fixture)
    expected = latents(family, job(name))
    family.run = preparer
    try:
        compiler.may_go_on.clear()
        assert torch.equal(*latents(family, job(name)), *expected)  # whole pictures, while the compiler is at work
        assert compiler.runs == 0
        compiler.may_go_on.set()
        preparer.wait()
        ran = compiler.runs
        assert close(latents(family, job(name)), expected)
        assert compiler.runs > ran, "what was compiled is what ran"
        assert compiler.compiled == compiled, "what is alike is compiled once"
    finally:
        family.run = run_eagerly


def test_rows_that_fill_up_change_nobody_s_picture(sd3: SD3) -> None:
    """Three rows are run as four: two pictures, one of them without guidance."""
    preparer = CompileCache(compiles=False, captures=False, often=1)
    jobs = [job(), job(prompt="a dog", guidance=1.0, seed=2)]
    expected = latents(sd3, *jobs)
    sd3.run = preparer
    try:
        for _ in range(2):
            assert close(latents(sd3, *jobs), expected)
            preparer.wait()
        latents(sd3, job(), job(prompt="a dog", seed=2))
    finally:
        sd3.run = run_eagerly
        preparer.close()
    [shape] = preparer._copies[sd3.denoiser.module].runs
    assert [size[0] for _, size, *_ in shape] == [4] * 4, "four rows are the same variant"


def test_only_what_is_asked_often_is_prepared_and_not_everything() -> None:
    class Same(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_dict: bool) -> tuple[torch.Tensor]:
            return (x,)

    network = Same()
    preparer = CompileCache(compiles=False, captures=False, often=3)
    copy = preparer._copies[network] = CompiledCopy(network)
    runs = copy.runs
    for passes, prepared in ((2, 0), (1, 1), (3, 1)):
        for _ in range(passes):
            preparer(network, x=torch.zeros(2, 4))
        assert len(runs) == prepared
    for side in range(5, 5 + 2 * MAX_SHAPES):  # as many sizes as a caller likes
        for _ in range(3):
            assert preparer(network, x=torch.zeros(3, side)).shape == (3, side)
    assert len(runs) == MAX_SHAPES
    preparer.close()


def test_what_can_t_be_prepared_stays_eager(prepared: SD3, preparer: CompileCache, compiler: Compiler) -> None:
    compiler.error = RuntimeError("no such kernel\nand a long story")
    with capture_logs() as logs:
        first = latents(prepared, job())
        preparer.wait()
        assert torch.equal(*latents(prepared, job()), *first)
        preparer.wait()
    [line] = [one for one in logs if one["log_level"] == "warning"]
    assert "can't be prepared" in line["event"]
    assert "no such kernel" in line["cause"]
    assert "story" not in line["cause"]


def test_what_fails_later_is_given_up(sd3: SD3) -> None:
    preparer = CompileCache(compiles=False, captures=False, often=1)
    expected = latents(sd3, job())
    sd3.run = preparer
    latents(sd3, job())
    preparer.wait()

    def broken(**_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("broken")

    runs = preparer._copies[sd3.denoiser.module].runs
    [shape] = runs
    runs[shape] = broken
    with capture_logs() as logs:
        assert torch.equal(*latents(sd3, job()), *expected)
    assert [line["cause"] for line in logs] == ["RuntimeError: broken"]
    assert runs == {shape: None}
    sd3.run = run_eagerly
    preparer.close()


def test_exact_requests_run_eagerly_for_ever(sd3: SD3) -> None:
    preparer = CompileCache(compiles=False, captures=False, often=1)
    sd3.run = preparer
    engine = Engine(16)
    with torch.inference_mode():
        engine.add(sd3.begin(job()), exact=True)
        while engine.live:
            engine.step()
    sd3.run = run_eagerly
    preparer.close()
    assert not preparer._copies


def test_a_twin_has_its_originals_weights_wherever_they_go() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.BatchNorm1d(4)).eval()
    twin = CompiledCopy(network)
    x = torch.randn(2, 4)
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data + 1  # as memories move weights: other data for the same tensors
    assert torch.equal(twin.module(x), network(x))
    weight = weakref.ref(network[0].weight)
    gc.disable()
    try:
        del network, tensor
        assert weight() is None, "at once, since others wait for the room"
    finally:
        gc.enable()


@pytest.mark.parametrize("how", ["off", "graphs"])
def test_on_the_cpu_nothing_is_prepared_unless_asked_for(how: Any) -> None:
    assert pick_run(how, torch.device("cpu")) is run_eagerly


def test_openvino_is_for_cpus_and_in_auto_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for how in ("openvino", "auto"):
        run = pick_run(how, torch.device("cpu"))
        assert isinstance(run, OpenVinoCache)
        run.close()
    assert not isinstance(pick_run("openvino", torch.device("cuda")), OpenVinoCache)
    monkeypatch.setattr(compile_module, "find_spec", lambda _: None)
    assert pick_run("auto", torch.device("cpu")) is run_eagerly


def test_a_model_s_passes_are_prepared_where_the_operator_says_so(weights: Path) -> None:
    models = ModelPool(
        "cpu", "float32", 32, {"sd3-med-img2img": WeightsSpec(toy_weights("sd3", weights))}, prepare="compile"
    )
    run = models.get(MODELS["sd3-med-img2img"]).family.run
    assert isinstance(run, CompileCache)
    run.close()


def test_the_attention_kernel_that_is_fastest_is_picked(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that stands still but for one of the two kernels that a CPU has."""
    query = torch.randn(1, 2, 16, 8)
    slow = False
    seen: list[bool] = []

    def work() -> None:
        flash = torch.backends.cuda.flash_sdp_enabled() and torch._C._get_sdp_priority_order()[0] == FLASH.value
        seen.append(flash)
        torch.nn.functional.scaled_dot_product_attention(query, query, query)
        clock[0] += 5.0 if flash is slow else 1.0

    clock = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    for slow, fastest in ((True, MATH), (False, FLASH)):  # noqa: B007 - `work` reads it
        assert pick_attention(work, torch.device("cpu"), (MATH, FLASH)) is fastest
    assert seen == [False, True] * (ROUNDS + 1) * 2, "in turn, each first once unmeasured"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="graphs are CUDA's, and there is no GPU here")
def test_a_graph_follows_weights_that_move() -> None:
    network = torch.nn.Linear(8, 8, device="cuda").requires_grad_(False)
    recorded = CudaGraph(network, network, picks_attention=False)
    for _ in range(2):
        for x in torch.randn(3, 4, 8, device="cuda"):
            assert torch.allclose(recorded(x=x), network(x), atol=1e-5)
        for tensor in network.parameters():
            tensor.data = tensor.data.clone() + 1
