"""Passes as CUDA graphs: all their kernels launched at once, which is what small networks wait for otherwise."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import chain
from typing import Any

import torch

from tintype.diffusion.attention import attending, pick_attention

#: Passes before the recording, in which libraries choose their kernels and take their workspaces.
WARM_UPS = 2


class Recorded:
    """A pass that is recorded at its first call, and again when the network's weights have moved since.

    The graph reads and writes memory of its own, so its inputs are copied in and its answer out. One at a time.
    picks_attention: try the attention kernels first, and record the fastest; compiled code has chosen already.
    """

    def __init__(self, run: Callable[..., torch.Tensor], network: Any, *, picks_attention: bool) -> None:
        self._run = run
        self._network = network
        self._picks_attention = picks_attention
        self._where: tuple[int, ...] = ()
        self._graph: Any = None
        self._inputs: dict[str, torch.Tensor] = {}
        self._answer: torch.Tensor

    def __call__(self, **inputs: torch.Tensor) -> torch.Tensor:
        """The pass; raises RuntimeError where the network does what no graph can hold."""
        where = addresses(self._network)
        if self._graph is None or where != self._where:
            self._record(inputs)
            self._where = where
        for name, tensor in inputs.items():
            self._inputs[name].copy_(tensor)
        self._graph.replay()
        return self._answer.clone()

    def _record(self, inputs: dict[str, torch.Tensor]) -> None:
        self._graph = None  # gives back what it held before the new one needs it
        self._inputs = {name: tensor.clone() for name, tensor in inputs.items()}
        with self._attention():
            self._capture()

    def _attention(self) -> AbstractContextManager[None]:
        if not self._picks_attention:
            return nullcontext()
        device = next(self._network.parameters()).device
        return attending(pick_attention(lambda: self._run(**self._inputs), device))

    def _capture(self) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                self._run(**self._inputs)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        # Other threads make previews and results meanwhile: what they do is no part of it, and no error.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._answer = self._run(**self._inputs)
        self._graph = graph


def addresses(network: Any) -> tuple[int, ...]:
    """Where the network's weights lie: a graph has them written into it."""
    return tuple(tensor.data_ptr() for tensor in chain(network.parameters(), network.buffers()))
