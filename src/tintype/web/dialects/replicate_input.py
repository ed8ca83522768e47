"""A prediction's input → a model's parameters: by its own names, and by those that other models have for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from math import sqrt
from typing import Any

from tintype.catalog.spec import MAX_SIDE, MIN_SIDE, Catalogue, ModelSpec, Parsed
from tintype.core import Json, Size
from tintype.errors import InvalidParameter, MissingParameter
from tintype.store.webhooks.predictions import IMAGE_NAMES
from tintype.web.dialects.common import (
    FORMATS,
    QUALITY,
    Translation,
    as_file,
    default_size,
    nearest_shape,
    number,
    param_of,
    read_size,
    rounded,
    sides,
)
from tintype.web.dialects.samplers import METHODS, choose

#: Names of numbers, and what they mean (`Param.field`): each model has one of them for each.
NUMBERS: Mapping[str, str] = {
    "num_outputs": "count",
    "num_images": "count",
    "steps": "steps",
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "guidance": "guidance",
    "prompt_strength": "strength",
    "strength": "strength",
}
#: What is read by its name, whatever the model calls its own parameters.
READ = frozenset((*NUMBERS, *IMAGE_NAMES, "mask", "size", "aspect_ratio", "width", "height", "scheduler", "seed",
                  "output_format", "output_quality", "base64"))  # fmt: skip
#: Pixels of an image of which only the shape is asked for; no shape is further from a square than this.
MEGAPIXEL, MAX_RATIO = 2**20, MAX_SIDE / MIN_SIDE
SHAPE = re.compile(r"\s*([0-9]{1,4})\s*:\s*([0-9]{1,4})\s*")
#: Words for no shape.
NO_SHAPE = ("", "auto", "custom", "match_input_image")


def read_input(body: Json) -> dict[str, Any]:
    """A body's `input`, without nulls, which mean absent; raises MissingParameter, InvalidParameter."""
    sent = body.get("input")
    if sent is None:
        raise MissingParameter("input", "an object")
    if not isinstance(sent, Mapping):
        raise InvalidParameter("input", sent, "an object")
    return {name: value for name, value in sent.items() if value is not None}


def has_image(body: Json) -> bool:
    """Whether an input has an image to start from."""
    sent = body.get("input")
    return isinstance(sent, Mapping) and any(sent.get(name) is not None for name in IMAGE_NAMES)


def translated(catalogue: Catalogue, spec: ModelSpec, sent: Json, own_file: Callable[[str, Any], Any]) -> Parsed:
    """The input of a prediction of this model, checked. own_file: the path of the upload that an address means.

    Raises InvalidParameter and MissingParameter, of `input.NAME`.
    """
    own = {name: sent[name] for name in spec.names - READ if name in sent}
    to = Translation(spec, own, {name: f"input.{name}" for name in spec.names})
    to.ignored += sorted(sent.keys() - spec.names - READ)
    _numbers(to, sent)
    size = _size(to, sent)
    _images(to, sent, catalogue, own_file, size)
    _sampler(to, sent)
    to.put("seed", sent.get("seed", -1), "input.seed")
    if sent.get("base64"):
        to.ignored.append("base64")
    parsed = _as_file(to.parsed(), sent)
    if not spec.takes_image or to.canvas:
        return parsed
    if sides(spec) is None:
        width, height = size or (0, 0)
        return replace(parsed, params=replace(parsed.params, width=width, height=height))
    asked = any(one.name in to.body for one in sides(spec) or ())
    return parsed if asked else replace(parsed, size_for=partial(nearest_shape, spec))


def _numbers(to: Translation, sent: Json) -> None:
    for name, means in NUMBERS.items():
        if name not in sent:
            continue
        param = param_of(to.spec, means)
        if name in to.spec.names:
            to.body[name] = sent[name]
        elif param and param.name not in sent and param.name not in to.body:
            to.put(means, sent[name], f"input.{name}")
        elif means == "count" and not param:
            to.count(number(sent[name]) or sent[name], f"input.{name}")
        else:
            to.ignored.append(name)


def _size(to: Translation, sent: Json) -> Size | None:
    """The images' size, where one is asked for: a size goes before a shape, and that before sides."""
    if size := read_size("input.size", sent.get("size")):
        to.size(size, "input.size", sent["size"])
        to.ignored += [name for name in ("width", "height") if name in sent]
        if sent.get("aspect_ratio", "") not in NO_SHAPE:
            to.ignored.append("aspect_ratio")
        return size
    if (shape := _shape(to, sent)) is not None:
        return shape
    asked = {name: sent[name] for name in ("width", "height") if name in sent}
    for name, value in asked.items():
        to.put(name, value, f"input.{name}")
    if not asked or sides(to.spec):
        return None
    default = dict(zip(("width", "height"), default_size(to.spec), strict=True))
    width, height = (_side(name, asked.get(name, default[name])) for name in default)
    to.size((width, height), "input.size", f"{width}x{height}")
    return width, height


def _side(name: str, value: Any) -> int:
    pixels = number(value)
    if pixels is None or not MIN_SIDE <= pixels <= MAX_SIDE:
        raise InvalidParameter(f"input.{name}", value, f"a whole number from {MIN_SIDE} to {MAX_SIDE}")
    return rounded(pixels)


def _shape(to: Translation, sent: Json) -> Size | None:
    """The size of a shape, W:H, or none: where the model has names of its own for shapes, these are sent on."""
    name, value = "aspect_ratio", sent.get("aspect_ratio", "")
    own = param_of(to.spec, name)
    if own and value in own.accepted:
        to.body[own.name] = value
        return None
    if isinstance(value, str) and value.strip().lower() in NO_SHAPE:
        return None
    found = SHAPE.fullmatch(value) if isinstance(value, str) else None
    ratio = int(found[1]) / int(found[2]) if found and int(found[1]) and int(found[2]) else 0.0
    if found is None or not 1 / MAX_RATIO <= ratio <= MAX_RATIO:
        words = f"WIDTH:HEIGHT, as 16:9, each at most {MAX_RATIO:g} times the other"
        raise InvalidParameter(f"input.{name}", value, words)
    to.ignored += [side for side in ("width", "height") if side in sent]
    size = shaped(to.spec, ratio)
    if param_of(to.spec, "width") and abs(size[0] / size[1] / ratio - 1) > 0.1:
        nearest = f"the nearest that it has to {found[1]}:{found[2]}"  # `value` may have spaces that no header may have
        to.notes.append(f"aspect_ratio: {to.spec.slug} draws {size[0]}x{size[1]}, {nearest}")
    to.put_size(size, f"input.{name}")
    return size


def shaped(spec: ModelSpec, ratio: float) -> Size:
    """The size of a shape: about a megapixel, within what the model draws."""
    width, height = sqrt(MEGAPIXEL * ratio), sqrt(MEGAPIXEL / ratio)
    both = sides(spec)
    if both and all(one.choices for one in both):
        return nearest_shape(spec, (round(width), round(height)))
    max_sides = [one.maximum or MAX_SIDE for one in both] if both else [MAX_SIDE, MAX_SIDE]
    scale = min(1.0, max_sides[0] / width, max_sides[1] / height)
    return rounded(width * scale), rounded(height * scale)


def _images(
    to: Translation, sent: Json, catalogue: Catalogue, own_file: Callable[[str, Any], Any], size: Size | None
) -> None:
    spec, names = to.spec, [name for name in IMAGE_NAMES if name in sent]
    if "mask" in sent:
        if param_of(spec, "mask") is None:
            raise InvalidParameter("input.mask", sent["mask"], f"nothing: {spec.slug} can't repaint a part of an image")
        to.put("mask", own_file("input.mask", sent["mask"]), "input.mask")
    if names and not spec.takes_image:
        able = ", ".join(one.slug for one in catalogue.values() if one.needs == "image")
        words = f"nothing: {spec.slug} takes no image; those that do are {able}"
        raise InvalidParameter(f"input.{names[0]}", sent[names[0]], words)
    if names:
        field = f"input.{names[0]}"
        to.put("image", own_file(field, sent[names[0]]), field)
        to.ignored += names[1:]
    elif spec.takes_image:
        to.draw_on_canvas(size or default_size(spec))


def _sampler(to: Translation, sent: Json) -> None:
    """A scheduler: a model's own name for a schedule or a sampler, or another program's for a sampler."""
    if "scheduler" not in sent:
        return
    name, value = "input.scheduler", sent["scheduler"]
    own = next((one for one in to.spec.parameters if one.name == "scheduler"), None)
    if own and isinstance(value, str) and value in own.accepted:
        to.body[own.name] = value
        return
    found = choose(to.spec, value) if isinstance(value, str) else None
    if found is None:
        known = [*map(str, own.offered)] if own else []
        words = ", ".join(dict.fromkeys([*known, *(one for method in METHODS for one in method.also)]))
        raise InvalidParameter(name, value, f"one of {words}")
    sampler = param_of(to.spec, "sampler")
    if sampler and found.sampler and sampler.name not in to.body:
        to.put("sampler", found.sampler, name)
    to.notes += found.notes


def _as_file(parsed: Parsed, sent: Json) -> Parsed:
    """With the format and the quality that are asked for, by general names or the model's own."""
    own = {one.field: one for one in parsed.spec.parameters if one.name in sent and one.name not in READ}
    format, quality = parsed.params.format, parsed.params.quality
    if "output_format" in sent or "format" not in own:
        asked = sent.get("output_format", "webp")
        format = FORMATS.get(asked.strip().lower(), "") if isinstance(asked, str) else ""
        if not format:
            raise InvalidParameter("input.output_format", asked, f"one of {', '.join(FORMATS)}")
    if "output_quality" in sent or "quality" not in own:
        asked = sent.get("output_quality", QUALITY)
        number_ = number(asked)
        if number_ is None or not 1 <= number_ <= 100 or number_ != int(number_):
            raise InvalidParameter("input.output_quality", asked, "a whole number from 1 to 100")
        quality = int(number_)
    return as_file(parsed, format, quality)
