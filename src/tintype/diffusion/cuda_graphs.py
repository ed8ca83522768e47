"""Forward passes as CUDA graphs, with the attention kernel that is fastest for their shape.

A graph launches all kernels of a pass together: small networks otherwise wait for each launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain
from typing import Any

import structlog
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from tintype.diffusion.dtype_selection import medians

log = structlog.get_logger()

#: Passes before the capture, in which libraries select kernels and allocate workspaces.
WARM_UPS = 2
#: Attention kernels that a GPU may have, and the one that is always there.
KERNELS = (SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH)
#: Interleaved measurements of each kernel.
ROUNDS = 3


class CudaGraph:
    """A forward pass that is captured at its first call, and again once the network's weights have moved.

    A graph reads and writes fixed buffers, so inputs are copied in and the output out. Not thread-safe.
    picks_attention: measure the attention kernels first and capture the fastest; compiled code has its own already.
    """

    def __init__(self, run: Callable[..., torch.Tensor], network: Any, *, picks_attention: bool) -> None:
        self._run = run
        self._network = network
        self._picks_attention = picks_attention
        self._addresses: tuple[int, ...] = ()
        self._graph: Any = None
        self._inputs: dict[str, torch.Tensor] = {}
        self._output: torch.Tensor

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Replay the pass; raises RuntimeError where the network does what can't be captured."""
        # A graph has the weights' addresses built in.
        weights = chain(self._network.parameters(), self._network.buffers())
        addresses = tuple(tensor.data_ptr() for tensor in weights)
        if self._graph is None or addresses != self._addresses:
            self._capture(inputs)
            self._addresses = addresses
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._graph.replay()
        return self._output.clone()

    def _capture(self, inputs: dict[str, torch.Tensor]) -> None:
        self._graph = None  # frees its memory before the new one allocates
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        # Streams and graphs are the current device's, which is the first one unless someone says otherwise.
        with torch.cuda.device(next(self._network.parameters()).device), self._attention():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    self._run(**self._inputs)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads decode previews and results meanwhile, which is neither captured nor an error.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                self._output = self._run(**self._inputs)
            self._graph = graph

    def _attention(self) -> AbstractContextManager[None]:
        if not self._picks_attention:
            return nullcontext()
        device = next(self._network.parameters()).device
        return attention_kernel(pick_attention(lambda: self._run(**self._inputs), device))


@contextmanager
def attention_kernel(kernel: SDPBackend) -> Iterator[None]:
    """Run the block's attention with this kernel, or with another one where it doesn't support the shape.

    Process-global: images made on other threads meanwhile may differ in their last bits.
    """
    others = [other for other in KERNELS if other is not kernel]
    with sdpa_kernel([kernel, *others], set_priority=True):
        yield


def pick_attention(
    work: Callable[[], object], device: torch.device, kernels: tuple[SDPBackend, ...] = KERNELS
) -> SDPBackend:
    """The kernel with which the work is fastest on the device, measured."""

    def with_kernel(kernel: SDPBackend) -> Callable[[], None]:
        def run() -> None:
            with attention_kernel(kernel):
                work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    times = medians([with_kernel(kernel) for kernel in kernels], ROUNDS)
    fastest = min(zip(times, kernels, strict=True), key=lambda pair: pair[0])[1]
    shown = {kernel.name.lower(): round(1000 * seconds, 2) for kernel, seconds in zip(kernels, times, strict=True)}
    log.info("attention kernel selected", kernel=fastest.name.lower(), milliseconds=shown)
    return fastest
