"""What dialects share: which model a name means, its parameters by their meaning, sizes; answers, errors, lists."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from math import log
from types import MappingProxyType
from typing import Any, NamedTuple

from fastapi import Request as HttpRequest

from tintype import errors as e
from tintype.catalog.spec import (
    MAX_SIDE,
    MIN_SIDE,
    MULTIPLE,
    NUMERAL,
    Catalogue,
    ModelSpec,
    Param,
    Parsed,
    Purpose,
)
from tintype.core import Size
from tintype.errors import InvalidParameter, MissingParameter, TintypeError
from tintype.media.scaling import fitted_size
from tintype.web.openapi import OF_STATUS, Schema, headers
from tintype.web.openapi import REFUSALS as EVERYWHERE

#: A size as dialects write it.
SIZE = re.compile(r"\s*([0-9]{1,5})\s*[xX×]\s*([0-9]{1,5})\s*")
#: Meanings of parameters that dialects have fields of their own for, whatever a model calls them.
OWN_FIELDS = frozenset(("image", "mask", "count", "width", "height", "aspect_ratio", "format", "quality", "base64"))
#: The size of what a model without sides of its own draws where no size is asked for.
CANVAS: Size = (1024, 1024)
#: File formats as these hosts call them; the quality where none is asked for, and the least one that is made.
FORMATS: Mapping[str, str] = {"webp": "webp", "png": "png", "jpg": "jpeg", "jpeg": "jpeg"}
QUALITY, MIN_QUALITY = 95, 10
#: What isn't a call's fault, and passes.
AWAY = (e.StoreUnavailable, e.StorageUnavailable, e.NotReady, e.Restarting, e.TooManyConnections)
#: What statuses mean in `/openapi.json`, unless a dialect has other words. Those whose calls wait cancel in vain.
REFUSALS: Mapping[int, str] = {
    **EVERYWHERE,
    400: "A body, a query or a header that isn't understood",
    402: "Out of credits, or the key's cap is reached",
    409: "The request that was sent with this Idempotency-Key is still running",
    429: "Too many requests, or the queue is full",
    500: "The model failed on the request, or it was cancelled; or something went wrong on this server",
    502: "No worker is running; without an Idempotency-Key, the request is cancelled",
    503: "The database or the storage can't be reached, or this server is being restarted",
    504: "The wait ended; without an Idempotency-Key, the request is cancelled",
}


class ErrorRow(NamedTuple):
    """How a dialect answers errors of some kinds."""

    kinds: tuple[type[TintypeError], ...]
    #: 0 is the one that they have everywhere.
    status: int = 0
    #: What the dialect calls them.
    name: str = ""
    code: str | None = None


@dataclass
class Translation:
    """A dialect's body on its way into a model's own parameters."""

    spec: ModelSpec
    #: In the model's own words.
    body: dict[str, Any] = field(default_factory=dict)
    #: By the model's name of a parameter, the field that it came from, for errors.
    names: dict[str, str] = field(default_factory=dict)
    #: What the caller should know of what was made of the body.
    notes: list[str] = field(default_factory=list)
    #: Fields that mean nothing here.
    ignored: list[str] = field(default_factory=list)
    #: The size of the plain image that it starts from, where none was sent to a model that takes one.
    canvas: Size | None = None

    def put(self, means: str, value: Any, name: str) -> bool:
        """The parameter of this meaning (`Param.field`) has the value; False where the model has none.

        name: what the caller knows it by.
        """
        if (param := param_of(self.spec, means)) is None:
            return False
        self.body[param.name], self.names[param.name] = value, name
        return True

    def put_default(self, means: str, value: Any) -> None:
        """The same unless the caller has sent one by the model's own name; a range's nearest end is taken."""
        param = param_of(self.spec, means)
        if param and self.body.get(param.name) is None:
            self.body[param.name] = nearest_value(param, value)

    def count(self, number: Any, name: str) -> None:
        """How many images; raises InvalidParameter for several of a model that makes one at a time."""
        if not self.put("count", number, name) and (not isinstance(number, int) or number != 1):
            raise InvalidParameter(name, number, f"1, which is what {self.spec.slug} makes at a time")

    def size(self, size: Size, name: str, sent: object) -> Size:
        """The images' size, as it is drawn: of a model without sides of its own, about a megapixel at most.

        Noted where it isn't what was sent; raises InvalidParameter for sides that the model doesn't draw.
        """
        if nearest_size(self.spec, size) != size:
            raise InvalidParameter(name, sent, sizes_in_words(self.spec))
        self.put_size(size, name)
        drawn = finished_size(self.spec, size)
        if (asked := SIZE.fullmatch(str(sent))) and (int(asked[1]), int(asked[2])) != drawn:
            # Not as it was sent: a note goes into a header, which no space or line break of any kind may be in.
            self.notes.append(f"{name}: {asked[1]}x{asked[2]} was sent, {drawn[0]}x{drawn[1]} is drawn")
        return drawn

    def put_size(self, size: Size, name: str) -> None:
        """Where the model has sides; its own shapes, which go before them, are left alone."""
        for means, side in zip(("width", "height"), size, strict=True):
            self.put(means, side, name)
        if (shape := param_of(self.spec, "aspect_ratio")) and "custom" in shape.choices:
            self.put("aspect_ratio", "custom", name)

    def draw_on_canvas(self, size: Size) -> None:
        """Start from a plain image, of which nothing is kept."""
        self.canvas = size
        self.put("image", "canvas", "image")  # until that is stored
        if (strength := param_of(self.spec, "strength")) and self.body.get(strength.name) is not None:
            self.ignored.append(strength.name)
        self.put("strength", 1, "strength")

    def parsed(self) -> Parsed:
        """The checked body; raises InvalidParameter and MissingParameter with the caller's names."""
        # What has one value only is no question to other hosts' callers.
        given = {one.name: one.choices[0] for one in self.spec.parameters if one.required and len(one.choices) == 1}
        with naming(self.names):
            found = self.spec.parse(given | self.body)
        ignored = (*self.ignored, *found.ignored)
        return replace(found, ignored=ignored, notes=tuple(self.notes), canvas=self.canvas)


@contextmanager
def naming(names: Mapping[str, str]) -> Iterator[None]:
    """Have errors name a parameter as the caller knows it. names: of the model's own ones."""
    try:
        yield
    except (InvalidParameter, MissingParameter) as error:
        if name := names.get(error.name):
            error.message = name + error.message.removeprefix(error.name)
            error.name, error.args = name, (error.message,)
        raise


def model_for(catalogue: Catalogue, name: object, purpose: Purpose, field: str = "model") -> ModelSpec:
    """The model that a slug or an alias means, for what it is asked for; raises ModelUnknown.

    InvalidParameter of the field that names it for one that can't do it: never another in its stead, at another price.
    """
    if not isinstance(name, str):
        raise InvalidParameter(field, name, "text")
    spec = catalogue.named(name, purpose)
    if spec.needs == "mask" or (purpose == "edit" and not spec.takes_image):
        wanted = ("image",) if purpose == "edit" else ("text", "image")
        able = [one.slug for one in catalogue.values() if one.needs in wanted]
        kind = "that takes an image and no mask" if purpose == "edit" else "that takes no mask"
        raise InvalidParameter(field, name, f"a model {kind}: {', '.join(able)}")
    return spec


def param_of(spec: ModelSpec, means: str) -> Param | None:
    """The model's parameter of a meaning: `steps` is called `num_inference_steps` in some."""
    return next((one for one in spec.parameters if one.field == means), None)


def nearest_value(param: Param, value: float) -> float:
    """The number of a parameter's range, or of its choices, that is the nearest."""
    if param.choices:
        return min(map(int, param.choices), key=lambda choice: abs(choice - value))
    low = value if param.minimum is None else max(param.minimum, value)
    near = low if param.maximum is None else min(param.maximum, low)
    return int(near) if param.kind == "integer" else near


def read_size(name: str, sent: object) -> Size | None:
    """Width and height of `WxH`, each rounded to what models take; None for `auto`, and for an empty one.

    Raises InvalidParameter.
    """
    if sent is None or (isinstance(sent, str) and sent.strip().lower() in ("", "auto")):
        return None
    found = SIZE.fullmatch(sent) if isinstance(sent, str) else None
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (MIN_SIDE <= width <= MAX_SIDE and MIN_SIDE <= height <= MAX_SIDE):
        raise InvalidParameter(name, sent, f"auto, or WIDTHxHEIGHT in pixels, each {MIN_SIDE} to {MAX_SIDE}")
    return rounded(width), rounded(height)


def rounded(side: float) -> int:
    """The nearest side that models take, in pixels."""
    return min(max(round(side / MULTIPLE) * MULTIPLE, MIN_SIDE), MAX_SIDE)


def sides(spec: ModelSpec) -> tuple[Param, Param] | None:
    """The parameters for width and height; None for a model that draws at its input image's size."""
    width, height = param_of(spec, "width"), param_of(spec, "height")
    return (width, height) if width and height else None


def default_size(spec: ModelSpec) -> Size:
    """The size that a model draws at unless it is told another."""
    found = sides(spec)
    return (int(found[0].default or 0), int(found[1].default or 0)) if found else CANVAS


def nearest_size(spec: ModelSpec, size: Size) -> Size:
    """The size that a model draws at whose sides are the nearest to these."""
    found = sides(spec)
    if found is None:
        return size
    width, height = (int(nearest_value(one, side)) for one, side in zip(found, size, strict=True))
    return width, height


def nearest_shape(spec: ModelSpec, size: Size) -> Size:
    """The size that a model draws at whose shape is the nearest to this one's; of several, the smallest."""
    found = sides(spec)
    if found is None or not all(one.choices for one in found):
        return nearest_size(spec, fitted_size(*size))
    widths, heights = (map(int, one.choices) for one in found)
    every = [(width, height) for width, height in product(widths, heights)]
    return min(every, key=lambda one: (abs(log(one[0] * size[1] / (one[1] * size[0]))), one[0] * one[1]))


def finished_size(spec: ModelSpec, size: Size) -> Size:
    """The size of an image that a model makes of an input image of this size: those without sides have a megapixel."""
    return fitted_size(*size) if sides(spec) is None else size


def sizes_in_words(spec: ModelSpec) -> str:
    """What may be sent as the size of a model's images."""
    found = sides(spec)
    if found is None:
        return f"auto, or WIDTHxHEIGHT in pixels, each {MIN_SIDE} to {MAX_SIDE}"
    width, height = map(_side_in_words, found)
    each = f"each {width}" if width == height else f"{width} by {height}"
    return f"auto, or WIDTHxHEIGHT in pixels, {each}"


def as_file(parsed: Parsed, format: str, quality: int) -> Parsed:
    """With the file format and the quality, 0–100, that a dialect promises for every model; its images aren't base64.

    They are in the model's own words too where it has words for them.
    """
    quality = max(MIN_QUALITY, quality)
    said = {"format": format, "quality": quality, "base64": False}
    own = {one.name: said[one.field] for one in parsed.spec.parameters if one.field in said}
    if format not in parsed.spec.formats:
        own = {name: value for name, value in own.items() if value != format}
    params = replace(parsed.params, format=format, quality=quality, base64=False)
    return replace(parsed, params=params, values=parsed.values | own)


def number(value: Any) -> float | None:
    """A number, also as text; None for anything else."""
    if isinstance(value, str) and NUMERAL.fullmatch(value):
        return float(value)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def _side_in_words(side: Param) -> str:
    if side.choices:
        return " or ".join(map(str, side.choices))
    return f"{side.minimum or MIN_SIDE:g} to {side.maximum or MAX_SIDE:g}"


def row_of(error: TintypeError, rows: Iterable[ErrorRow]) -> ErrorRow:
    """The first row of an error's kind, with the status of its answer."""
    row = next((one for one in rows if isinstance(error, one.kinds)), ErrorRow((TintypeError,)))
    return row._replace(status=row.status or error.status)


def refusals(
    shape: object, *statuses: int, words: Mapping[int, str] = MappingProxyType({}), told: Schema | None = None
) -> dict[int | str, Schema]:
    """The `responses` of an operation for these errors and for those of any call with a key.

    words: in place of REFUSALS'. told: headers of all of them.
    """
    known = {**REFUSALS, **words}
    return {
        status: {
            "model": shape,
            "description": known[status],
            "headers": {**headers(*OF_STATUS.get(status, ())), **(told or {})},
        }
        for status in sorted({401, *statuses, 500, 503})
    }


def described(tag: str, id: str, summary: str, answer: Schema, refused: Mapping[Any, Schema], **more: Any) -> Schema:
    """Arguments of a route. answer: its response where it isn't refused; more: as the framework has them."""
    responses = {more.get("status_code", 200): answer, **refused}
    return {"tags": [tag], "operation_id": id, "summary": summary, "responses": responses, **more}


def check_json(http: HttpRequest, *, unsaid: bool = False) -> None:
    """Raises UnsupportedBody for another body than JSON. unsaid: whether it may have no content type."""
    kind = http.headers.get("content-type", "")
    if not (kind.partition(";")[0].strip().lower() == "application/json" or (unsaid and not kind)):
        raise e.UnsupportedBody(f"The body's content type is {kind[:80]!r}; allowed: application/json")
