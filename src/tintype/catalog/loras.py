"""LoRAs that a request may ask for by name: a parameter of models whose operator offers some."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import replace

from tintype.catalog.spec import ModelSpec, Param

#: How strongly: two digits behind the point at most, so that there are only so many different weights.
STRENGTH = r"-?(?:[01](?:\.[0-9]{1,2})?|2(?:\.00?)?)"
STRONGEST = 2.0
#: One request's at most.
MOST = 5


def offering(spec: ModelSpec, names: Collection[str]) -> ModelSpec:
    """The model with a parameter `loras` that takes these names; unchanged where there are none.

    Names hold letters, digits, `_`, `.` and `-`; raises ValueError for others.
    """
    if wrong := [name for name in names if not re.fullmatch(r"[A-Za-z0-9_.-]+", name)]:
        raise ValueError(f"{wrong[0]!r} was given; allowed are letters, digits, _, . and -")
    return replace(spec, parameters=(*spec.parameters, _param(names))) if names else spec


def read_loras(text: str) -> tuple[tuple[str, float], ...]:
    """`detail, style:0.6` → names and strengths, sorted so that equal wishes are equal; raises ValueError.

    Of a name that comes twice the last counts. A strength of 0 is left out.
    """
    wishes = [wish.strip().partition(":") for wish in text.split(",") if wish.strip()]
    strengths = {name: float(strength or 1) for name, _, strength in wishes}
    return tuple(sorted((name, strength) for name, strength in strengths.items() if strength))


def _param(names: Collection[str]) -> Param:
    known = ", ".join(names)
    one = f"(?:{'|'.join(map(re.escape, names))})(?::{STRENGTH})?"
    return Param(
        name="loras",
        kind="string",
        help=f"Styles on top of the model, with their strength or without, such as {next(iter(names))}:0.8. {known}.",
        default="",
        group="prompt",
        pattern=f"(?:{one}(?: ?, ?{one}){{0,{MOST - 1}}})?",
        words=f"up to {MOST} of {known}, separated by commas, each perhaps with a strength from -2 to 2, as name:0.75",
    )
