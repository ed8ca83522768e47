"""LoRAs merged into weights at load, so that they cost nothing when drawing: W + scale · alpha/rank · up · down."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod, sqrt
from pathlib import Path
from typing import Any

import torch

from tintype.checkpoints.files import NONSENSE, Tensors, map_files, read_header, shown
from tintype.checkpoints.keys import lora as lora_names
from tintype.checkpoints.keys.lora import DENOISER, owner, role, split
from tintype.checkpoints.weights import Lora, is_number
from tintype.errors import WeightsUnusable

#: LoRAs, each with the components that it is for.
Meant = tuple[tuple[Lora, set[str]], ...]


def meant(loras: Collection[Lora]) -> Meant:
    """Those that are added at all, and what each is for, told by its header; raises WeightsUnusable."""
    return tuple((lora, _means(lora)) for lora in loras if lora.scale)


def concerning(loras: Meant, component: str) -> tuple[Lora, ...]:
    """Those of the LoRAs that change a component."""
    return tuple(lora for lora, named in loras if role(component) in named)


def _means(lora: Lora) -> set[str]:
    """Where a name isn't understood, whoever reads the whole of it says so: the denoiser, which there always is."""
    named = [split(name) for name in read_header(lora.path).tensors]
    return {owner(found[0])[0] if found else DENOISER for found in named} or {DENOISER}


def merge(component: str, tensors: Tensors, loras: Collection[Lora], dtype: torch.dtype) -> Tensors:
    """All of a component's tensors in one number format, LoRAs added in float32 before they are rounded to it.

    Raises WeightsUnusable where a LoRA isn't understood or doesn't fit.
    """
    changes = [(lora.scale, LoraFile(lora.path).updates(component, tensors)) for lora in loras]
    merged = {}
    for name, tensor in tensors.items():
        wanted = [(scale, updates[name]) for scale, updates in changes if name in updates]
        weight = tensor.float() if wanted else tensor
        for scale, update in wanted:
            weight = weight + scale * update.delta(weight.shape)
        merged[name] = weight.to(dtype)
    return merged


SHOWN = 5
KNOWN = (
    "known are LoRAs of linear and convolution layers as kohya, PEFT and diffusers name them (no DoRA, LoHa or LoKr)"
)


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


#: diffusers puts the configuration under this name into the file's header, PEFT beside a file of its own name.
IN_HEADER = "lora_adapter_metadata"
BESIDE = {"adapter_model.safetensors": "adapter_config.json"}
#: Characters of what wasn't understood that a message repeats.
SHOWN_LENGTH = 60


#: Patterns of modules' names in one file, and characters in one. Those with a choice (a repeat or a group) are tried in
#: many ways, so there may be fewer; a repeated group could take for ever, and isn't taken.
MOST_PATTERNS, MOST_CHOOSING, MOST_CHOICES, LONGEST_PATTERN = 20_000, 50, 2, 300
#: Letters, dots, escaped ones, digits by class, each perhaps repeated; groups, which are not; `|` between them.
PATTERN = re.compile(r"\^?(?:(?:[\w.\-]|\\[.d_\-]|\[0-9\])[*+?]?|\((?:\?:)?|[|)])*\$?", re.ASCII)
CHOICE = re.compile(r"\((?:\?:)?|[*+?]")

Alphas = Sequence[tuple[re.Pattern[str], float]]


@dataclass(frozen=True)
class Settings:
    """PEFT's LoraConfig as it was saved; empty where there was none."""

    #: The LoRA's file, for messages.
    name: str
    said: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Of a LoRA's file; raises WeightsUnusable where they are no JSON object."""
        text = read_header(path).metadata.get(IN_HEADER)
        beside = path.with_name(BESIDE.get(path.name, path.name))
        try:
            if text is None and beside != path and beside.is_file():
                text = beside.read_text("utf-8")
            return cls(shown(path), {**json.loads(text or "{}")})
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise WeightsUnusable(f"{path.name}: its configuration can't be read: {type(error).__name__}") from error

    def factor(self, component: str, module: str, rank: int, alpha: float | None) -> float:
        """What up · down is multiplied by: alpha/rank, or alpha/sqrt(rank) for rank-stabilised ones.

        `alpha` is the file's own; else the configuration's; else the rank, so that the factor is 1. Raises
        WeightsUnusable.
        """
        if alpha is None:
            alpha = self._alpha(component, module) or rank
        return alpha / (sqrt(rank) if self._get(component, "use_rslora") else rank)

    def _alpha(self, component: str, module: str) -> float | None:
        found = (alpha for pattern, alpha in self._patterns(component) if pattern.match(module))
        usual = self._get(component, "lora_alpha")
        return next(found, None if usual is None else self._number("lora_alpha", usual))

    def _patterns(self, component: str) -> Alphas:
        """What `alpha_pattern` says of a component's modules, read once."""
        if component not in self._read:
            self._read[component] = self._compiled(self._get(component, "alpha_pattern") or {})
        return self._read[component]

    @cached_property
    def _read(self) -> dict[str, Alphas]:
        return {}

    def _compiled(self, said: Any) -> Alphas:
        if not isinstance(said, dict) or len(said) > MOST_PATTERNS:
            raise WeightsUnusable(f"{self.name}: alpha_pattern is not understood: it is no table of modules' names")
        if sum(bool(CHOICE.search(pattern)) for pattern in said) > MOST_CHOOSING:
            raise WeightsUnusable(f"{self.name}: alpha_pattern has more than {MOST_CHOOSING} that are no plain names")
        return [(self._pattern(pattern), self._number("alpha_pattern", alpha)) for pattern, alpha in said.items()]

    def _pattern(self, said: str) -> re.Pattern[str]:
        """A module's name or the end of it, as PEFT matches them."""
        try:
            if len(said) <= LONGEST_PATTERN and len(CHOICE.findall(said)) <= MOST_CHOICES and PATTERN.fullmatch(said):
                return re.compile(rf"(?:.*\.)?(?:{said})$")
        except re.error:
            pass  # a parenthesis too many: said below
        raise WeightsUnusable(
            f"{self.name}: alpha_pattern {said[:SHOWN_LENGTH]!r} is not understood; known are names of modules, "
            f"with up to {MOST_CHOICES} of *, +, ? and groups that aren't repeated in them"
        )

    def _number(self, key: str, said: Any) -> float:
        if not is_number(said):
            raise WeightsUnusable(f"{self.name}: {key} {str(said)[:SHOWN_LENGTH]!r} is not a number")
        return float(said)

    def _get(self, component: str, key: str) -> Any:
        """A pipeline's file has every key once per component."""
        return self.said.get(f"{component}.{key}", self.said.get(key))
