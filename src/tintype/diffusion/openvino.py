"""OpenVINO: passes of denoisers and decoders compiled for a CPU, each for one shape, in the background.

A network is traced and converted in memory, out of the files of its weights. At true size that takes a pass and two
seconds of one core, and compiling four: nothing is stored but the weights themselves.
"""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

import structlog
import torch
from torch import nn

from tintype.diffusion.compile import OFTEN, ROWS, Inputs, PassCache, Passes, PreparedRun, forward, run_eagerly
from tintype.diffusion.dtype_selection import MIN_SPEEDUP, timed
from tintype.diffusion.memory.component import STATUS, LoadedComponent, Location, proc_bytes
from tintype.errors import NoRoom

log = structlog.get_logger()

#: A compiled pass's bytes, by those of its network's weights, which it holds in an order of its own: SD 1.5's UNet was
#: measured.
SIZE = 1.3
#: From this many bytes of weights on, rows are run one by one: two take exactly twice as long, in SD 1.5's UNet at 128²
#: as at 512², and a pass of two would hold the weights once more.
LARGE = 256 * 2**20
#: How far what it gives may be from what the network gives, by their norms: of SD 1.5's UNet with random weights it was
#: 0.02 in bfloat16. What was converted wrongly is as far as its own size.
TOLERANCE = {torch.bfloat16: 0.2, torch.float32: 0.01}
#: Networks' sinusoids of numbers, by the end of their modules' names, and the inputs they are of; the first fits.
SINUSOIDS = {"add_time_proj": "time_ids", "time_proj": "timestep"}


class OpenVinoCache(PassCache[Passes]):
    """Passes that OpenVINO has compiled, in the dtype of the network's weights.

    Each takes memory as a component of its own, evicted like any other. only_faster: measure each, and keep those that
    are faster than the eager pass.
    """

    def __init__(self, *, only_faster: bool, often: int = OFTEN) -> None:
        super().__init__(often)
        self._only_faster = only_faster

    def new(self, _network: Any) -> Passes:
        return Passes()

    def parts(self, rows: int, component: LoadedComponent | None, _method: str) -> Sequence[int]:
        """Of 7 rows 4, 2 and 1: filling up would cost a CPU what it saves."""
        if component is None:
            return []
        limit = 1 if component.size >= LARGE else ROWS[-1]
        parts: list[int] = []
        while rows:
            parts.append(max(size for size in ROWS if size <= min(rows, limit)))
            rows -= parts[-1]
        return parts

    def prepare(self, _passes: Passes, component: LoadedComponent | None, method: str, inputs: Inputs) -> PreparedRun:
        """Raises RuntimeError where it gives other numbers than the network, or isn't faster and should be."""
        if component is None:
            raise ValueError("there is nothing to convert")
        memory, size = component.memory, round(SIZE * component.size)
        sizes = " ".join(f"{name} {[*each.shape]}" for name, each in inputs.items())
        key = f"{component.key} OpenVINO {method} {sizes}"
        known = memory.known.get(key)
        if known is not None and known.location is Location.DEVICE:
            return partial(_run, known)
        # Its room is reserved, and the network held, while it is compiled.
        memory.acquire(component, size)
        before = _allocated()
        try:
            compiled = CompiledPass(component.build(), method, inputs)
            self._check(compiled, partial(run_eagerly, component.module, method=method), inputs)
        finally:
            memory.release(component, size)
        size = max(size, _allocated() - before)  # its activations are its own, and of decoders most of it
        prepared = memory.component(key, f"{component.name}, compiled", size, [compiled].pop)
        prepared.keep_alive = component.keep_alive
        memory.acquire(prepared)
        memory.release(prepared)
        return partial(_run, prepared)

    def _check(self, compiled: CompiledPass, run: PreparedRun, inputs: Inputs) -> None:
        with torch.inference_mode():
            expected, given = (one(**inputs) for one in (run, compiled))
            if expected is None or given is None:
                raise RuntimeError("it was used meanwhile")
            error = float((given - expected.float()).norm() / expected.float().norm())
            if not error < TOLERANCE[expected.dtype]:
                raise RuntimeError(f"it gives other numbers than the network, by {error:.3f}")
            if self._only_faster:
                eager, own = (timed(partial(one, **inputs)) for one in (run, compiled))
                log.info("compared with the eager pass", faster=round(eager / own, 2), error=round(error, 4))
                if eager < MIN_SPEEDUP * own:
                    raise RuntimeError(f"it is {eager / own:.2f} times as fast as the eager pass")


def _run(prepared: LoadedComponent, **inputs: torch.Tensor) -> torch.Tensor | None:
    """Raises NoRoom where it was evicted."""
    memory = prepared.memory
    with memory.lock:
        if prepared.location is not Location.DEVICE:
            raise NoRoom("it was evicted")
        memory.acquire(prepared)
    try:
        output: torch.Tensor | None = prepared.module(**inputs)
        return output
    finally:
        memory.release(prepared)


def _allocated() -> int:
    """Bytes of this process that are in no file; 0 where that can't be told."""
    with suppress(OSError, ValueError):
        return proc_bytes(STATUS, "RssAnon")
    return 0


class CompiledPass:
    """A network's method, compiled for inputs of one shape."""

    def __init__(self, network: Any, method: str, inputs: Inputs) -> None:
        """network: one of its own, whose weights lie as in their files; it is changed."""
        openvino = import_openvino()
        self._sinusoids = Sinusoids(network)
        given = self._sinusoids.given(inputs)
        traced = _trace(View(network, method, inputs, self._sinusoids), given)
        frontend = openvino.frontend.FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(traced))
        model.reshape({port: [*each.shape] for port, each in zip(model.inputs, given.values(), strict=True)})
        # The converted model refers to the weights without holding them.
        self._weights = network, traced
        self._request = openvino.Core().compile_model(model, "CPU", _options(openvino, inputs)).create_infer_request()
        self._lock = threading.Lock()

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor | None:
        """Its first output, float32; None while another thread runs it."""
        if not self._lock.acquire(blocking=False):
            return None
        try:
            given = [each.contiguous().numpy() for each in self._sinusoids.given(inputs).values()]
            self._request.infer(given, share_inputs=True)
            return torch.from_numpy(self._request.get_output_tensor(0).data).clone()
        finally:
            self._lock.release()


class Sinusoids:
    """Sinusoids that a network makes of numbers, to be made outside of what is compiled.

    In bfloat16 OpenVINO rounds their angles too, timestep 981 to 980, which moved what SD 1.5's UNet gives by a tenth.
    """

    def __init__(self, network: nn.Module) -> None:
        """Takes their modules out of the network."""
        #: By the names of the inputs.
        self._makers: dict[str, nn.Module] = {}
        self._places: dict[str, Given] = {}
        for name, module in [*network.named_modules()]:
            end = name.rpartition(".")[-1]
            if end in SINUSOIDS:
                source = SINUSOIDS[end]
                self._makers[source], self._places[source] = module, Given()
                network.set_submodule(name, self._places[source])

    def given(self, inputs: Inputs) -> Inputs:
        """All inputs in float32, and the sinusoids of some."""
        given = {name: each.float() for name, each in inputs.items()}
        return given | {f"{name} as sinusoids": maker(given[name].flatten()) for name, maker in self._makers.items()}

    def put(self, given: Inputs) -> None:
        """Have the network find them."""
        for name, place in self._places.items():
            place.value = given[f"{name} as sinusoids"]


class Given(nn.Module):  # type: ignore[misc]
    """In the place of a module: gives what it was told to, whatever it is asked."""

    value: torch.Tensor

    def forward(self, *_: torch.Tensor) -> torch.Tensor:
        return self.value


class View(nn.Module):  # type: ignore[misc]
    """A network's method as a function of its inputs by place, float32 in and out."""

    def __init__(self, network: nn.Module, method: str, inputs: Inputs, sinusoids: Sinusoids) -> None:
        super().__init__()
        self._network, self._method = network, method
        self._sinusoids = sinusoids
        self._dtypes = {name: each.dtype for name, each in inputs.items()}
        self._names = [*sinusoids.given(inputs)]

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        given = dict(zip(self._names, tensors, strict=True))
        self._sinusoids.put(given)
        inputs = {name: given[name].to(dtype) for name, dtype in self._dtypes.items()}
        return forward(self._network, self._method, **inputs).float()


def import_openvino() -> Any:
    """The package, without what would send its maker word of each import: no other setting of it turns that off."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # as if it weren't installed
    return import_module("openvino")


def _trace(view: View, given: Inputs) -> Any:
    # OpenVINO's converter traces, too. What varies with the shape may be taken for constant: none serves another shape.
    warnings.simplefilter("ignore", torch.jit.TracerWarning)
    warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
    with torch.inference_mode(False), torch.no_grad():
        inputs = tuple(each.clone() for each in given.values())
        traced = torch.jit.trace(view, inputs, check_trace=False, strict=False)
    return import_module("openvino.frontend.pytorch.ts_decoder").TorchScriptPythonDecoder(traced)


def _options(openvino: Any, inputs: Inputs) -> dict[str, Any]:
    halves = any(each.dtype == torch.bfloat16 for each in inputs.values())
    return {
        "INFERENCE_PRECISION_HINT": openvino.Type.bf16 if halves else openvino.Type.f32,
        "EXECUTION_MODE_HINT": "ACCURACY" if not halves else "PERFORMANCE",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "NUM_STREAMS": 1,
        # Other workers of this machine would have their threads on the same cores.
        "ENABLE_CPU_PINNING": False,
    }
