"""Submitting a call's request, for v1 and v2: checks its parameters, finds its input image, queues it."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

import structlog
from fastapi import Request as HttpRequest

from tintype.catalog.advice import refuse, warnings, wording
from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.samples import find_sample, sample_path
from tintype.catalog.spec import NUMERAL, ModelSpec
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
from tintype.store.queue.lifecycle import log_queued
from tintype.store.queue.submit import Input, NewRequest
from tintype.telemetry.traces import HEADER
from tintype.testmode.scenario import parse, steady_draw
from tintype.web.account.webhooks import HEADER as WEBHOOK_URL
from tintype.web.account.webhooks import webhook_of_call
from tintype.web.clients import base_url, client_address, own_path, single_header
from tintype.web.services import Services
from tintype.web.services import services as services_of
from tintype.web.threads import in_thread

log = structlog.get_logger()

#: Names of ignored parameters that are echoed in a header, at most.
MAX_ECHOED = 20
#: Seconds of a Cancel-After, at most: a day is longer than any queue.
MAX_CANCEL_AFTER = 86_400.0
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


@dataclass(frozen=True)
class RequestOptions:
    """The headers of a call that say how its request is run."""

    idempotency_key: str | None = None
    #: Seconds after which the request is cancelled, unless it has ended.
    cancel_after: float | None = None

    @classmethod
    def of(cls, http: HttpRequest) -> RequestOptions:
        """As they were sent; raises BadRequest, InvalidParameter."""
        key = single_header(http, "Idempotency-Key")
        if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
            raise InvalidParameter("Idempotency-Key", key, "1 to 255 printable ASCII characters without spaces")
        text, seconds = single_header(http, "Cancel-After"), None
        if text is not None:
            seconds = float(text) if NUMERAL.fullmatch(text) else 0.0
            if not 0 < seconds <= MAX_CANCEL_AFTER:
                raise InvalidParameter("Cancel-After", text, f"seconds, more than 0 and at most {MAX_CANCEL_AFTER:g}")
        return cls(key, seconds)


@dataclass(frozen=True)
class Submitted:
    """A queued request, and the headers of its answer."""

    request: Request
    headers: dict[str, str]
    #: The server's address, as this caller reaches it.
    base: str

    @classmethod
    def again(cls, request: Request) -> Submitted:
        """The answer that a request had when it was first sent with its idempotency key."""
        replayed = {"x-request-id": request.id, "idempotent-replayed": "true"}
        return cls(request, {**(request.metadata.reply or {}), **replayed}, request.metadata.base_url or "")

    @property
    def replayed(self) -> bool:
        """Whether it had been sent before."""
        return "idempotent-replayed" in self.headers


async def accept(http: HttpRequest, spec: ModelSpec, key: Key) -> Submitted:
    """Read a call's body and queue its request; raises what `Bodies.read` and `submit` raise."""
    own = services_of(http)
    base = base_url(http, own.settings)
    options = RequestOptions.of(http)
    async with own.bodies.read(http, key.account_id, max_size=own.settings.limits.max_body, texts=spec.texts) as sent:
        client = client_address(http, own.settings)
        metadata = RequestMetadata(base_url=base)
        if once := options.idempotency_key:
            mark, before = await in_thread(http, _sent_before, own, key, once, http.url.path, sent)
            if before:
                return Submitted.again(before)
            metadata = replace(metadata, idempotency_key=once, fingerprint=mark)
        if WEBHOOK_URL in http.headers:
            url = await in_thread(http, webhook_of_call, http, own.store, own.settings, key)
            metadata = replace(metadata, webhook_url=url)
        with own.runtime.tracing.span("submit", http.headers.get(HEADER), model=spec.slug) as traceparent:
            metadata = replace(metadata, traceparent=traceparent)
            return await in_thread(http, submit, own, spec, key, sent, base, metadata, client, options.cancel_after)


def _sent_before(own: Services, key: Key, once: str, path: str, sent: dict[str, Any]) -> tuple[str, Request | None]:
    """A call's fingerprint, and the request that it was sent for already. Hashing an image takes time."""
    mark = fingerprint(path, sent)
    return mark, own.store.queue.repeated(key, once, mark)


def fingerprint(path: str, sent: Mapping[str, Any]) -> str:
    """A hash of a call's path and parameters; not of its bytes: a form's differ each time it is sent."""
    return hashlib.sha256(json.dumps([path, sent], sort_keys=True).encode()).hexdigest()


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
    """Queue a request and hold its price. metadata: what is known of the call in addition to its parameters.

    client: the address that it came from.

    Raises Forbidden, InvalidParameter, MissingParameter, BadPicture, ContentRefused, OutOfCredits, and for a test key
    what its prompt names: then nothing has changed.
    """
    if not key.may_run(spec.slug):
        raise Forbidden(f"This API key may not run {spec.slug}", reason="model")
    parsed = spec.parse(sent)
    if spec.takes_image:
        # An address of this server becomes its path: it needn't be a public one.
        parsed = parsed.with_source(own_path(parsed.params.source.strip(), base) or "/")
    parsed = parsed.with_seed(steady_draw(parsed.values) if key.test else secrets.randbelow)
    params = parsed.params
    refuse(params)
    safety = key.safety or services.settings.safety.level
    cautions = _check_prompt(services.runtime.blocked, params.prompt, safety)
    start_after = parse(params.prompt).check_in() if key.test else 0.0
    image = find_image(services, params.source) if spec.takes_image else None
    if key.max_pixels is not None:
        check_pixels(key.max_pixels, params, None if image is None else image.size)
    headers = _notes(params, parsed.ignored, cautions + wording(spec, params))
    stored = store(services, image) if image else None
    if stored and stored.bytes:
        parsed = parsed.with_source(STORED_INPUT + stored.name)
    tariff = services.runtime.price(spec)
    new = NewRequest(
        key,
        spec.slug,
        parsed.values,
        tariff.max_price(params.count),
        generation=parsed.params,
        rate=tariff.rate,
        images=params.count,
        steps=planned_steps(spec, params),
        speed_key=None if key.test else speed_key(spec, params),  # a test's speed says nothing about the model
        safety=safety,
        cancel_after=cancel_after,
        start_after=start_after,
        input=stored,
        metadata=replace(metadata, reply=headers),
    )
    request = _enqueue(services, new, client)
    if request.id != new.id:
        return Submitted.again(request)
    if key.test:
        services.runtime.test_accepted.set()
    private = {"prompt": params.prompt} if services.settings.telemetry.log_prompts else {}
    log_queued(request, key, client, **private)
    # How much of its minute the key has left, where it has a limit.
    left = request.allowance
    rate = {} if left is None else rate_headers(left.remaining, left.full_at)
    return Submitted(request, headers | rate | {"x-request-id": request.id}, base)


def _enqueue(services: Services, new: NewRequest, client: str) -> Request:
    """The new request, or the one that had its idempotency key before: then a stored image of the body is deleted."""
    needed = False
    try:
        request = services.store.queue.submit(new)
        needed = request.id == new.id
    except PerhapsQueued:
        needed = True
        log.warning("perhaps queued", request=new.id, account=new.key.account_id, key_id=new.key.id, client=client)
        raise
    finally:
        if new.input and new.input.bytes and not needed:
            services.inputs.discard(new.input.name)
    return request


def _check_prompt(blocked: BlockedPhrases, prompt: str, safety: Safety) -> list[str]:
    """Warnings about a prompt, by the operator's list of phrases; raises ContentRefused where the list blocks.

    A negative prompt isn't checked: it may well name what the list blocks.
    """
    if safety == "off" or (found := blocked.found(prompt)) is None:
        return []
    if safety == "block":
        raise ContentRefused(f'prompt: "{found}" is on this server\'s list of blocked phrases')
    return ["prompt: a phrase of it is on this server's list of blocked phrases"]


def _notes(params: GenerationParams, ignored: Sequence[str], cautions: list[str]) -> dict[str, str]:
    """Headers for what was ignored or replaced, and for warnings."""
    notes = {}
    if ignored:
        notes["x-ignored-parameters"] = ", ".join(quote(name[:64], errors="replace") for name in ignored[:MAX_ECHOED])
    words = cautions + warnings(params)
    if params.init and params.init.source != (sample := sample_path(params.init.source)) and sample:
        words.append(f"image: this server's own sample {sample} stands in for the vendor's")
    return notes | ({"x-warning": "; ".join(words)} if words else {})


def check_pixels(allowed: int, params: GenerationParams, image: tuple[int, int] | None) -> None:
    """Raises Forbidden for more pixels than the key may ask for, if the size is known; a worker checks fetched images.

    image: the input image's size.
    """
    if not (params.width or image):
        return
    pixels = params.pixels(*(fitted_size(*image) if image and not params.width else (params.width, params.height)))
    if pixels > allowed:
        words = f"Too many pixels: this API key may ask for {allowed} pixels per request; this one is for {pixels}"
        raise Forbidden(words, reason="limit")


@dataclass(frozen=True)
class FoundImage:
    """An input image that needn't be fetched: of the body (`data`), stored here already (`name`), or a sample."""

    size: tuple[int, int]
    data: bytes = b""
    name: str = ""


def find_image(services: Services, image: str) -> FoundImage | None:
    """The image, in the body or on this server; None where it must be fetched.

    Raises BadPicture, and InvalidParameter for a path without an image.
    """
    if sample := find_sample(image):
        return FoundImage((sample.side, sample.side))
    if not image:
        return None
    if image.startswith(OWN_FILE):
        return _own_file(services, image.removeprefix(OWN_FILE))
    data = from_text(image, services.settings.inputs.max_bytes)
    if data is None:
        _check_address(image)
        return None
    return FoundImage(check(data, services.settings.inputs.max_pixels), data)


def store(services: Services, image: FoundImage) -> Input | None:
    """The stored image, which lasts until its request ends: of a body, it is stored now; None for a sample."""
    if not (image.data or image.name):
        return None
    if image.name:
        return Input(image.name, 0, image.size)
    return Input(services.inputs.put(image.data, "in"), len(image.data), image.size)


def _own_file(services: Services, name: str) -> FoundImage:
    try:
        return FoundImage(services.files.size(name), name=name)
    except NotFound:
        raise BadPicture("image: this server keeps no such file (any more)") from None


def _check_address(image: str) -> None:
    """Raises InvalidParameter, PictureUnreachable for what can't be an address; a worker finds out the rest."""
    if image.startswith("/"):
        raise InvalidParameter("image", image, "an http(s) URL, a data: URI, base64, or the path of a sample")
    try:
        parse_url(image)
    except PictureUnreachable as error:
        raise PictureUnreachable(f"image: {error.message}") from None
