"""LoRAs (Hu et al. 2021, § 4.1) merged into weights at load, free at inference: W + scale · alpha/rank · up · down."""

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

from tintype.checkpoints import lora_names
from tintype.checkpoints.files import MALFORMED, Tensors, display_name, map_tensors, read_header
from tintype.checkpoints.weights import Lora
from tintype.errors import WeightsUnusable
from tintype.families.spec import ComponentSpec
from tintype.families.training import is_number

#: LoRAs with the components that each of them changes, by the names of `lora_names.target`.
LoraTargets = tuple[tuple[Lora, set[str]], ...]

#: Names of tensors or modules in one message, and characters of a value.
MAX_NAMES_SHOWN, MAX_VALUE_SHOWN = 5, 60
KNOWN = (
    "known are LoRAs of linear and convolution layers as kohya, PEFT and diffusers name them (no DoRA, LoHa or LoKr)"
)

#: diffusers puts PEFT's configuration under this key into the file's header; PEFT has a file for it.
CONFIG_KEY = "lora_adapter_metadata"
CONFIG_FILES = {"adapter_model.safetensors": "adapter_config.json"}
#: Patterns of module names in one file, characters in one. Those with choices (a repeat or a group) need backtracking,
#: so fewer are allowed. A repeated group could take exponential time, and is refused.
MAX_PATTERNS, MAX_PATTERN_LENGTH, MAX_PATTERNS_WITH_CHOICES, MAX_CHOICES = 20_000, 300, 50, 2
#: Letters, dots, escaped ones, digits by class, each perhaps repeated; groups, which are not; `|` between them.
PATTERN = re.compile(r"\^?(?:(?:[\w.\-]|\\[.d_\-]|\[0-9\])[*+?]?|\((?:\?:)?|[|)])*\$?", re.ASCII)
CHOICE = re.compile(r"\((?:\?:)?|[*+?]")

Alphas = Sequence[tuple[re.Pattern[str], float]]


def lora_targets(loras: Collection[Lora]) -> LoraTargets:
    """The LoRAs with a scale other than 0, and the components that each changes; raises WeightsUnusable."""
    return tuple((lora, _targets(lora)) for lora in loras if lora.scale)


def loras_for(targets: LoraTargets, component: str) -> tuple[Lora, ...]:
    """The LoRAs that change a component."""
    return tuple(lora for lora, names in targets if lora_names.target_name(component) in names)


def _targets(lora: Lora) -> set[str]:
    """An unknown name counts as the denoiser's, which always exists: reading the file for it raises the error."""
    pairs = [lora_names.split_key(name) for name in read_header(lora.path).tensors]
    return {lora_names.target(pair[0])[0] if pair else lora_names.DENOISER for pair in pairs} or {lora_names.DENOISER}


def merge_loras(component: ComponentSpec, tensors: Tensors, loras: Collection[Lora], dtype: torch.dtype) -> Tensors:
    """All of a component's tensors in one dtype, LoRAs added in float32 before rounding to it.

    Raises WeightsUnusable where a LoRA isn't understood or doesn't fit.
    """
    changes = [(lora.scale, LoraFile(lora.path).updates(component, tensors)) for lora in loras]
    merged = {}
    for name, tensor in tensors.items():
        updates = [(scale, found[name]) for scale, found in changes if name in found]
        weight = tensor.float() if updates else tensor
        for scale, update in updates:
            weight = weight + scale * update.delta(weight.shape)
        merged[name] = weight.to(dtype)
    return merged


@dataclass(frozen=True)
class LoraUpdate:
    """What is added to one weight."""

    #: (out, rank), or (out, rank, 1, 1) for a convolution.
    up: torch.Tensor
    #: (rank, in), or (rank, in, k, k).
    down: torch.Tensor
    #: alpha / rank.
    factor: float

    def delta(self, shape: torch.Size) -> torch.Tensor:
        """factor · up · down in the weight's shape, float32."""
        return (self.up.flatten(1).float() @ self.down.flatten(1).float()).view(shape).mul_(self.factor)

    def fits(self, weight: torch.Tensor) -> bool:
        """Whether it has the weight's size."""
        if min(self.up.ndim, self.down.ndim, weight.ndim) < 2:
            return False
        sizes = [(len(one), prod(one.shape[1:])) for one in (self.up, self.down, weight)]
        (out, rank), (inner, width), weight_size = sizes
        return inner == rank and weight_size == (out, width)

    @property
    def is_finite(self) -> bool:
        """NaN or infinity in it would make every image NaN."""
        return all(bool(half.float().isfinite().all()) for half in (self.up, self.down))


#: Weights' names → what is added to each.
Updates = Mapping[str, LoraUpdate]


class LoraFile:
    """A LoRA file: the halves of its updates, by its own names for a model's modules."""

    def __init__(self, path: Path) -> None:
        """Memory-maps the file; raises WeightsUnusable where its content isn't understood."""
        self.name = display_name(path)
        self._config = PeftConfig.read(path)
        self._modules: dict[str, dict[str, torch.Tensor]] = {}
        unknown, doubled = [], []
        for name, tensor in map_tensors([path]).items():
            if (pair := lora_names.split_key(name)) is None:
                unknown.append(name)
            elif pair[1] in self._modules.setdefault(pair[0], {}):
                doubled.append(name)
            else:
                self._modules[pair[0]][pair[1]] = tensor
        if unknown:
            raise WeightsUnusable(f"{self.name}: unknown tensors: {_some(unknown)}; {KNOWN}")
        halved = [name for name, halves in self._modules.items() if not {"up", "down"} <= halves.keys()]
        if halved or not self._modules:
            raise WeightsUnusable(f"{self.name}: no pair of up and down: {_some(halved) or 'it is empty'}; {KNOWN}")
        if doubled:
            raise self._doubled(doubled)
        empty = [
            name for name, halves in self._modules.items() if not (halves["up"].numel() and halves["down"].numel())
        ]
        if empty:
            raise WeightsUnusable(f"{self.name}: of rank 0, which adds nothing: {_some(empty)}")
        if not any(_changes_anything(halves) for halves in self._modules.values()):
            raise WeightsUnusable(f"{self.name} changes nothing: its numbers are all zero, as before any training")

    def updates(self, component: ComponentSpec, tensors: Tensors) -> Updates:
        """What it adds to a component's tensors; empty where it doesn't change this component.

        Raises WeightsUnusable for modules that the component hasn't, or has with other sizes.
        """
        targets = {name: lora_names.target(name) for name in self._modules}
        own = {
            name: flat for name, (target, flat) in targets.items() if target == lora_names.target_name(component.name)
        }
        if not own:
            return {}
        found: dict[str, LoraUpdate] = {}
        names, originals = lora_names.flat_names(tensors), lora_names.original_names(component, tensors)
        unknown, doubled = [], []
        for name, candidates in own.items():
            if known := [names[flat] for flat in candidates if flat in names]:
                updates = {f"{known[0]}.weight": self._update(component, known[0], self._modules[name])}
            elif known := [originals[flat] for flat in candidates if flat in originals]:
                updates = self._from_original(component, known[0], self._modules[name], tensors)
            else:
                updates = {}
                unknown.append(name)
            doubled += [weight for weight in updates if weight in found]
            found |= updates
        misfits = [name for name, update in found.items() if name not in tensors or not update.fits(tensors[name])]
        if unknown or misfits:
            raise WeightsUnusable(f"{self.name} is for another {component.name}: {_some([*unknown, *misfits])} differ")
        if doubled:
            raise self._doubled(doubled)
        if broken := [name for name, update in found.items() if not update.is_finite]:
            raise WeightsUnusable(f"{self.name} has numbers that are NaN or infinite: {_some(broken)}; fetch it again")
        return found

    def _from_original(
        self, component: ComponentSpec, module: str, halves: Tensors, tensors: Tensors
    ) -> dict[str, LoraUpdate]:
        """Of a module in the original layout: the rows of `up` go where the rows of its weight go."""
        try:
            ups = lora_names.convert(component, {f"{module}.weight": halves["up"]}, tensors)
        except MALFORMED as error:
            raise WeightsUnusable(f"{self.name} is for another {component.name}: {module} differs") from error
        return {
            weight: self._update(component, weight.removesuffix(".weight"), {**halves, "up": up})
            for weight, up in ups.items()
        }

    def _update(self, component: ComponentSpec, module: str, halves: Tensors) -> LoraUpdate:
        rank = halves["down"].shape[0] if halves["down"].ndim else 1  # `fits` refuses one without dimensions
        factor = self._config.factor(component.name, module, rank, self._alpha(module, halves))
        return LoraUpdate(halves["up"], halves["down"], factor)

    def _alpha(self, module: str, halves: Tensors) -> float | None:
        """The file's own alpha of a module, if any."""
        if "alpha" not in halves:
            return None
        if halves["alpha"].numel() != 1 or not isfinite(alpha := float(halves["alpha"])):
            raise WeightsUnusable(f"{self.name}: the alpha of {module} is not one number")
        return alpha

    def _doubled(self, names: Collection[str]) -> WeightsUnusable:
        return WeightsUnusable(f"{self.name} has two updates of {_some(names)}: it is several LoRAs in one")


def _changes_anything(halves: Tensors) -> bool:
    """Whether any of a pair's numbers would be added."""
    weighed = "alpha" not in halves or bool((halves["alpha"].float() != 0).any())
    return weighed and all(bool((halves[half].float() != 0).any()) for half in ("up", "down"))


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:MAX_NAMES_SHOWN])
    return f"{shown} and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else shown


@dataclass(frozen=True)
class PeftConfig:
    """PEFT's LoraConfig as saved with a LoRA; empty where there is none."""

    #: The LoRA's file, for messages.
    name: str
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> PeftConfig:
        """Of a LoRA's file; raises WeightsUnusable where it is no JSON object."""
        text = read_header(path).metadata.get(CONFIG_KEY)
        config_path = path.with_name(CONFIG_FILES.get(path.name, path.name))
        try:
            if text is None and config_path != path and config_path.is_file():
                text = config_path.read_text("utf-8")
            return cls(display_name(path), {**json.loads(text or "{}")})
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise WeightsUnusable(f"{path.name}: its configuration can't be read: {type(error).__name__}") from error

    def factor(self, component: str, module: str, rank: int, alpha: float | None) -> float:
        """The factor of up · down: alpha/rank, or alpha/sqrt(rank) for rank-stabilised LoRAs.

        `alpha` is the file's own; else the configuration's; else the rank, for a factor of 1. Raises WeightsUnusable.
        """
        if alpha is None:
            alpha = self._alpha(component, module) or rank
        return alpha / (sqrt(rank) if self._get(component, "use_rslora") else rank)

    def _alpha(self, component: str, module: str) -> float | None:
        found = (alpha for pattern, alpha in self._patterns(component) if pattern.match(module))
        default = self._get(component, "lora_alpha")
        return next(found, None if default is None else self._number("lora_alpha", default))

    def _patterns(self, component: str) -> Alphas:
        """`alpha_pattern` of a component's modules."""
        if component not in self._cache:
            self._cache[component] = self._compiled(self._get(component, "alpha_pattern") or {})
        return self._cache[component]

    @cached_property
    def _cache(self) -> dict[str, Alphas]:
        return {}

    def _compiled(self, value: Any) -> Alphas:
        if not isinstance(value, dict) or len(value) > MAX_PATTERNS:
            limit = f"at most {MAX_PATTERNS:,} modules' names"
            raise WeightsUnusable(f"{self.name}: alpha_pattern must be an object with {limit} and their alphas")
        if sum(bool(CHOICE.search(pattern)) for pattern in value) > MAX_PATTERNS_WITH_CHOICES:
            limit = f"more than {MAX_PATTERNS_WITH_CHOICES} patterns that are no plain names"
            raise WeightsUnusable(f"{self.name}: alpha_pattern has {limit}")
        return [(self._pattern(pattern), self._number("alpha_pattern", alpha)) for pattern, alpha in value.items()]

    def _pattern(self, text: str) -> re.Pattern[str]:
        """A module's name or the end of it, as PEFT matches them."""
        try:
            short = len(text) <= MAX_PATTERN_LENGTH and len(CHOICE.findall(text)) <= MAX_CHOICES
            if short and PATTERN.fullmatch(text):
                return re.compile(rf"(?:.*\.)?(?:{text})$")
        except re.error:
            pass  # unbalanced parentheses, refused below
        raise WeightsUnusable(
            f"{self.name}: alpha_pattern {text[:MAX_VALUE_SHOWN]!r} is not supported; allowed are names of modules, "
            f"with up to {MAX_CHOICES} of *, +, ? and groups that aren't repeated in them"
        )

    def _number(self, key: str, value: Any) -> float:
        if not is_number(value):
            raise WeightsUnusable(f"{self.name}: {key} {str(value)[:MAX_VALUE_SHOWN]!r} is not a number")
        return float(value)

    def _get(self, component: str, key: str) -> Any:
        """A pipeline's file has every key once per component."""
        return self.values.get(f"{component}.{key}", self.values.get(key))
