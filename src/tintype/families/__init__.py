"""The families of models: what is known of each without torch, one descriptor each, and other kinds of files."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from tintype.families.sd3 import SD3
from tintype.families.sd15 import SD15
from tintype.families.sdxl import REFINER, SDXL
from tintype.families.spec import FamilySpec

#: By name. Of a file, the first that matches counts.
FAMILIES: Mapping[str, FamilySpec] = {one.name: one for one in (SD3, REFINER, SDXL, SD15)}
#: Files that no family loads, told apart by names of tensors, before any family is: pattern and kind.
OTHERS = [
    (re.compile(pattern), kind)
    for pattern, kind in (
        (r"\.?lora_(up|down|A|B|unet|te)|\.lora\.", "a LoRA, which goes on top of a model"),
        (r"^cond_stage_model\.model\.", "Stable Diffusion 2"),
        (r"(^|\.)(double_blocks|single_transformer_blocks)\.", "FLUX"),
        (r"^(control_model|controlnet_cond_embedding)\.", "a ControlNet"),
    )
]


def file_kind(names: Collection[str]) -> tuple[str, FamilySpec | None]:
    """The kind of a file with these tensors, and the family that loads it."""
    known = [*((pattern, kind, None) for pattern, kind in OTHERS)]
    families = [(one.detect, one.title, one) for one in FAMILIES.values()]
    found = ((kind, one) for pattern, kind, one in (*known, *families) if any(map(pattern.search, names)))
    return next(found, ("something unknown", None))
