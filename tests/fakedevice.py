"""A GPU that is not there: shapes, dtypes, devices and bytes of networks at true size, without numbers.

Its tensors are on torch's `meta` device, those of the CPU are real: schedules and noise are computed as ever. What a
GPU would refuse, tensors of two devices in one operation, raises; what would make the host wait for it is answered and
counted, as are copies to it, by the line of tintype that asked; and allocations, by the storages that are alive.

What it doesn't know: kernels' own workspaces, the allocator's rounding and fragmentation, and time.
"""

from __future__ import annotations

import linecache
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import tintype
from tintype.checkpoints.component import Component
from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion import devices
from tintype.diffusion.families import load_family, open_checkpoint
from tintype.diffusion.image_state import Family
from tintype.diffusion.loading import build, channels_last
from tintype.diffusion.memory.component import ActivationMemory, Meter, PassKey
from tintype.diffusion.memory.device_memory import UNLIMITED, DeviceMemory
from tintype.diffusion.memory.transfer import Transfer
from tintype.diffusion.text import PromptCache
from tintype.families import FAMILIES

T5_TOKENS = 256
FAKE = torch.device("meta")
SOURCE = str(Path(tintype.__file__).parent)
aten = torch.ops.aten
#: Operations that copy from one device to another.
COPIES = (aten._to_copy.default, aten.copy_.default)
#: Operations whose indices may be on the CPU, from where they are copied.
INDEXING = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
#: Operations whose result's shape, error or value in Python depends on numbers that the device has. torch.tensor makes
#: its tensor unseen, and then detaches it: of Python's numbers, which are copied.
WAITING = (
    aten._linalg_check_errors.default,
    aten._local_scalar_dense.default,
    aten.detach_.default,
    aten.equal.default,
    aten.masked_select.default,
    aten.nonzero.default,
    aten.repeat_interleave.Tensor,
)
#: Those that need numbers, and what they are told of a tensor with this dtype: all is well, and 0.
ANSWERED: dict[Any, Callable[[Any], Any]] = {
    aten._linalg_check_errors.default: lambda _: None,
    aten._local_scalar_dense.default: lambda dtype: True if dtype is torch.bool else 0,
}


class DevicesMixed(RuntimeError):
    """What CUDA raises as "Expected all tensors to be on the same device"."""


@dataclass(frozen=True)
class Mark:
    """Of what the fake device was asked to do."""

    marks: list[str]

    def synchronize(self) -> None:
        self.marks.append("waited")


class FakeDevice(TorchDispatchMode):
    """While it is entered, `FAKE` is a GPU."""

    def __init__(self) -> None:
        super().__init__()
        #: Where the host waited for the device: copies from pageable memory and back are among them.
        self.waits: Counter[str] = Counter()
        #: Where something was copied to the device without waiting: out of pinned memory.
        self.sent: Counter[str] = Counter()
        #: Dtypes of the inputs of matrix products, convolutions and attention.
        self.computed: Counter[torch.dtype] = Counter()
        #: Dtypes of all floating-point tensors that were made on the device.
        self.dtypes: Counter[torch.dtype] = Counter()
        #: Bytes that are allocated, that were at most since a meter began, and since `forget`.
        self.allocated = self.peak = self.highest = 0
        self.operations = 0
        #: What was marked and waited for.
        self.marks: list[str] = []
        self._storages: dict[int, weakref.ref[Any]] = {}
        self._pinned: weakref.WeakSet[Any] = weakref.WeakSet()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing is compiled here; the precaution takes a fifth of the time

    def forget(self) -> None:
        """Count from here on."""
        for counter in (self.waits, self.sent, self.computed, self.dtypes):
            counter.clear()
        self.marks.clear()
        self.operations = 0
        self.peak = self.highest = self.allocated

    def mark(self, _device: torch.device) -> Mark:
        """As a CUDA event that is recorded, and perhaps waited for; both are noted in `marks`."""
        self.marks.append("marked")
        return Mark(self.marks)

    def meter(self) -> Callable[[], int]:
        """As torch's allocator's: `Meter` of tintype's memory."""
        before, self.peak = self.allocated, self.allocated
        return lambda: self.peak - before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        given = _tensors((*args, *kwargs.values()))
        if kwargs.pop("pin_memory", None) or func in (aten.pin_memory.default, aten.is_pinned.default):
            return self._in_pinned(func, args, kwargs)
        if func in COPIES:
            return self._copied(func, args, kwargs)
        if FAKE not in (*args, *kwargs.values()) and not any(one.is_meta for one in given):
            return func(*args, **kwargs)
        if func in WAITING:
            self.waits[_line()] += 1
        if func in ANSWERED:
            return ANSWERED[func](args[0].dtype if args else None)
        if func not in SHORT and func._can_decompose():
            # In inference mode operations arrive here whole that are made of others.
            with self:
                if (made := func.decompose(*args, **kwargs)) is not NotImplemented:
                    return made
        return self._done(func, args, kwargs, given)

    def _in_pinned(self, func: Any, args: Any, kwargs: Any) -> Any:
        """What concerns pinned memory, for which torch wants a GPU."""
        if func is aten.is_pinned.default:
            return args[0].untyped_storage() in self._pinned
        made = args[0].clone() if func is aten.pin_memory.default else func(*args, **kwargs)
        self._pinned.add(made.untyped_storage())
        return made

    def _done(self, func: Any, args: Any, kwargs: Any, given: list[torch.Tensor]) -> Any:
        """An operation on the device."""
        self.operations += 1
        self._check(func, args, given)
        copied = self._laid_out(func, args)  # there until the operation has been done
        args = args if copied is None else (copied, *args[1:])
        made = SHORT[func](*args, **kwargs) if func in SHORT else None
        made = func(*args, **kwargs) if made is None else made
        if func is aten.convolution.default and _is_last(args[1]):
            made = torch.empty_like(made, memory_format=torch.channels_last)
        return self._tracked(made, func, given)

    def _laid_out(self, func: Any, args: Any) -> torch.Tensor | None:
        """The copy of its input that CUDA's group norm takes of channels that are last, and cuDNN of those that aren't.

        (ATen's group_norm.cpp, and cudnn_conv_suggest_memory_format in its ConvUtils.h.)
        """
        x: Any = args[0] if args else None
        if func is aten.group_norm.default and not x.is_contiguous():
            wanted = torch.contiguous_format
        elif func is aten.convolution.default and _is_last(args[1]) and not _is_last(x):
            wanted = torch.channels_last
        else:
            return None
        return self._tracked(torch.empty_like(x, memory_format=wanted), func, [])

    def _check(self, func: Any, args: Any, given: list[torch.Tensor]) -> None:
        """Tensors of one device, but for single numbers of the CPU in elementwise operations."""
        away = [one for one in given if not one.is_meta]
        if len(away) == len(given):
            return  # made on the device in the shape of something of the CPU
        if func in INDEXING and args[0].is_meta:
            indices = [one for one in args[1] if one is not None]
            away = [one for one in away if not any(one is index for index in indices)]
            # A list of indices is made a tensor of the device unseen.
            copied = any(not one.is_meta or one.untyped_storage()._cdata not in self._storages for one in indices)
            if copied or any(one.dtype in (torch.bool, torch.uint8) for one in indices):
                self.waits[_line()] += 1
        if away and not (torch.Tag.pointwise in func.tags and all(one.ndim == 0 for one in away)):
            raise DevicesMixed(f"{func}: {[(str(one.device), tuple(one.shape)) for one in given]}")

    def _copied(self, func: Any, args: Any, kwargs: Any) -> Any:
        """To the device, from it, or within one."""
        source = args[1] if func is aten.copy_.default else args[0]
        target = args[0].device if func is aten.copy_.default else kwargs.get("device") or source.device
        if source.is_meta == (target == FAKE):
            made = func(*args, **kwargs)
            return self._tracked(made, func, [source]) if source.is_meta else made
        wanted = kwargs.get("non_blocking") or (func is aten.copy_.default and args[2:3] == (True,))
        if target == FAKE and wanted and source.untyped_storage() in self._pinned:
            self.sent[_line()] += 1
        else:
            self.waits[_line()] += 1
        if target == FAKE:
            return self._tracked(func(*args, **kwargs), func, [])
        if func is aten.copy_.default:
            return args[0]
        dtype = kwargs.get("dtype") or source.dtype
        return torch.zeros(source.shape, dtype=dtype)

    def _tracked(self, made: Any, func: Any, given: list[torch.Tensor]) -> Any:
        """Count what was allocated until it is freed."""
        if func in COMPUTES:
            self.computed.update({one.dtype for one in given if one.is_floating_point()})
        known = {one.untyped_storage()._cdata for one in given}  # views, and what was changed in place
        for one in _tensors(made if isinstance(made, list | tuple) else (made,)):
            if not one.is_meta:
                continue
            if one.is_floating_point():
                self.dtypes[one.dtype] += 1
            storage = one.untyped_storage()
            if (key := storage._cdata) not in self._storages and key not in known:
                size = storage.nbytes()
                self._storages[key] = weakref.ref(storage, lambda _, key=key, size=size: self._freed(key, size))
                self.allocated += size
                self.peak, self.highest = max(self.peak, self.allocated), max(self.highest, self.allocated)
        return made[0] if func is aten.scaled_dot_product_attention.default else made

    def _freed(self, key: int, size: int) -> None:
        del self._storages[key]
        self.allocated -= size


def _tensors(values: Iterable[Any]) -> list[torch.Tensor]:
    """Those among them, and in lists among them."""
    found = []
    for one in values:
        if isinstance(one, torch.Tensor):
            found.append(one)
        elif isinstance(one, list | tuple):
            found += [inner for inner in one if isinstance(inner, torch.Tensor)]
    return found


def _is_last(x: torch.Tensor) -> bool:
    """Whether its channels are last in memory."""
    return x.ndim == 4 and x.is_contiguous(memory_format=torch.channels_last)


def _attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
    """As a fused kernel: the output, heads next to each other, and a float32 for each query and head."""
    if len({one.dtype for one in (query, key, value)}) > 1:
        raise TypeError(f"attention of {[one.dtype for one in (query, key, value)]}")
    *batch, heads, length, _ = query.shape
    made = query.new_empty((*batch, length, heads, value.shape[-1])).transpose(-2, -3)
    return made, query.new_empty((*batch, heads, length), dtype=torch.float32)


def _linear(x: Any, weight: Any, bias: Any = None) -> torch.Tensor | None:
    fits = x.shape[-1] == weight.shape[1] and x.dtype == weight.dtype
    return x.new_empty((*x.shape[:-1], weight.shape[0])) if fits else None


def _upsampled(x: Any, size: Any, scales: Any) -> torch.Tensor:
    sides = size or [int(side * scale) for side, scale in zip(x.shape[-2:], scales, strict=True)]
    layout = torch.channels_last if _is_last(x) else torch.contiguous_format
    return torch.empty((*x.shape[:-2], *sides), dtype=x.dtype, device=FAKE, memory_format=layout)


def _elementwise(first: Any, *others: Any, **_: Any) -> torch.Tensor | None:
    """Like the first input, where the others are smaller."""
    tensors = _tensors(others)
    same = all(one.dtype == first.dtype and one.ndim == first.ndim for one in tensors)
    fits = all(side in (1, whole) for one in tensors for side, whole in zip(one.shape, first.shape, strict=False))
    return torch.empty_like(first) if same and fits and first.is_meta else None


#: What some operations make, given what is asked of them; None where torch is to say. There is no fused attention on
#: `meta`, and torch's own account of the others takes half of a pass's time.
SHORT: dict[Any, Callable[..., Any]] = {
    aten.scaled_dot_product_attention.default: _attention,
    aten.linear.default: _linear,
    aten.dropout.default: lambda x, *_: x,
    aten.group_norm.default: lambda x, *_: torch.empty_like(x, memory_format=torch.contiguous_format),
    aten.upsample_nearest2d.vec: _upsampled,
    **dict.fromkeys((aten.add.Tensor, aten.gelu.default, aten.mul.Tensor, aten.silu.default), _elementwise),
}
COMPUTES = (
    aten.linear.default,
    aten.scaled_dot_product_attention.default,
    aten.addmm.default,
    aten.mm.default,
    aten.bmm.default,
    aten.baddbmm.default,
    aten.convolution.default,
)


def _line() -> str:
    """Module and line of tintype that asked, and the library's function that it called, if any."""
    frame, below = sys._getframe(1), ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file == devices.__file__:  # which is asked by the line that is meant
            frame = frame.f_back
            continue
        if file.startswith(SOURCE):
            line = linecache.getline(file, frame.f_lineno).strip()
            return f"{Path(file).stem}: {line}" + (f" → {below}" if below else "")
        if not below and "/torch/" not in file and file != __file__:
            below = f"{Path(file).stem}.{frame.f_code.co_name}"
        frame = frame.f_back
    return below


class FakeTransfer(Transfer):
    """Weights come to the device and leave it again; in host memory they take addresses, and no pages."""

    def to_device(self, module: Any) -> Any:
        return _moved(module, FAKE)

    def to_host(self, module: Any) -> Any:
        return _moved(module, torch.device("cpu"))


def _moved(module: Any, device: torch.device) -> Any:
    """With other tensors in the place of its own; what is shared stays shared."""
    moved: dict[tuple[int, torch.Size], torch.Tensor] = {}

    def move(tensor: torch.Tensor) -> torch.Tensor:
        key = tensor.untyped_storage()._cdata, tensor.shape
        if key not in moved:
            moved[key] = torch.empty_like(tensor, device=device)
        return moved[key]

    return module._apply(move)


def fake_memory(device: FakeDevice, budget: int = UNLIMITED, host_budget: int = UNLIMITED) -> DeviceMemory:
    """The fake device's, with the CPU's next to it."""
    activation = RecordingActivation(device.meter)
    return DeviceMemory(
        budget, host_budget=host_budget, cpu=DeviceMemory(), transfer=FakeTransfer(), activation=activation
    )


class RecordingActivation(ActivationMemory):
    """Activation memory of passes, each with what was reserved for it before it was known."""

    def __init__(self, meter: Meter) -> None:
        super().__init__(meter)
        self.guesses: dict[PassKey, int] = {}

    @property
    def taken(self) -> dict[PassKey, int]:
        """Bytes, of the passes that were measured."""
        return self._bytes

    def expect(self, key: PassKey, guess: int) -> int:
        self.guesses[key] = guess
        return super().expect(key, guess)


def load_fake(family: str, weights: WeightsSpec, memory: DeviceMemory, prompts: PromptCache | None = None) -> Family:
    """A family in bfloat16 on the fake device, its components built without numbers; those on the CPU are real."""
    loaded = load_family(family, weights, FAKE, torch.bfloat16, T5_TOKENS, memory, prompts)
    checkpoint = open_checkpoint(family, weights)
    for spec in FAMILIES[family].components:
        on_disk = checkpoint.component(spec)
        found = [one for one in loaded.components if one.name == spec.name and one.memory is memory]
        for component in found:
            component.build = partial(_build, on_disk)
    return loaded


def _build(component: Component) -> Any:
    """The network on the CPU, in tensors that nothing is written to: they take no memory."""
    with _disable_current_modes(), torch.inference_mode(False), torch.no_grad():
        network = build(component).to(torch.bfloat16).eval()
        if component.class_name in ("AutoencoderKL", "UNet2DConditionModel"):
            channels_last(network)
        return _moved(network, torch.device("cpu"))
