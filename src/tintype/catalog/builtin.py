"""What the built-in weights can draw, and what is said of a model that uses them."""

from __future__ import annotations

import json
from collections.abc import Container
from functools import cache
from typing import Any

from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.weights import BUILTIN_FOLDER, builtin_weights, has_builtin

#: As answers and descriptions call them.
BUILTIN = "built-in"
#: Backgrounds next to white that they know by name, as `training/` lists them.
COLOURS = (
    "red", "orange", "yellow", "green", "blue", "sky blue", "purple", "pink", "brown", "black", "gray", "dark blue",
    "teal", "beige",
)  # fmt: skip
#: Prompts to try them with.
PROMPTS = (
    "a fox on a sky blue background",
    "a birthday cake on a pink background",
    "a panda",
    "a strawberry",
    "a castle on a sky blue background",
    "a rocket on a dark blue background",
)


def about(spec: ModelSpec, configured: Container[str]) -> dict[str, Any]:
    """What a model's description says of its weights: nothing for one with the operator's, or with none."""
    if spec.slug in configured or not has_builtin(spec.family, few_steps=spec.few_steps):
        return {}
    world: dict[str, Any] = {
        # What a form begins with, by meaning.
        "first": {"prompt": PROMPTS[0], "strength": 0.8, "seed": 1},
        "vocabulary": list(vocabulary()),
        "colours": list(COLOURS),
        "prompts": list(PROMPTS),
    }
    world["prompt_tokens"] = prompt_tokens(spec)
    # An image of each model of the catalogue that has them is shipped with the pages.
    world["sample"] = f"/static/samples/{spec.like or spec.slug}.webp"
    return {"weights": BUILTIN, "weights_note": in_words(spec), **world}


def in_words(spec: ModelSpec) -> str:
    """The same in a sentence."""
    side = builtin_weights(spec.family, few_steps=spec.few_steps).metadata.native_size
    things = len(vocabulary())
    world = f"a closed world of {things} things on {len(COLOURS)} colours"
    return f"{BUILTIN} weights: {world}, drawn at {side} px and enlarged"


def prompt_tokens(spec: ModelSpec) -> int:
    """Tokens of a prompt that they read, without start and end marks."""
    folder = builtin_weights(spec.family, few_steps=spec.few_steps).path
    config = json.loads((folder / "tokenizer" / "tokenizer_config.json").read_text("utf-8"))
    return int(config["model_max_length"]) - 2


@cache
def vocabulary() -> tuple[dict[str, str], ...]:
    """The things that they can draw: a name and its emoji each."""
    return tuple({"name": thing["name"], "emoji": thing["emoji"]} for thing in _read("vocabulary.json"))


def _read(name: str) -> Any:
    return json.loads((BUILTIN_FOLDER / name).read_text("utf-8"))
