"""From a call to a queued request, for every dialect: what it asks for is checked (`prepare`), and queued (`queue`)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import Depends, Response
from fastapi import Request as HttpRequest

from tintype.catalog.advice import refuse, warnings, wording
from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.samples import find_sample, sample_path
from tintype.catalog.spec import NUMERAL, ModelSpec
from tintype.core import OWN_FILE, STORED_INPUT, GenerationParams, Json
from tintype.errors import (
    BadPicture,
    ContentRefused,
    Forbidden,
    InvalidParameter,
    NotFound,
    PerhapsQueued,
    PictureUnreachable,
    StorageUnavailable,
    WaitRanOut,
    rate_headers,
)
from tintype.media.http import parse_url
from tintype.media.images import check
from tintype.media.inline import from_text
from tintype.media.scaling import fitted_size
from tintype.settings.groups import Safety
from tintype.store.db.records import Request, RequestMetadata
from tintype.store.queue.lifecycle import log_queued
from tintype.store.queue.submit import Input, NewRequest
from tintype.telemetry.traces import HEADER
from tintype.testmode.scenario import parse as scenario
from tintype.testmode.scenario import steady_draw
from tintype.web.account.webhooks import HEADER as WEBHOOK_URL
from tintype.web.account.webhooks import MAX_URL, own_webhook
from tintype.web.auth import Runner
from tintype.web.clients import base_url, client_address, own_path, single_header
from tintype.web.errors import CLIENT_GONE
from tintype.web.files import Files
from tintype.web.generate.dialect import Accepted, Call, Dialect
from tintype.web.generate.wait import OUT_OF_REACH, ended, still_running
from tintype.web.threads import answer_in_thread, in_thread

log = structlog.get_logger()

#: Names of ignored parameters that are echoed in a header, at most.
MAX_ECHOED = 20
#: Seconds of a Cancel-After, at most: a day is longer than any queue.
MAX_CANCEL_AFTER = 86_400.0
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")


def _option(name: str, description: str, kind: str, **schema: object) -> Json:
    schema = {"type": kind, "description": description, **schema, "title": name.title()}
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


#: The headers of a call that say how its request is run, as `/openapi.json` has them. `_call` reads them: the framework
#: would take the first of two, and as long as for all else of a call.
OPTIONS = (
    _option(
        "Idempotency-Key",
        "Makes the call safe to retry: its request is run and charged once, and the answer is the same",
        "string",
        pattern=f"^{IDEMPOTENCY_KEY.pattern}$",
    ),
    _option(
        "Cancel-After",
        "Seconds after which the request is cancelled, unless it has completed",
        "number",
        exclusiveMinimum=0,
        maximum=MAX_CANCEL_AFTER,
    ),
    _option(
        WEBHOOK_URL,
        "A public address that is sent a message when the request has ended",
        "string",
        format="uri",
        maxLength=MAX_URL,
    ),
)


async def _call(http: HttpRequest, key: Runner) -> Call:
    """Raises BadRequest, InvalidParameter for headers that aren't understood."""
    state, seconds = http.app.state, None
    base = base_url(http, state.runtime.settings)
    idempotency_key, cancel_after, webhook_url = (single_header(http, option["name"]) for option in OPTIONS)
    if idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidParameter("Idempotency-Key", idempotency_key, "1 to 255 printable ASCII characters without spaces")
    if cancel_after is not None:
        seconds = float(cancel_after) if NUMERAL.fullmatch(cancel_after) else 0.0
        if not 0 < seconds <= MAX_CANCEL_AFTER:
            words = f"seconds, more than 0 and at most {MAX_CANCEL_AFTER:g}"
            raise InvalidParameter("Cancel-After", cancel_after, words)
    client = client_address(http, state.runtime.settings)
    return Call(http, key, idempotency_key, webhook_url, seconds, base, client, state.store, state.files, state.runtime)


#: What an endpoint that makes images takes, and passes on.
CallDep = Annotated[Call, Depends(_call)]


def endpoint(dialect: Dialect, spec: ModelSpec) -> Callable[..., Awaitable[Response]]:
    """The operation of one model, whose address names it."""

    async def run(call: CallDep) -> Response:
        return await generate(call, dialect, lambda _: spec, spec.texts)

    return run


async def generate(
    call: Call, dialect: Dialect, find: Callable[[Json], ModelSpec], texts: Collection[str] = ()
) -> Response:
    """Answer a call that asks for images. find: the model that a body is for, which may raise NotFound.

    texts: parameters that may be empty in a form.
    """
    if not dialect.waits:
        return dialect.render(call, await accept(call, dialect, find, texts))
    with call.runtime.waits.counted(call.key.account_id):  # before anything is queued or held
        accepted = await ended(call, await accept(call, dialect, find, texts))
    if accepted is None:
        return Response(status_code=CLIENT_GONE)
    try:
        return await answer_in_thread(call.http, dialect.render, call, accepted)
    except StorageUnavailable as error:  # its advice would have the caller pay for another request
        raise still_running(WaitRanOut, accepted.request, OUT_OF_REACH) from error


async def accept(
    call: Call, dialect: Dialect, find: Callable[[Json], ModelSpec], texts: Collection[str] = ()
) -> Accepted:
    """Read a call's body and queue its request; raises what `Bodies.read`, `find`, `prepare` and `queue` raise."""
    http, runtime = call.http, call.runtime
    limit = runtime.settings.limits.max_body
    async with runtime.bodies.read(http, call.key.account_id, max_size=limit, texts=texts) as sent:
        spec, metadata = find(sent), RequestMetadata(base_url=call.base)
        if once := call.idempotency_key:
            mark, before = await in_thread(http, _sent_before, call, once, sent)
            if before:
                return Accepted.again(before)
            metadata = replace(metadata, idempotency_key=once, fingerprint=mark)
        if call.webhook_url is not None:
            url = await in_thread(http, own_webhook, call.webhook_url, call.store, runtime.settings, call.key)
            metadata = replace(metadata, webhook_url=url)
        with runtime.tracing.span("submit", http.headers.get(HEADER), model=spec.slug) as traceparent:
            new = partial(prepare, call, dialect, spec, sent, replace(metadata, traceparent=traceparent))
            if dialect.waits:
                return await in_thread(http, lambda: queue(call, new()))
            return await answer_in_thread(http, lambda: _told(call, queue(call, new())))


def _told(call: Call, accepted: Accepted) -> Accepted:
    """Have its answer tell the credits that are left after its hold: to a test key, they are its live account's."""
    if accepted.request.remaining is not None and not call.key.test:
        call.http.state.remaining = accepted.request.remaining
    return accepted


def _sent_before(call: Call, once: str, sent: Json) -> tuple[str, Request | None]:
    """A call's fingerprint, and the request that it was sent for already. Hashing an image takes time."""
    mark = fingerprint(call.http.url.path, sent)
    return mark, call.store.queue.repeated(call.key, once, mark)


def fingerprint(path: str, sent: Mapping[str, Any]) -> str:
    """A hash of a call's path and parameters; not of its bytes: a form's differ each time it is sent."""
    return hashlib.sha256(json.dumps([path, sent], sort_keys=True).encode()).hexdigest()


def prepare(call: Call, dialect: Dialect, spec: ModelSpec, sent: Json, metadata: RequestMetadata) -> NewRequest:
    """What a call asks for, checked by all that needs no transaction; an image of its body is stored.

    metadata: what is known of the call in addition to its parameters. Raises Forbidden, InvalidParameter,
    MissingParameter, BadPicture, ContentRefused, and for a test key what its prompt names.
    """
    key, files, runtime = call.key, call.files, call.runtime
    if not key.may_run(spec.slug):
        raise Forbidden(f"This API key may not run {spec.slug}", reason="model")
    parsed = dialect.parse(spec, sent)
    if spec.takes_image:
        # An address of this server becomes its path: it needn't be a public one.
        parsed = parsed.with_source(own_path(parsed.params.source.strip(), call.base) or "/")
    parsed = parsed.with_seed(steady_draw(parsed.values) if key.test else secrets.randbelow)
    params = parsed.params
    refuse(params)
    safety = key.safety or runtime.settings.safety.level
    cautions = _check_prompt(runtime.blocked, params.prompt, safety)
    start_after = scenario(params.prompt).check_in() if key.test else 0.0
    image = find_image(files, params.source) if spec.takes_image else None
    if key.max_pixels is not None:
        check_pixels(key.max_pixels, params, None if image is None else image.size)
    headers = _notes(params, parsed.ignored, cautions + wording(spec, params))
    stored = store(files, image) if image else None
    if stored and stored.bytes:
        parsed = parsed.with_source(STORED_INPUT + stored.name)
    tariff = runtime.tariffs[spec.slug]
    return NewRequest(
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
        cancel_after=call.cancel_after,
        start_after=start_after,
        input=stored,
        metadata=replace(metadata, reply=headers),
    )


def queue(call: Call, new: NewRequest) -> Accepted:
    """Queue a request, or find the one that had its idempotency key before: then a stored image is deleted again.

    Raises OutOfCredits, TooManyRequests, Forbidden, IdempotencyMismatch, PerhapsQueued.
    """
    needed, about = False, {"account": new.key.account_id, "key_id": new.key.id, "client": call.client}
    try:
        request = call.store.queue.submit(new)
        needed = request.id == new.id
    except PerhapsQueued:
        needed = True
        log.warning("perhaps queued", request=new.id, **about)
        raise
    finally:
        if new.input and new.input.bytes and not needed:
            call.files.inputs.discard(new.input.name)
    if not needed:
        return Accepted.again(request)
    if new.key.test:
        call.runtime.test_accepted.set()
    shown = new.generation if call.runtime.settings.telemetry.log_prompts else None
    log_queued(request, new.key, call.client, **({"prompt": shown.prompt} if shown else {}))
    # How much of its minute the key has left, where it has a limit.
    left = request.allowance
    rate = {} if left is None else rate_headers(left.remaining, left.full_at)
    return Accepted(request, {**(new.metadata.reply or {}), **rate, "x-request-id": request.id}, call.base)


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


def find_image(files: Files, image: str) -> FoundImage | None:
    """The image, in the body or on this server; None where it must be fetched.

    Raises BadPicture, and InvalidParameter for a path without an image.
    """
    if sample := find_sample(image):
        return FoundImage((sample.side, sample.side))
    if not image:
        return None
    if image.startswith(OWN_FILE):
        return _own_file(files, image.removeprefix(OWN_FILE))
    data = from_text(image, files.max_bytes)
    if data is None:
        _check_address(image)
        return None
    return FoundImage(check(data, files.max_pixels), data)


def store(files: Files, image: FoundImage) -> Input | None:
    """The stored image, which lasts until its request ends: of a body, it is stored now; None for a sample."""
    if not (image.data or image.name):
        return None
    if image.name:
        return Input(image.name, 0, image.size)
    return Input(files.inputs.put(image.data, "in"), len(image.data), image.size)


def _own_file(files: Files, name: str) -> FoundImage:
    try:
        return FoundImage(files.size(name), name=name)
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
