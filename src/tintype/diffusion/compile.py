"""Compile cache: forward passes compiled, or captured as CUDA graphs, for common shapes; others run eagerly."""

from __future__ import annotations

import copy
import threading
import time
import weakref
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import structlog
import torch

from tintype.diffusion.attention import attention_for
from tintype.diffusion.cuda_graphs import CudaGraph
from tintype.diffusion.devices import device_type
from tintype.errors import NoRoom
from tintype.settings.groups import Prepare

if TYPE_CHECKING:
    from tintype.diffusion.memory.component import LoadedComponent

log = structlog.get_logger()

#: Rows of a compiled pass: other numbers are padded to the next of these, for fewer variants.
ROWS = (1, 2, 4, 8, 16, 32)
#: Passes of a shape after which it is compiled, and max shapes per network: each takes a minute or more, and a graph
#: takes memory, while callers choose the sizes.
OFTEN, MAX_SHAPES = 32, 24
#: Max compiled variants per code object; torch's default is 8.
MAX_VARIANTS = 64

#: Inputs that UNets of diffusers take in a dictionary of their own.
ADDED = ("text_embeds", "time_ids")

#: A forward pass: a network, and its parameters by name, all with the rows first → its first output. `component` is the
#: network's, `method` what is called of it.
Run = Callable[..., torch.Tensor]
#: The same of what was prepared; None where it can't be run just now.
PreparedRun = Callable[..., torch.Tensor | None]
#: Names, sizes, dtypes and strides of a pass's inputs.
Shape = tuple[tuple[str, torch.Size, torch.dtype, tuple[int, ...]], ...]
Inputs = dict[str, torch.Tensor]


def run_eagerly(
    network: Any,
    *,
    component: LoadedComponent | None = None,  # noqa: ARG001
    exact: bool = False,  # noqa: ARG001
    method: str = "__call__",
    **inputs: torch.Tensor,
) -> torch.Tensor:
    """A forward pass as the libraries write it; `component` and `exact` make no difference here."""
    with attention_for(next(iter(inputs.values()))):
        return forward(network, method, **inputs)


def forward(network: Any, method: str = "__call__", **inputs: torch.Tensor) -> torch.Tensor:
    """The same with nothing in the way of compilers."""
    added = {name: inputs.pop(name) for name in ADDED if name in inputs}
    nested: dict[str, Any] = {"added_cond_kwargs": added} if added else {}
    output: torch.Tensor = getattr(network, method)(**inputs, **nested, return_dict=False)[0]
    return output


def pick_run(how: Prepare, device: torch.device) -> Run:
    """How networks are run on this device: graphs need CUDA, and OpenVINO a CPU and its package."""
    prepares = device_type(device).prepares
    compiles = how == "compile" or (how == "auto" and prepares)
    captures = how in ("graphs", "auto") and prepares
    if compiles or captures:
        return CompileCache(compiles=compiles, captures=captures)
    if device.type == "cpu" and (how == "openvino" or (how == "auto" and find_spec("openvino"))):
        cache: PassCache[Any] = import_module("tintype.diffusion.openvino").OpenVinoCache(only_faster=how == "auto")
        return cache
    return run_eagerly


class Passes:
    """A network's passes by shape."""

    def __init__(self) -> None:
        #: How many ran eagerly, until the shape is prepared.
        self.eager: Counter[Shape] = Counter()
        #: Prepared ones; None while one is being prepared, and after a failure.
        self.runs: dict[Shape, PreparedRun | None] = {}

    def forget(self, shape: Shape) -> None:
        """Count its passes from zero, so that it may be prepared again."""
        del self.runs[shape], self.eager[shape]


P = TypeVar("P", bound=Passes)


class PassCache(ABC, Generic[P]):
    """Runs forward passes: the first ones of a shape eagerly, those after `often` of them as they were prepared.

    That happens on a thread of its own. A failure costs one line in the log: its shape stays eager.
    """

    def __init__(self, often: int) -> None:
        self._often = often
        self._copies: weakref.WeakKeyDictionary[Any, P] = weakref.WeakKeyDictionary()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="compile")

    @abstractmethod
    def new(self, network: Any) -> P:
        """For a network's first pass."""

    @abstractmethod
    def parts(self, rows: int, component: LoadedComponent | None, method: str) -> Sequence[int]:
        """How many rows at a time are run, filled up in the last part; none where all are run eagerly."""

    @abstractmethod
    def prepare(self, passes: P, component: LoadedComponent | None, method: str, inputs: Inputs) -> PreparedRun:
        """Prepare the pass for inputs of this shape; raises anything, and NoRoom where it may be retried."""

    def __call__(
        self,
        network: Any,
        *,
        component: LoadedComponent | None = None,
        exact: bool = False,
        method: str = "__call__",
        **inputs: torch.Tensor,
    ) -> torch.Tensor:
        """A forward pass; with `exact` eagerly, as its last bits depend on how it is run."""
        rows = len(next(iter(inputs.values())))
        parts = [] if exact else self.parts(rows, component, method)
        output = None
        if parts:
            if network not in self._copies:
                self._copies[network] = self.new(network)
            passes = self._copies[network]
            output = self._run(passes, [*split(inputs, parts)], partial(self.prepare, passes, component, method))
        return run_eagerly(network, method=method, **inputs) if output is None else output[:rows]

    def wait(self) -> None:
        """Wait until all that was scheduled is prepared, or has failed."""
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Cancel what is scheduled, and wait for what is being prepared."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _run(self, passes: P, parts: Sequence[Inputs], prepare: Callable[[Inputs], PreparedRun]) -> torch.Tensor | None:
        """The output of all parts; None where one of them isn't prepared yet."""
        shapes = [_shape(inputs) for inputs in parts]
        for shape, inputs in dict(zip(shapes, parts, strict=True)).items():
            if shape not in passes.runs:
                self._count(passes, shape, inputs, prepare)
        outputs: list[torch.Tensor] = []
        for shape, inputs in zip(shapes, parts, strict=True) if all(map(passes.runs.get, shapes)) else ():
            output = _run_prepared(passes, shape, inputs)
            if output is None:
                return None
            outputs.append(output)
        return torch.cat(outputs) if outputs else None

    def _count(self, passes: P, shape: Shape, inputs: Inputs, prepare: Callable[[Inputs], PreparedRun]) -> None:
        passes.eager[shape] += 1
        if passes.eager[shape] >= self._often and len(passes.runs) < MAX_SHAPES:
            passes.runs[shape] = None
            given = {name: each.clone() for name, each in inputs.items()}
            self._thread.submit(_prepare, passes, shape, given, prepare)


def _prepare(passes: Passes, shape: Shape, inputs: Inputs, prepare: Callable[[Inputs], PreparedRun]) -> None:
    began = time.monotonic()
    try:
        passes.runs[shape] = prepare(inputs)
        log.info("prepared", input=list(shape[0][1]), seconds=round(time.monotonic() - began, 1))
    except NoRoom as error:
        passes.forget(shape)
        log.info("no room for a prepared pass", cause=_brief(error))
    except Exception as error:  # noqa: BLE001 - compilers raise all kinds
        log.warning("can't be prepared; its shape stays eager", cause=_brief(error))


def _run_prepared(passes: Passes, shape: Shape, inputs: Inputs) -> torch.Tensor | None:
    run = passes.runs[shape]
    try:
        return run and run(**inputs)
    except NoRoom:  # it was evicted
        passes.forget(shape)
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise  # the eager pass would fail, too
    except Exception as error:  # noqa: BLE001 - whatever it is, the eager pass remains
        passes.runs[shape] = None
        log.warning("a compiled pass failed; its shape stays eager", cause=_brief(error))
    return None


class CompileCache(PassCache["CompiledCopy"]):
    """Passes that torch compiles, or that are captured as CUDA graphs; rows are filled up to the next of ROWS.

    compiles: with torch.compile and this `backend`, SD 3's blocks one by one, so that one compilation serves all of
    them. captures: as a CUDA graph, on the caller's thread, which takes about as long as three passes, once.
    """

    def __init__(
        self, *, compiles: bool, captures: bool, backend: str | Callable[..., Any] = "inductor", often: int = OFTEN
    ) -> None:
        super().__init__(often)
        self._compiles = compiles
        self._captures = captures
        self._backend = backend
        # The compiler's stance and its cache are process-global: compiling and running compiled code hold this lock.
        self._compiler = threading.Lock()

    def new(self, network: Any) -> CompiledCopy:
        return CompiledCopy(network)

    def parts(self, rows: int, _component: LoadedComponent | None, method: str) -> Sequence[int]:
        """Only whole networks are compiled."""
        return [size for size in ROWS if size >= rows][:1] if method == "__call__" else []

    def prepare(
        self, copy: CompiledCopy, _component: LoadedComponent | None, _method: str, inputs: Inputs
    ) -> PreparedRun:
        run: Run = partial(forward, copy.module)
        if self._compiles:
            with self._compiler, torch.inference_mode():
                copy.compile(self._backend)
                dynamo: Any = import_module("torch._dynamo")
                with dynamo.config.patch(recompile_limit=MAX_VARIANTS):
                    run(**inputs)
        graph = self._captures and CudaGraph(run, copy.module, picks_attention=not self._compiles)
        return partial(self._run_alone, graph or run)

    def _run_alone(self, run: Run, **inputs: torch.Tensor) -> torch.Tensor | None:
        if not self._compiler.acquire(blocking=False):
            return None
        try:
            if not self._compiles:
                return run(**inputs)
            with torch.compiler.set_stance("eager_on_recompile"):  # never compiles on this thread
                return run(**inputs)
        finally:
            self._compiler.release()


class CompiledCopy(Passes):
    """A second module around a network's weights, compiled while the network itself still runs eagerly.

    It follows the network to another device, as that replaces the data of the same tensors.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        tensors = chain(network.parameters(), network.buffers())
        self.module = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
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


def split(inputs: Inputs, parts: Sequence[int]) -> Iterator[Inputs]:
    """The inputs in parts of these numbers of rows; the last one is padded."""
    begin = 0
    for rows in parts:
        yield {name: pad(tensor[begin : begin + rows], rows) for name, tensor in inputs.items()}
        begin += rows


def pad(tensor: torch.Tensor, rows: int) -> torch.Tensor:
    """Padded to `rows` rows by repeating the last one: no row's output depends on another's."""
    missing = rows - len(tensor)
    return torch.cat([tensor, *[tensor[-1:]] * missing]) if missing else tensor


def _shape(inputs: Inputs) -> Shape:
    return tuple((name, tensor.shape, tensor.dtype, tensor.stride()) for name, tensor in inputs.items())


def _brief(error: Exception) -> str:
    """The exception's class and the first two lines of its message: compilers name the cause in the second."""
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:2])}"
