"""Copies modules between host and device; to a GPU through pinned memory, without which the driver copies twice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tintype.diffusion.devices import device_type

#: Bytes of each of the two staging buffers: enough to saturate the bus, and little pinned memory.
BUFFER = 64 * 2**20


class Transfer:
    """Moves modules between host memory and a device; on the CPU, they run in the memory that they were built in."""

    def to_device(self, module: Any) -> Any:
        """The module, on the device."""
        return module

    def to_host(self, module: Any) -> Any:
        """The module, in host memory."""
        return module

    def trim(self) -> None:
        """Free what the device's allocator has cached; the CPU's returns free memory to the system by itself."""


class PlainTransfer(Transfer):
    """Copies a module's weights to one GPU and back as torch does, waiting for each tensor."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def to_device(self, module: Any) -> Any:
        _replace(module, lambda tensor: tensor.to(self._device))
        return module

    def to_host(self, module: Any) -> Any:
        _replace(module, lambda tensor: tensor.to("cpu"))
        return module

    def trim(self) -> None:
        device_type(self._device).empty_cache()


class CudaTransfer(Transfer):
    """Copies a module's weights to one GPU and back; weights never change, so each copy stays valid."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def to_device(self, module: Any) -> Any:
        """Pinned tensors are copied directly, memory-mapped ones through the staging buffers."""
        _replace(module, _Staging(self._device).send)
        torch.cuda.current_stream(self._device).synchronize()
        return module

    def to_host(self, module: Any) -> Any:
        """To pinned memory, from which it comes back at the speed of the bus."""
        _replace(module, _to_pinned)
        torch.cuda.current_stream(self._device).synchronize()
        return module

    def trim(self) -> None:
        torch.cuda.empty_cache()


class _Staging:
    """Two pinned buffers, alternating: while one is copied to the GPU, the next chunk is read from its file."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._buffers: list[torch.Tensor] = []
        self._copied = [torch.cuda.Event(), torch.cuda.Event()]
        self._current = 0

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """A copy of the tensor on the GPU, in its own memory format."""
        arrived = torch.empty_like(tensor, device=self._device)
        if tensor.is_pinned():
            return arrived.copy_(tensor, non_blocking=True)
        if not tensor.is_contiguous() and not tensor.is_contiguous(memory_format=torch.channels_last):
            return arrived.copy_(tensor)
        source, target = _as_bytes(tensor), _as_bytes(arrived)
        for begin in range(0, len(source), BUFFER):
            self._send_chunk(source[begin : begin + BUFFER], target[begin : begin + BUFFER])
        return arrived

    def _send_chunk(self, source: torch.Tensor, target: torch.Tensor) -> None:
        if not self._buffers:
            self._buffers = [torch.empty(BUFFER, dtype=torch.uint8, pin_memory=True) for _ in self._copied]
        self._current ^= 1
        buffer = self._buffers[self._current][: len(source)]
        self._copied[self._current].synchronize()
        buffer.copy_(source)
        target.copy_(buffer, non_blocking=True)
        self._copied[self._current].record(torch.cuda.current_stream(self._device))


def _replace(module: Any, moved: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Replace each parameter's and buffer's data by its copy; those that share memory share the copy."""
    done: dict[tuple[int, torch.Size], torch.Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        key = tensor.data_ptr(), tensor.shape
        if key not in done:
            done[key] = moved(tensor.data)
        tensor.data = done[key]


def _to_pinned(tensor: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=True).copy_(tensor, non_blocking=True)


def _as_bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's memory as bytes, whatever its dtype and layout."""
    return torch.as_strided(tensor, (tensor.numel(),), (1,)).view(torch.uint8)
