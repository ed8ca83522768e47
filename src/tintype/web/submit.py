"""The way in, shared by v1 and v2: parameters are checked, the picture is settled, the request is submitted."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request as HttpRequest

from tintype.catalog.advice import refuse, warnings, wording
from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.samples import find_sample, sample_path
from tintype.catalog.spec import ModelSpec
from tintype.core import OWN_FILE, STORED_INPUT, GenerationParams
from tintype.errors import (
    BadPicture,
    ContentRefused,
    Forbidden,
    InvalidParameter,
    NotFound,
    PerhapsQueued,
    PictureUnreachable,
    rate_headers,
)
from tintype.media.http import parse_url
from tintype.media.images import check
from tintype.media.inline import from_text
from tintype.media.scaling import fitted_size
from tintype.settings import Safety
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Request, RequestMetadata
from tintype.store.queue.inputs import Input
from tintype.store.queue.lifecycle import log_queued
from tintype.store.queue.submit import NewRequest
from tintype.telemetry.traces import HEADER
from tintype.testmode.scenario import parse, steady_draw
from tintype.web.peers import client_address
from tintype.web.services import Services
from tintype.web.services import services as services_of
from tintype.web.terms import RequestOptions, fingerprint
from tintype.web.threads import in_thread
from tintype.web.urls import base_url, own_path
from tintype.web.webhooks import HEADER as ASKS
from tintype.web.webhooks import asked_webhook

log = structlog.get_logger()

#: Names of ignored parameters are echoed in a header, within reason.
MOST_ECHOED = 20


@dataclass(frozen=True)
class Submitted:
    """A request that is now in the queue, and what its caller should know about it."""

    request: Request
    headers: dict[str, str]
    #: The server's address, as this caller can reach it.
    base: str

    @classmethod
    def again(cls, request: Request) -> Submitted:
        """What was said of a request when it was first sent with its idempotency key, to the letter."""
        replayed = {"x-request-id": request.id, "idempotent-replayed": "true"}
        return cls(request, {**(request.metadata.reply or {}), **replayed}, request.metadata.base_url or "")

    @property
    def replayed(self) -> bool:
        """Whether it was sent before."""
        return "idempotent-replayed" in self.headers


async def accept(http: HttpRequest, spec: ModelSpec, key: Key) -> Submitted:
    """Read a call's body and queue what it asks for; raises what reading and `submit` raise."""
    own = services_of(http)
    base = base_url(http, own.settings)
    terms = RequestOptions.of(http)
    async with own.bodies.read(http, key.account_id, most=own.settings.max_body, texts=spec.texts) as sent:
        return await _queue(http, spec, key, sent, base, terms)


async def _queue(
    http: HttpRequest, spec: ModelSpec, key: Key, sent: dict[str, Any], base: str, terms: RequestOptions
) -> Submitted:
    own, client = services_of(http), client_address(http, services_of(http).settings)
    metadata = RequestMetadata(base_url=base)
    if once := terms.idempotency_key:
        mark, before = await in_thread(http, _sent_before, own, key, once, http.url.path, sent)
        if before:
            return Submitted.again(before)
        metadata = replace(metadata, idempotency_key=once, fingerprint=mark)
    if ASKS in http.headers:
        metadata = replace(metadata, webhook_url=await in_thread(http, asked_webhook, http, own, key))
    with own.tracing.span("submit", http.headers.get(HEADER), model=spec.slug) as traceparent:
        metadata = replace(metadata, traceparent=traceparent)
        return await in_thread(http, submit, own, spec, key, sent, base, metadata, client, terms.cancel_after)


def _sent_before(own: Services, key: Key, once: str, path: str, sent: dict[str, Any]) -> tuple[str, Request | None]:
    """A call's fingerprint, and the request that it was sent for already; a picture takes its time to be hashed."""
    mark = fingerprint(path, sent)
    return mark, own.store.queue.repeated(key, once, mark)


def submit(
    services: Services,
    spec: ModelSpec,
    key: Key,
    sent: dict[str, Any],
    base: str,
    metadata: RequestMetadata,
    client: str,
    cancel_after: float | None = None,
) -> Submitted:
    """Queue a request and hold its price; `metadata` is what is known of the call in addition to its body.

    client: the address that it came from.

    Raises Forbidden, InvalidParameter, MissingParameter, BadPicture, ContentRefused, OutOfCredits, and for a test key
    what its prompt asks for: then nothing has changed.
    """
    if not key.may_run(spec.slug):
        raise Forbidden(f"This API key may not run {spec.slug}", reason="model")
    parsed = spec.parse(sent)
    if spec.takes_picture:
        # An address of this server is meant as the path: it need not be a public one.
        parsed = parsed.with_source(own_path(parsed.params.source.strip(), base) or "/")
    parsed = parsed.with_seed(steady_draw(parsed.values) if key.test else secrets.randbelow)
    wanted = parsed.params
    refuse(wanted)
    safety = services.safety(key)
    doubts = _read_over(services.blocked, wanted.prompt, safety)
    queued = parse(wanted.prompt).check_in() if key.test else 0.0
    picture = find_picture(services, wanted.source)
    check_pixels(key, wanted, None if picture is None else picture.size)
    headers = _notes(wanted, parsed.ignored, doubts + wording(spec, wanted))
    kept = keep(services, picture)
    if kept and kept.bytes:
        parsed = parsed.with_source(STORED_INPUT + kept.name)
    tariff = services.price(spec)
    new = NewRequest(
        key,
        spec.slug,
        parsed.values,
        tariff.most(wanted.count),
        generation=parsed.params,
        rate=tariff.rate,
        images=wanted.count,
        steps=planned_steps(spec, wanted),
        speed_key=None if key.test else speed_key(spec, wanted),  # nothing is learnt from a test
        safety=safety,
        cancel_after=cancel_after,
        start_after=queued,
        input=kept,
        metadata=replace(metadata, reply=headers),
    )
    request = None
    try:
        request = services.store.queue.submit(new)
    except PerhapsQueued:
        kept = None  # it may need its picture
        log.warning("perhaps queued", request=new.id, account=key.account_id, key_id=key.id, client=client)
        raise
    finally:
        fresh = request is not None and request.id == new.id
        if kept and kept.bytes and not fresh:
            services.inputs.discard(kept.name)
    if not fresh:
        return Submitted.again(request)
    if key.test:
        services.test_accepted.set()
    private = {"prompt": wanted.prompt} if services.settings.log_prompts else {}
    log_queued(request, key, client, **private)
    return Submitted(request, headers | _rate(request) | {"x-request-id": request.id}, base)


def _read_over(blocked: BlockedPhrases, prompt: str, safety: Safety) -> list[str]:
    """What the caller should know of a prompt, by the operator's list; raises ContentRefused where that blocks.

    A negative prompt says what is not to be drawn: what the list names may well stand there.
    """
    if safety == "off" or (found := blocked.found(prompt)) is None:
        return []
    if safety == "block":
        raise ContentRefused(f'prompt: "{found}" is on this server\'s list of blocked phrases')
    return ["prompt: a phrase of it is on this server's list of blocked phrases"]


def _notes(wanted: GenerationParams, ignored: Sequence[str], doubts: list[str]) -> dict[str, str]:
    """What was understood differently from how it was meant, and what may disappoint."""
    notes = {}
    if ignored:
        notes["x-ignored-parameters"] = ", ".join(quote(name[:64], errors="replace") for name in ignored[:MOST_ECHOED])
    words = doubts + warnings(wanted)
    if wanted.source != (sample := sample_path(wanted.source)) and sample:
        words.append(f"image: this server's own sample {sample} stands in for the vendor's")
    return notes | ({"x-warning": "; ".join(words)} if words else {})


def _rate(request: Request) -> dict[str, str]:
    """How much of its minute the key has left, where it has a limit: what its refusals say too."""
    left = request.allowance
    return {} if left is None else rate_headers(left.remaining, left.full_at)


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
    if image.startswith(OWN_FILE):
        return _own_file(services, image.removeprefix(OWN_FILE))
    data = from_text(image, services.settings.max_picture_bytes)
    if data is None:
        _check_address(image)
        return None
    return Picture(check(data, services.settings.max_picture_pixels), data)


def keep(services: Services, picture: Picture | None) -> Input | None:
    """Have the picture until its request ends: one from the body in a file of its own; None where there is none."""
    if picture is None or not (picture.data or picture.name):
        return None
    if picture.name:
        return Input(picture.name, 0, picture.size)
    return Input(services.inputs.put(picture.data, "in"), len(picture.data), picture.size)


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
