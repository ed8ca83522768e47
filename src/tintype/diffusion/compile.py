"""Compile cache: forward passes compiled, or captured as CUDA graphs, for common shapes; others run eagerly."""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from itertools import chain
from typing import Any, Literal

import structlog
import torch

from tintype.diffusion.cuda_graphs import CudaGraph
from tintype.diffusion.memory.component import Run, run_eagerly

log = structlog.get_logger()

#: Rows of a compiled pass: other numbers are padded to the next of these, for fewer variants.
ROWS = (1, 2, 4, 8, 16, 32)
#: Passes of a shape after which it is compiled, and max shapes per network: each takes a minute or more, and a graph
#: takes memory, while callers choose the sizes.
OFTEN, MAX_SHAPES = 32, 24
#: Max compiled variants per code object; torch's default is 8.
MAX_VARIANTS = 64

#: Names, sizes, dtypes and strides of a pass's inputs.
Shape = tuple[tuple[str, torch.Size, torch.dtype, tuple[int, ...]], ...]


def pick_run(how: Literal["off", "compile", "graphs", "auto"], device: torch.device) -> Run:
    """How networks are run on this device; graphs need CUDA."""
    on_gpu = device.type == "cuda"
    compiles = how == "compile" or (how == "auto" and on_gpu)
    captures = how in ("graphs", "auto") and on_gpu
    return CompileCache(compiles=compiles, captures=captures) if compiles or captures else run_eagerly


class CompileCache:
    """Runs forward passes: the first ones of a shape eagerly, those after `often` of them compiled.

    compiles: with torch.compile and this `backend`, SD 3's blocks one by one, so that one compilation serves all of
    them; on a thread of its own. captures: as a CUDA graph, on the caller's thread, which takes about as long as three
    passes, once. A failure costs one line in the log: its shape stays eager.
    """

    def __init__(
        self, *, compiles: bool, captures: bool, backend: str | Callable[..., Any] = "inductor", often: int = OFTEN
    ) -> None:
        self._often = often
        self._compiles = compiles
        self._captures = captures
        self._backend = backend
        self._copies: weakref.WeakKeyDictionary[Any, CompiledCopy] = weakref.WeakKeyDictionary()
        # The compiler's stance and its cache are process-global: compiling and running compiled code hold this lock.
        self._compiler = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    def __call__(self, network: Any, *, exact: bool = False, **inputs: torch.Tensor) -> torch.Tensor:
        """A forward pass; with `exact` eagerly, as its last bits depend on how it is run."""
        rows = len(next(iter(inputs.values())))
        size = next((size for size in ROWS if size >= rows), None)
        if exact or size is None:
            return run_eagerly(network, **inputs)
        if network not in self._copies:
            self._copies[network] = CompiledCopy(network)
        output = self._compiled(self._copies[network], {name: pad(tensor, size) for name, tensor in inputs.items()})
        return run_eagerly(network, **inputs) if output is None else output[:rows]

    def wait(self) -> None:
        """Wait until all that was scheduled is compiled, or has failed."""
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Cancel what is scheduled, and wait for what is being compiled."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _compiled(self, network: CompiledCopy, inputs: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """The output of the pass compiled for these inputs' shape; None where there is none yet."""
        shape = tuple((name, tensor.shape, tensor.dtype, tensor.stride()) for name, tensor in inputs.items())
        if shape not in network.runs:
            network.passes[shape] += 1
            if network.passes[shape] < self._often or len(network.runs) == MAX_SHAPES:
                return None
            network.runs[shape] = None
            self._thread.submit(self._prepare, network, shape, {name: each.clone() for name, each in inputs.items()})
        run = network.runs[shape]
        if run is None or not self._compiler.acquire(blocking=False):
            return None
        try:
            if not self._compiles:
                return run(**inputs)
            with torch.compiler.set_stance("eager_on_recompile"):  # never compiles on this thread
                return run(**inputs)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # the eager pass would fail, too
        except Exception as error:  # noqa: BLE001 - whatever it is, the eager pass remains
            network.runs[shape] = None
            log.warning("a compiled pass failed; its shape stays eager", cause=_brief(error))
            return None
        finally:
            self._compiler.release()

    def _prepare(self, network: CompiledCopy, shape: Shape, inputs: dict[str, torch.Tensor]) -> None:
        began = time.monotonic()
        try:
            run: Run = partial(run_eagerly, network.module)
            if self._compiles:
                with self._compiler, torch.inference_mode():
                    network.compile(self._backend)
                    dynamo: Any = import_module("torch._dynamo")
                    with dynamo.config.patch(recompile_limit=MAX_VARIANTS):
                        run(**inputs)
            graph = self._captures and CudaGraph(run, network.module, picks_attention=not self._compiles)
            network.runs[shape] = graph or run
            log.info("prepared", input=list(shape[0][1]), seconds=round(time.monotonic() - began, 1))
        except Exception as error:  # noqa: BLE001 - compilers raise all kinds
            log.warning("can't be prepared; its shape stays eager", cause=_brief(error))


class CompiledCopy:
    """A second module around a network's weights, compiled while the network itself still runs eagerly.

    It follows the network to another device, as that replaces the data of the same tensors.
    """

    def __init__(self, network: Any) -> None:
        tensors = chain(network.parameters(), network.buffers())
        self.module = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
        #: Eager passes by shape, until it is compiled.
        self.passes: Counter[Shape] = Counter()
        #: Compiled passes by shape; None while one is being compiled, and after a failure.
        self.runs: dict[Shape, Run | None] = {}
        self._compiled = False
        # Compiled code and its module are a reference cycle, which would hold the weights until a garbage collection.
        weakref.finalize(network, _strip, self.module)

    def compile(self, backend: str | Callable[..., Any]) -> None:
        """Let torch.compile compile the next pass; where the blocks are alike, each of them."""
        if not self._compiled:
            for block in getattr(self.module, "transformer_blocks", None) or [self.module]:
                block.compile(backend=backend, dynamic=False)
            self._compiled = True


def _strip(network: Any) -> None:
    """Remove a module's weights and buffers."""
    for module in network.modules():
        module._parameters.clear()
        module._buffers.clear()


def pad(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """Padded to `rows` rows by repeating the last one: no row's output depends on another's."""
    missing = rows - len(tensor)
    return torch.cat([tensor, *[tensor[-1:]] * missing]) if missing else tensor


def _brief(error: Exception) -> str:
    """The exception's class and the first two lines of its message: compilers name the cause in the second."""
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:2])}"
