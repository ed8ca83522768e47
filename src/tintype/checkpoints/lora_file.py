"""A LoRA's file (Hu et al. 2021, § 4.1): what it adds to which of a component's weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import isfinite, prod
from pathlib import Path

import torch

from tintype.checkpoints import lora_names
from tintype.checkpoints.files import NONSENSE, map_files, shown
from tintype.checkpoints.lora_settings import Settings
from tintype.errors import WeightsUnusable

SHOWN = 5
KNOWN = (
    "known are LoRAs of linear and convolution layers as kohya, PEFT and diffusers name them (no DoRA, LoHa or LoKr)"
)

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Update:
    """What is added to one weight."""

    #: (out, rank), or (out, rank, 1, 1) for a convolution.
    up: torch.Tensor
    #: (rank, in), or (rank, in, k, k).
    down: torch.Tensor
    #: alpha / rank.
    factor: float

    def delta(self, shape: torch.Size) -> torch.Tensor:
        """The whole of it in the weight's shape, float32."""
        return (self.up.flatten(1).float() @ self.down.flatten(1).float()).view(shape).mul_(self.factor)

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether it is of the weight's size."""
        if min(self.up.ndim, self.down.ndim, weight.ndim) < 2:
            return False
        sizes = [(len(one), prod(one.shape[1:])) for one in (self.up, self.down, weight)]
        (out, rank), (inner, width), weighed = sizes
        return inner == rank and weighed == (out, width)

    @property
    def finite(self) -> bool:
        """Whether all its numbers are such; one that isn't would make every picture one that isn't."""
        return all(bool(half.float().isfinite().all()) for half in (self.up, self.down))


#: Weights' names → what is added to each.
Updates = Mapping[str, Update]


class LoraFile:
    """A LoRA file: the halves of its updates, by its own names for a model's modules."""

    def __init__(self, path: Path) -> None:
        """Read it, memory-mapped; raises WeightsUnusable where it holds what isn't understood."""
        self.name = shown(path)
        self._settings = Settings.read(path)
        self._modules: dict[str, dict[str, torch.Tensor]] = {}
        strangers, doubled = [], []
        for name, tensor in map_files([path]).items():
            if (named := lora_names.split(name)) is None:
                strangers.append(name)
            elif named[1] in self._modules.setdefault(named[0], {}):
                doubled.append(name)
            else:
                self._modules[named[0]][named[1]] = tensor
        if strangers:
            raise WeightsUnusable(f"{self.name}: not understood: {_some(strangers)}; {KNOWN}")
        halved = [name for name, parts in self._modules.items() if not {"up", "down"} <= parts.keys()]
        if halved or not self._modules:
            raise WeightsUnusable(f"{self.name}: no pair of up and down: {_some(halved) or 'it is empty'}; {KNOWN}")
        if doubled:
            raise self._twice(doubled)
        hollow = [name for name, parts in self._modules.items() if not (parts["up"].numel() and parts["down"].numel())]
        if hollow:
            raise WeightsUnusable(f"{self.name}: of rank 0, which adds nothing: {_some(hollow)}")
        if not any(_changes(parts) for parts in self._modules.values()):
            raise WeightsUnusable(f"{self.name} changes nothing: its numbers are all zero, as before any training")

    def updates(self, component: str, tensors: Tensors) -> Updates:
        """What it adds to a component's tensors; nothing where it has nothing for this component.

        Raises WeightsUnusable where it names modules that the component hasn't, or has with other sizes.
        """
        owned = {name: lora_names.owner(name) for name in self._modules}
        wanted = {name: flat for name, (owner, flat) in owned.items() if owner == lora_names.role(component)}
        if not wanted:
            return {}
        found: dict[str, Update] = {}
        own, originals = lora_names.flat_names(tensors), lora_names.original_names(component, tensors)
        strangers, doubled = [], []
        for name, candidates in wanted.items():
            if known := [own[flat] for flat in candidates if flat in own]:
                updates = {f"{known[0]}.weight": self._update(component, known[0], self._modules[name])}
            elif known := [originals[flat] for flat in candidates if flat in originals]:
                updates = self._from_original(component, known[0], self._modules[name], tensors)
            else:
                updates = {}
                strangers.append(name)
            doubled += [weight for weight in updates if weight in found]
            found |= updates
        misfits = [name for name, update in found.items() if name not in tensors or not update.fits(tensors[name])]
        if strangers or misfits:
            raise WeightsUnusable(f"{self.name} is for another {component}: {_some([*strangers, *misfits])} differ")
        if doubled:
            raise self._twice(doubled)
        if broken := [name for name, update in found.items() if not update.finite]:
            raise WeightsUnusable(f"{self.name} has numbers that are NaN or infinite: {_some(broken)}; fetch it again")
        return found

    def _from_original(self, component: str, module: str, parts: Tensors, tensors: Tensors) -> dict[str, Update]:
        """Of a module in the original layout: the rows of `up` go where the rows of its weight go."""
        try:
            ups = lora_names.converted(component, {f"{module}.weight": parts["up"]}, tensors)
        except NONSENSE as error:
            raise WeightsUnusable(f"{self.name} is for another {component}: {module} differs") from error
        return {
            weight: self._update(component, weight.removesuffix(".weight"), {**parts, "up": up})
            for weight, up in ups.items()
        }

    def _update(self, component: str, module: str, parts: Tensors) -> Update:
        rank = parts["down"].shape[0] if parts["down"].ndim else 1  # of what has none, `fits` says that it doesn't
        factor = self._settings.factor(component, module, rank, self._alpha(module, parts))
        return Update(parts["up"], parts["down"], factor)

    def _alpha(self, module: str, parts: Tensors) -> float | None:
        """The file's own alpha of a module, if it has one."""
        if "alpha" not in parts:
            return None
        if parts["alpha"].numel() != 1 or not isfinite(alpha := float(parts["alpha"])):
            raise WeightsUnusable(f"{self.name}: the alpha of {module} is not one number")
        return alpha

    def _twice(self, names: Collection[str]) -> WeightsUnusable:
        return WeightsUnusable(f"{self.name} says twice what is added to {_some(names)}: it is several LoRAs in one")


def _changes(parts: Tensors) -> bool:
    """Whether any of a pair's numbers would be added."""
    halves = (parts["up"], parts["down"])
    weighed = "alpha" not in parts or bool((parts["alpha"].float() != 0).any())
    return weighed and all(bool((half.float() != 0).any()) for half in halves)


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:SHOWN])
    return f"{shown} and {len(names) - SHOWN} more" if len(names) > SHOWN else shown
