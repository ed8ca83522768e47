"""What the built-in weights can draw, and what is said of a model that uses them."""

from __future__ import annotations

import json
from collections.abc import Container
from functools import cache
from importlib.resources import files
from typing import Any

from tintype.catalog.spec import ModelSpec

#: As answers and descriptions call them.
BUILTIN = "built-in"
#: Backgrounds beside white that they know by name, as `training/` lists them.
COLOURS = 14


def about(spec: ModelSpec, configured: Container[str]) -> dict[str, Any]:
    """What a model's description says of its weights: nothing for a slug with weights of the operator's."""
    return {} if spec.slug in configured else {"weights": BUILTIN, "vocabulary": list(vocabulary())}


def in_words(spec: ModelSpec) -> str:
    """The same in a sentence."""
    side = _read(f"{spec.family}/tintype.json")["native_size"]
    things = len(vocabulary())
    return f"{BUILTIN} weights: a closed world of {things} things on {COLOURS} colours, drawn at {side} px and enlarged"


@cache
def vocabulary() -> tuple[dict[str, str], ...]:
    """The things that they can draw: a name and its emoji each."""
    return tuple({"name": thing["name"], "emoji": thing["emoji"]} for thing in _read("vocabulary.json"))


def _read(name: str) -> Any:
    return json.loads((files("tintype") / "weights" / name).read_text("utf-8"))
