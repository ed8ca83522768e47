"""Modules between host and GPU, through pinned memory: out of ordinary memory the driver copies everything twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

#: Bytes of each of the two buffers between files and the GPU: enough to keep the bus busy, little to keep pinned.
BUFFER = 64 * 2**20


class CudaMover:
    """Moves a module's weights to one GPU and back; the weights never change, so that moving is copying."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def arrive(self, module: Any) -> Any:
        """The module on the GPU: pinned tensors are fetched as they are, mapped ones through two pinned buffers."""
        staging = Staging(self._device)
        _replace(module, staging.send)
        torch.cuda.current_stream(self._device).synchronize()
        return module

    def leave(self, module: Any) -> Any:
        """The module in pinned host memory, from which it comes back at the speed of the bus."""
        _replace(module, _to_pinned)
        torch.cuda.current_stream(self._device).synchronize()
        return module

    def trim(self) -> None:
        """Give torch's cached blocks back to the GPU."""
        torch.cuda.empty_cache()


class Staging:
    """Two pinned buffers in turn: while one is copied to the GPU, the next piece is read from its file."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[torch.Tensor] = []
        self._copied = [torch.cuda.Event(), torch.cuda.Event()]
        self._turn = 0

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the tensor on the GPU, in its own memory format."""
        arrived = torch.empty_like(tensor, device=self._device)
        if tensor.is_pinned():
            return arrived.copy_(tensor, non_blocking=True)
        if not tensor.is_contiguous() and not tensor.is_contiguous(memory_format=torch.channels_last):
            return arrived.copy_(tensor)
        source, target = _as_bytes(tensor), _as_bytes(arrived)
        for begin in range(0, len(source), BUFFER):
            self._send_piece(source[begin : begin + BUFFER], target[begin : begin + BUFFER])
        return arrived

    def _send_piece(self, source: torch.Tensor, target: torch.Tensor) -> None:
        if not self._buffers:
            self._buffers = [torch.empty(BUFFER, dtype=torch.uint8, pin_memory=True) for _ in self._copied]
        self._turn ^= 1
        buffer = self._buffers[self._turn][: len(source)]
        self._copied[self._turn].synchronize()
        buffer.copy_(source)
        target.copy_(buffer, non_blocking=True)
        self._copied[self._turn].record(torch.cuda.current_stream(self._device))


def _replace(module: Any, moved: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Put every weight's and buffer's copy in its place; weights that share memory go on sharing it."""
    done: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        which = tensor.data_ptr(), tensor.shape
        if which not in done:
            done[which] = moved(tensor.data)
        tensor.data = done[which]


def _to_pinned(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's memory, byte by byte: no number is looked at, so that all types and layouts are alike."""
    return torch.as_strided(tensor, (tensor.numel(),), (1,)).view(torch.uint8)
