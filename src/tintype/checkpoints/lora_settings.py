"""How strongly a LoRA was trained to count: PEFT's configuration, where a file has one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import sqrt
from pathlib import Path
from typing import Any

from tintype.checkpoints.files import read_header, shown
from tintype.checkpoints.weights import is_number
from tintype.errors import WeightsUnusable

#: diffusers puts the configuration under this name into the file's header, PEFT beside a file of its own name.
IN_HEADER = "lora_adapter_metadata"
BESIDE = {"adapter_model.safetensors": "adapter_config.json"}
#: Characters of what wasn't understood that a message repeats.
SHOWN = 60


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
            f"{self.name}: alpha_pattern {said[:SHOWN]!r} is not understood; known are names of modules, "
            f"with up to {MOST_CHOICES} of *, +, ? and groups that aren't repeated in them"
        )

    def _number(self, key: str, said: Any) -> float:
        if not is_number(said):
            raise WeightsUnusable(f"{self.name}: {key} {str(said)[:SHOWN]!r} is not a number")
        return float(said)

    def _get(self, component: str, key: str) -> Any:
        """A pipeline's file has every key once per component."""
        return self.said.get(f"{component}.{key}", self.said.get(key))
