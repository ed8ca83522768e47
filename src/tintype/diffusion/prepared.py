"""Networks made ready for the shapes that they meet, compiled or as CUDA graphs, while requests go on eagerly."""

from __future__ import annotations

import copy
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from itertools import chain
from typing import Any, Literal

import structlog
import torch

from tintype.diffusion.graphs import Recorded

log = structlog.get_logger()

#: Rows of a prepared pass. Other numbers are filled up to the next of these, so that few variants are made.
ROWS = (1, 2, 4, 8, 16, 32)
#: Passes of a shape after which it is worth preparing, and the most shapes of one network: each costs a minute or more,
#: a graph memory as well, and callers choose their pictures' sizes.
OFTEN, MOST_SHAPES = 32, 24
#: Shapes of one piece of code for which the compiler may keep a version; torch's own limit is 8.
MOST_VERSIONS = 64

#: A pass through a network: tensors by the names of its parameters, all with the rows first → its first answer.
Run = Callable[..., torch.Tensor]
#: Names, sizes, types and layouts of what a pass is given.
Shape = tuple[tuple[str, torch.Size, torch.dtype, tuple[int, ...]], ...]


def eagerly(network: Any, *, exact: bool = False, **inputs: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """A pass as the libraries run it; `exact` makes no difference here."""
    answer: torch.Tensor = network(**inputs, return_dict=False)[0]
    return answer


def pick_run(how: Literal["off", "compile", "graphs", "auto"], device: torch.device) -> Run:
    """How networks are asked on this device; graphs are CUDA's, so that elsewhere they are left out."""
    on_gpu = device.type == "cuda"
    compiles = how == "compile" or (how == "auto" and on_gpu)
    records = how in ("graphs", "auto") and on_gpu
    return Preparer(compiles=compiles, records=records) if compiles or records else eagerly


class Preparer:
    """Runs passes, each shape's first ones eagerly; what is prepared after `often` of them runs the later ones.

    compiles: through torch.compile with that `backend`, SD 3's blocks one by one, so that one compilation serves all of
    them; on a thread of its own. records: as a CUDA graph, on the caller's thread, which takes about as long as three
    passes, once. A preparation that fails costs one line in the log: its shape stays eager.
    """

    def __init__(
        self, *, compiles: bool, records: bool, backend: str | Callable[..., Any] = "inductor", often: int = OFTEN
    ) -> None:
        self._often = often
        self._compiles = compiles
        self._records = records
        self._backend = backend
        self._twins: weakref.WeakKeyDictionary[Any, Twin] = weakref.WeakKeyDictionary()
        # Both the compiler's stance and its cache are the whole process's: who compiles has them for himself.
        self._compiler = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prepare")

    def __call__(self, network: Any, *, exact: bool = False, **inputs: torch.Tensor) -> torch.Tensor:
        """A pass; with `exact` eagerly, as its last bits depend on how it is run."""
        rows = len(next(iter(inputs.values())))
        size = next((size for size in ROWS if size >= rows), None)
        if exact or size is None:
            return eagerly(network, **inputs)
        full = {name: fill_up(tensor, size) for name, tensor in inputs.items()}
        answer = self._prepared(self._twin(network), full)
        return eagerly(network, **inputs) if answer is None else answer[:rows]

    def wait(self) -> None:
        """Return when everything that was asked for is prepared, or has failed."""
        self._thread.submit(lambda: None).result()

    def close(self) -> None:
        """Prepare nothing more."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _prepared(self, twin: Twin, inputs: dict[str, torch.Tensor]) -> torch.Tensor | None:
        """The answer of what is prepared for these inputs; None where nothing is, yet."""
        shape = shape_of(inputs)
        if shape not in twin.runs:
            twin.passes[shape] += 1
            if twin.passes[shape] < self._often or len(twin.runs) == MOST_SHAPES:
                return None
            twin.runs[shape] = None
            self._thread.submit(self._prepare, twin, shape, {name: each.clone() for name, each in inputs.items()})
        run = twin.runs[shape]
        if run is None or not self._compiler.acquire(blocking=False):
            return None
        try:
            return self._guarded(run, inputs)
        except (torch.OutOfMemoryError, torch.AcceleratorError):
            raise  # eagerly it would be no better
        except Exception as error:  # noqa: BLE001 - whatever it is, the eager pass is there
            twin.runs[shape] = None
            log.warning("what was prepared failed; its shape stays eager", cause=brief(error))
            return None
        finally:
            self._compiler.release()

    def _guarded(self, run: Run, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """A prepared pass that never compiles: whatever does not fit what was compiled runs eagerly."""
        if not self._compiles:
            return run(**inputs)
        with torch.compiler.set_stance("eager_on_recompile"):
            return run(**inputs)

    def _prepare(self, twin: Twin, shape: Shape, inputs: dict[str, torch.Tensor]) -> None:
        began = time.monotonic()
        try:
            run: Run = partial(eagerly, twin.network)
            if self._compiles:
                with self._compiler, torch.inference_mode():
                    twin.compile(self._backend)
                    self._compile(run, inputs)
            recorded = self._records and Recorded(run, twin.network, picks_attention=not self._compiles)
            twin.runs[shape] = recorded or run
            log.info("prepared", input=list(shape[0][1]), seconds=round(time.monotonic() - began, 1))
        except Exception as error:  # noqa: BLE001 - compilers raise all kinds
            log.warning("can't be prepared; its shape stays eager", cause=brief(error))

    def _compile(self, run: Run, inputs: dict[str, torch.Tensor]) -> None:
        dynamo: Any = import_module("torch._dynamo")
        with dynamo.config.patch(recompile_limit=MOST_VERSIONS):
            run(**inputs)

    def _twin(self, network: Any) -> Twin:
        if network not in self._twins:
            self._twins[network] = Twin(network)
        return self._twins[network]


class Twin:
    """A second network around the same weights, which can be compiled without touching the one that runs eagerly.

    It follows its original when that moves to another device by giving its tensors other data.
    """

    def __init__(self, network: Any) -> None:
        self.network = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors(network)})
        #: Eager passes of the shapes that nothing was prepared for.
        self.passes: Counter[Shape] = Counter()
        #: What is prepared by shape; None while it is prepared, and after that has failed.
        self.runs: dict[Shape, Run | None] = {}
        self._compiled = False
        # Compiled code and its network refer to each other, and would keep the weights until they are found.
        weakref.finalize(network, strip, self.network)

    def compile(self, backend: str | Callable[..., Any]) -> None:
        """Have torch.compile at work from the next pass on: on the blocks, where these are alike."""
        if not self._compiled:
            for block in getattr(self.network, "transformer_blocks", None) or [self.network]:
                block.compile(backend=backend, dynamic=False)
            self._compiled = True


def tensors(network: Any) -> Iterator[torch.Tensor]:
    """Its weights and buffers."""
    return chain(network.parameters(), network.buffers())


def strip(network: Any) -> None:
    """Take a network's weights and buffers away."""
    for module in network.modules():
        module._parameters.clear()
        module._buffers.clear()


def fill_up(tensor: torch.Tensor, size: int) -> torch.Tensor:
    """So many rows, those that are missing being the last one again: no row's answer depends on another's."""
    missing = size - len(tensor)
    return torch.cat([tensor, *[tensor[-1:]] * missing]) if missing else tensor


def shape_of(inputs: dict[str, torch.Tensor]) -> Shape:
    """What a variant is prepared for."""
    return tuple((name, tensor.shape, tensor.dtype, tensor.stride()) for name, tensor in inputs.items())


def brief(error: Exception) -> str:
    """Its kind, and what it says first; a compiler says in its second line what the matter was."""
    return f"{type(error).__name__}: {' '.join(str(error).splitlines()[:2])}"
