"""The way in, shared by v1 and v2: parameters are checked, the picture is settled, the request is submitted."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool

from tintype.catalog.advice import refuse, warnings
from tintype.catalog.order import STORED, Order, order, planned_steps, settle_seed
from tintype.catalog.samples import sample_path
from tintype.catalog.spec import ModelSpec
from tintype.errors import BadPicture, Forbidden, InvalidParameter, NotFound, TintypeError
from tintype.media.images import check
from tintype.media.inline import from_text
from tintype.store.keys import Key
from tintype.store.requests import Request
from tintype.web.body import read_parameters
from tintype.web.services import Services
from tintype.web.services import services as services_of
from tintype.web.urls import base_url

#: Names of ignored parameters are echoed in a header, within reason.
MOST_ECHOED = 20


@dataclass(frozen=True)
class Submitted:
    """A request that is now in the queue, and what its caller should know about it."""

    request: Request
    headers: dict[str, str]
    #: The server's address, as this caller can reach it.
    base: str


async def accept(http: HttpRequest, spec: ModelSpec, key: Key) -> Submitted:
    """Read a call's body and queue what it asks for; raises what reading and `submit` raise."""
    own = services_of(http)
    base = base_url(http, own.settings)
    sent = await read_parameters(http, own.settings.max_body)
    return await run_in_threadpool(submit, own, spec, key, sent, base)


def submit(services: Services, spec: ModelSpec, key: Key, sent: dict[str, Any], base: str) -> Submitted:
    """Queue a request and hold its price.

    Raises Forbidden, InvalidParameter, MissingParameter, BadPicture, OutOfCredits: then nothing has changed.
    """
    if not key.may_run(spec.slug):
        raise Forbidden(f"This API key may not run {spec.slug}")
    params, ignored = spec.validate(sent)
    if spec.takes_picture:
        # An address of this server is meant as the path: it need not be a public one.
        params["image"] = params["image"].removeprefix(base) or "/"
    params = settle_seed(params, secrets.randbelow)
    wanted = order(spec, params)
    refuse(wanted)
    headers = _notes(wanted, ignored)
    stored = _store_picture(services, params)
    price, steps = spec.price * wanted.count, planned_steps(spec, wanted)
    try:
        request = services.requests.submit(key, spec.slug, params, price=price, steps=steps)
    except TintypeError:
        if stored:
            services.inputs.remove(stored)
        raise
    return Submitted(request, headers | {"x-request-id": request.id}, base)


def _notes(wanted: Order, ignored: list[str]) -> dict[str, str]:
    """What was understood differently from how it was meant, and what may disappoint."""
    notes = {}
    if ignored:
        notes["x-ignored-parameters"] = ", ".join(quote(name[:64], errors="replace") for name in ignored[:MOST_ECHOED])
    words = warnings(wanted)
    if wanted.image != (sample := sample_path(wanted.image)) and sample:
        words.append(f"image: this server's own sample {sample} stands in for the vendor's")
    return notes | ({"x-warning": "; ".join(words)} if words else {})


def _store_picture(services: Services, params: dict[str, Any]) -> str | None:
    """Move a picture that lies in the body, or on this server, into the inputs; returns its name there."""
    image = params.get("image", "")
    if not image or sample_path(image):
        return None
    data = _own_file(services, image) or from_text(image, services.settings.max_picture_bytes)
    if data is None:
        _check_address(image)
        return None
    check(data, services.settings.max_picture_pixels)
    stored = services.inputs.put(data, "in")
    params["image"] = STORED + stored
    return stored


def _own_file(services: Services, image: str) -> bytes | None:
    if not image.startswith("/files/"):
        return None
    try:
        return services.outputs.get(image.removeprefix("/files/"))
    except NotFound:
        raise BadPicture("image: this server keeps no such file (any more)") from None


def _check_address(image: str) -> None:
    """What only a worker can find out is left to it; what is wrong on its face is said now."""
    try:
        parts = urlsplit(image)
    except ValueError:
        raise BadPicture("image: the address can't be read") from None
    if image.startswith("/") or parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidParameter("image", image, "an http(s) URL, a data: URI, base64, or the path of a sample")
