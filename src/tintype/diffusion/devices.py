"""What differs between the types of devices: one row each, so that nothing else asks for a device's type.

NVIDIA's and AMD's are both `cuda` to torch. Apple's (`mps`) and Intel's (`xpu`) were never seen here: their rows are
what torch's documentation says, and leave out what it doesn't promise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class DeviceType:
    """A type of device, by what tintype does with it; the functions are given one of its devices."""

    #: How many this process can use.
    count: Callable[[], int]
    #: Whether it computes in bfloat16, rather than only store it.
    bfloat16: Callable[[torch.device], bool]
    #: Bytes that are free, and all that it has; None: they are main memory's.
    memory: Callable[[torch.device], tuple[int, int]] | None = None
    #: torch's module with the counters of its allocator, and their peaks; None: it has none.
    allocator: Any = None
    #: Frees what torch's allocator has cached.
    empty_cache: Callable[[], None] = lambda: None
    #: Whether it copies out of pinned memory without waiting, in the order of its streams.
    pinned: bool = False
    #: Marks what the device was asked to do so far; the mark's `synchronize` waits for that. None: the host is never
    #: ahead, as its copies wait.
    mark: Callable[[torch.device], Any] | None = None
    #: Whether its memory is not main memory, so that offloading weights to there makes room.
    discrete: bool = False
    #: Whether passes are compiled, and captured as graphs.
    prepares: bool = False


def _cpu_bfloat16(_device: torch.device) -> bool:
    # Without bfloat16 instructions oneDNN emulates it, slower than float32.
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _cuda_mark(device: torch.device) -> Any:
    event = torch.cuda.Event(blocking=True)  # a wait leaves the core to others
    event.record(torch.cuda.current_stream(device))
    return event


def _mps_memory(_device: torch.device) -> tuple[int, int]:
    # Main memory, of which Metal advises how much to take.
    total = int(torch.mps.recommended_max_memory())
    return max(0, total - int(torch.mps.driver_allocated_memory())), total


#: By torch's name, in the order in which `auto` prefers them.
DEVICE_TYPES: Mapping[str, DeviceType] = {
    "cuda": DeviceType(
        count=torch.cuda.device_count,
        bfloat16=lambda _: bool(torch.cuda.is_bf16_supported(including_emulation=False)),
        memory=torch.cuda.mem_get_info,
        allocator=torch.cuda,
        empty_cache=torch.cuda.empty_cache,
        pinned=True,
        mark=_cuda_mark,
        discrete=True,
        prepares=True,
    ),
    "xpu": DeviceType(
        count=torch.xpu.device_count,
        bfloat16=lambda _: bool(torch.xpu.is_bf16_supported(including_emulation=False)),
        memory=torch.xpu.mem_get_info,
        allocator=torch.xpu,
        empty_cache=torch.xpu.empty_cache,
        discrete=True,
    ),
    "mps": DeviceType(
        count=lambda: int(torch.backends.mps.is_available()),
        # Metal has it since macOS 14.
        bfloat16=lambda _: bool(torch.backends.mps.is_macos_or_newer(14, 0)),
        memory=_mps_memory,
        empty_cache=torch.mps.empty_cache,
    ),
    "cpu": DeviceType(count=lambda: 1, bfloat16=_cpu_bfloat16),
}


def device_type(device: torch.device) -> DeviceType:
    """The row of a device."""
    return DEVICE_TYPES[device.type]


def found_devices() -> list[str]:
    """The GPUs of this machine that torch can use, by name: `cuda:0`, `xpu:0`, `mps`."""
    gpus = {name: kind.count() for name, kind in DEVICE_TYPES.items() if name != "cpu"}
    return [name if name == "mps" else f"{name}:{index}" for name, count in gpus.items() for index in range(count)]


def pick_device(name: str) -> torch.device:
    """`auto` is the first GPU, or the CPU where there is none."""
    if name != "auto":
        return torch.device(name)
    kinds = (kind for kind, row in DEVICE_TYPES.items() if row.count())
    return torch.device(next(kinds))


def send(tensor: torch.Tensor, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A tensor of the CPU on the device; the host doesn't wait for what the device still has to do, where it needn't.

    A plain copy to a GPU would: the driver reads pageable memory only once everything before it has been done.
    """
    if device_type(device).pinned and tensor.device.type == "cpu":
        return tensor.to(dtype=dtype).pin_memory().to(device, non_blocking=True)
    return tensor.to(device, dtype)


def unwaited(device: torch.device) -> AbstractContextManager[Any]:
    """Have libraries' code in the block copy to the device as `send` does; for code that has no other way."""
    return _Unwaited() if device_type(device).pinned else nullcontext()


class _Unwaited(TorchFunctionMode):  # type: ignore[misc]
    """Copies out of pinned memory, and no look at whether a linear system could be solved: numbers stay the same."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linalg.solve:
            return torch.linalg.solve_ex(*args, **kwargs)[0]
        if func is torch.tensor and kwargs.get("device") is not None:
            device = torch.device(kwargs.pop("device"))
            return send(torch.tensor(*args, **kwargs), device)
        if func is torch.Tensor.__getitem__ and isinstance(args[1], list):  # of indices, which are copied
            return args[0][send(torch.tensor(args[1]), args[0].device)]
        if func is torch.Tensor.to and args[0].device.type == "cpu":
            device = next((one for one in (*args[1:], kwargs.get("device")) if isinstance(one, torch.device)), None)
            if device is not None and device_type(device).pinned:
                return func(args[0].pin_memory(), *args[1:], **{**kwargs, "non_blocking": True})
        return func(*args, **kwargs)
