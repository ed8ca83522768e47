"""How strongly a LoRA was trained to count: PEFT's configuration, where a file has one."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from tintype.checkpoints.files import read_header
from tintype.errors import WeightsUnusable

#: diffusers puts the configuration under this name into the file's header, PEFT beside a file of its own name.
IN_HEADER = "lora_adapter_metadata"
BESIDE = {"adapter_model.safetensors": "adapter_config.json"}


@dataclass(frozen=True)
class Settings:
    """PEFT's LoraConfig as it was saved; empty where there was none."""

    said: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Settings:
        """Of a LoRA's file; raises WeightsUnusable where they are no JSON."""
        text = read_header(path).metadata.get(IN_HEADER)
        beside = path.with_name(BESIDE.get(path.name, path.name))
        try:
            if text is None and beside != path and beside.is_file():
                text = beside.read_text("utf-8")
            said = json.loads(text or "{}")
        except (OSError, ValueError) as error:
            raise WeightsUnusable(f"{path.name}: its configuration can't be read: {type(error).__name__}") from error
        return cls(said if isinstance(said, dict) else {})

    def factor(self, component: str, module: str, rank: int, alpha: float | None) -> float:
        """What up · down is multiplied by: alpha/rank, or alpha/sqrt(rank) for rank-stabilised ones.

        `alpha` is the file's own; else the configuration's; else the rank, so that the factor is 1.
        """
        if alpha is None:
            alpha = self._alpha(component, module) or rank
        return float(alpha) / (sqrt(rank) if self._get(component, "use_rslora") else rank)

    def _alpha(self, component: str, module: str) -> float | None:
        own = self._get(component, "alpha_pattern") or {}
        found = [alpha for pattern, alpha in own.items() if re.match(rf"(.*\.)?({pattern})$", module)]
        alpha: float | None = found[0] if found else self._get(component, "lora_alpha")
        return alpha

    def _get(self, component: str, key: str) -> Any:
        """A pipeline's file has every key once per component."""
        return self.said.get(f"{component}.{key}", self.said.get(key))
