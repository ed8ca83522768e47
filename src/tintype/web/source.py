"""The input picture of a call: found where it is, measured against the key's pixels, kept until a worker takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tintype.catalog.order import OWN_FILES, STORED, GenerationParams
from tintype.catalog.samples import find_sample
from tintype.errors import BadPicture, Forbidden, InvalidParameter, NotFound, PictureUnreachable
from tintype.media.http import parse_url
from tintype.media.images import check
from tintype.media.inline import from_text
from tintype.media.scaling import fitted_size
from tintype.store.accounts.keys import Key
from tintype.store.queue.inputs import Input
from tintype.web.services import Services


def check_pixels(key: Key, wanted: GenerationParams, picture: tuple[int, int] | None) -> None:
    """Hold a request to its key's pixels, as far as its size is known yet; a worker looks at what must be fetched."""
    if key.max_pixels is None or not (wanted.width or picture):
        return
    pixels = wanted.pixels(*(fitted_size(*picture) if picture and not wanted.width else (wanted.width, wanted.height)))
    if pixels > key.max_pixels:
        words = f"This API key may ask for {key.max_pixels} pixels at once; these are {pixels}"
        raise Forbidden(words, reason="limit")


@dataclass(frozen=True)
class Picture:
    """An input picture that needn't be fetched: from the body (`data`), kept here already (`name`), or a sample."""

    size: tuple[int, int]
    data: bytes = b""
    name: str = ""


def find_picture(services: Services, image: str) -> Picture | None:
    """The picture where it lies in the body or on this server; None where it must be fetched, or none is taken.

    Raises BadPicture, and InvalidParameter for what names none.
    """
    if sample := find_sample(image):
        return Picture((sample.side, sample.side))
    if not image:
        return None
    if image.startswith(OWN_FILES):
        return _own_file(services, image.removeprefix(OWN_FILES))
    data = from_text(image, services.settings.max_picture_bytes)
    if data is None:
        _check_address(image)
        return None
    return Picture(check(data, services.settings.max_picture_pixels), data)


def keep(services: Services, params: dict[str, Any], picture: Picture | None) -> Input | None:
    """Have the picture until its request ends: one from the body in a file of its own; None where there is none."""
    if picture is None or not (picture.data or picture.name):
        return None
    if picture.name:
        return Input(picture.name, 0, picture.size)
    name = services.inputs.put(picture.data, "in")
    params["image"] = STORED + name
    return Input(name, len(picture.data), picture.size)


def _own_file(services: Services, name: str) -> Picture:
    try:
        return Picture(services.file_size(name), name=name)
    except NotFound:
        raise BadPicture("image: this server keeps no such file (any more)") from None


def _check_address(image: str) -> None:
    """What only a worker can find out is left to it; what is wrong on its face is said now."""
    if image.startswith("/"):
        raise InvalidParameter("image", image, "an http(s) URL, a data: URI, base64, or the path of a sample")
    try:
        parse_url(image)
    except PictureUnreachable as error:
        raise PictureUnreachable(f"image: {error.message}") from None
