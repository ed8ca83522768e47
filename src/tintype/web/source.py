"""The input picture of a call: found where it is, measured against the key's pixels, kept until a worker takes it."""

from __future__ import annotations

from typing import Any

from tintype.catalog.order import STORED, Order
from tintype.catalog.samples import find_sample, sample_path
from tintype.errors import BadPicture, Forbidden, InvalidParameter, NotFound, PictureUnreachable
from tintype.media.fetch import parse_url
from tintype.media.images import check
from tintype.media.inline import from_text
from tintype.media.scaling import fitted_size
from tintype.store.keys import Key
from tintype.web.services import Services


def check_pixels(key: Key, wanted: Order, picture: tuple[int, int] | None) -> None:
    """Hold a request to its key's pixels, as far as its size is known yet; a worker looks at what must be fetched."""
    if key.max_pixels is None or not (wanted.width or picture):
        return
    pixels = wanted.pixels(*(fitted_size(*picture) if picture and not wanted.width else (wanted.width, wanted.height)))
    if pixels > key.max_pixels:
        raise Forbidden(f"This API key may ask for {key.max_pixels} pixels at once; these are {pixels}")


def size_of(services: Services, image: str, data: bytes | None) -> tuple[int, int] | None:
    """Width and height in pixels of the input picture, if it needn't be fetched; raises BadPicture."""
    if data is not None:
        return check(data, services.settings.max_picture_pixels)
    sample = find_sample(image)
    return None if sample is None else (sample.side, sample.side)


def sent_picture(services: Services, params: dict[str, Any]) -> bytes | None:
    """A picture that lies in the body, or on this server; None where it is elsewhere, or none is taken."""
    image = params.get("image", "")
    if not image or sample_path(image):
        return None
    data = _own_file(services, image) or from_text(image, services.settings.max_picture_bytes)
    if data is None:
        _check_address(image)
    return data


def store(services: Services, params: dict[str, Any], data: bytes) -> str:
    """Move a picture into the inputs; returns its name there."""
    stored = services.inputs.put(data, "in")
    params["image"] = STORED + stored
    return stored


def _own_file(services: Services, image: str) -> bytes | None:
    if not image.startswith("/files/"):
        return None
    try:
        return services.file(image.removeprefix("/files/"))
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
