"""From a call to a queued request, for every dialect: what it asks for is checked (`prepare`), and queued (`queue`)."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from math import isfinite
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import Depends, Response
from fastapi import Request as HttpRequest
from PIL import Image

from tintype.catalog.advice import refuse, warnings, wording
from tintype.catalog.blocked import BlockedPhrases
from tintype.catalog.limits import LIMITS
from tintype.catalog.parameters import planned_steps, speed_key
from tintype.catalog.samples import find_sample, sample_path
from tintype.catalog.spec import MAX_TEXT, NUMERAL, ModelSpec, Parsed
from tintype.core import IMAGE_ROLES, OWN_FILE, STORED_INPUT, GenerationParams, InputImage, Json, Role, Size
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
    encodable,
    rate_headers,
)
from tintype.media.http import parse_url
from tintype.media.images import TOO_MANY, check, encode, naming
from tintype.media.inline import from_text
from tintype.media.scaling import fitted_size
from tintype.settings.groups import Safety
from tintype.store.db.records import VENDOR, Request, RequestMetadata
from tintype.store.queue.lifecycle import log_queued
from tintype.store.queue.queue import Queue
from tintype.store.queue.submit import Input, NewRequest
from tintype.telemetry.traces import HEADER
from tintype.testmode.scenario import parse as scenario
from tintype.testmode.scenario import steady_draw
from tintype.web.account.webhooks import HEADER as WEBHOOK_URL
from tintype.web.account.webhooks import MAX_URL, own_webhook
from tintype.web.auth import runner
from tintype.web.body import SHORT, declared_length
from tintype.web.clients import base_url, client_address, own_path, single_header
from tintype.web.errors import CLIENT_GONE
from tintype.web.files import Files
from tintype.web.generate.dialect import Accepted, Call, Dialect, Submission, Submitted
from tintype.web.generate.wait import OUT_OF_REACH, ended, still_running
from tintype.web.threads import answer_in_thread, asks, in_thread

log = structlog.get_logger()

#: Names of ignored parameters that are echoed in a header, at most.
MAX_ECHOED = 20
#: Seconds of a Cancel-After, at most: a day is longer than any queue.
MAX_CANCEL_AFTER = 86_400.0
#: Seconds that a test request waits whose call is interrupted, so that it hasn't ended when the call cancels it.
INTERRUPTED = 5.0
IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")
#: Characters of a body in a row at most.
MAX_ASKED = 65_536
#: Members whose texts are images, files or addresses of webhooks, whatever a dialect's name for them is.
PRIVATE = re.compile(r"image|picture|mask|markup|webhook|file", re.IGNORECASE)
#: The colour of what a model starts from that takes an image and was asked for one from text: with strength 1, weights
#: that keep a little of it, as SD 1.5's do, are drawn least to another colour by this one.
CANVAS = (127, 127, 127)


def option(name: str, description: str, kind: str, **schema: object) -> Json:
    """A header of a call, as `/openapi.json` has it."""
    schema = {"type": kind, "description": description, **schema, "title": name.title()}
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


#: The headers of a call that say how its request is run, as `/openapi.json` has them. `call_of` reads them: of two, the
#: framework would take the first.
OPTIONS = (
    option(
        "Idempotency-Key",
        "Makes the call safe to retry: its request is run and charged once, and the answer is the same",
        "string",
        pattern=f"^{IDEMPOTENCY_KEY.pattern}$",
    ),
    option(
        "Cancel-After",
        "Seconds after which the request is cancelled, unless it has completed",
        "number",
        exclusiveMinimum=0,
        maximum=MAX_CANCEL_AFTER,
    ),
    option(
        WEBHOOK_URL,
        "A public address that is sent a message when the request has ended",
        "string",
        format="uri",
        maxLength=MAX_URL,
    ),
)


def takes(content: Json, *more: Json) -> dict[str, Any]:
    """What `/openapi.json` says an operation that makes images takes. content: its body; more: further headers."""
    return {"parameters": [*OPTIONS, *more], "requestBody": {"required": True, "content": content}}


def seconds_of(cancel_after: str) -> float:
    """The seconds of a Cancel-After; 0 for what is no number."""
    return float(cancel_after) if NUMERAL.fullmatch(cancel_after) else 0.0


@asks
async def call_of(http: HttpRequest) -> Call:
    """Raises Unauthorized, Forbidden, and BadRequest, InvalidParameter for headers that aren't understood."""
    return await read_call(http)


async def read_call(http: HttpRequest, read_seconds: Callable[[str], float] = seconds_of) -> Call:
    """The same. read_seconds: of a Cancel-After, as an API may write it otherwise; 0 for what is none."""
    key = await runner(http)
    state, seconds = http.app.state, None
    base = base_url(http, state.runtime.settings)
    idempotency_key, cancel_after, webhook_url = (single_header(http, option["name"]) for option in OPTIONS)
    if idempotency_key is not None and not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise InvalidParameter("Idempotency-Key", idempotency_key, "1 to 255 printable ASCII characters without spaces")
    if cancel_after is not None:
        seconds = read_seconds(cancel_after)
        if not 0 < seconds <= MAX_CANCEL_AFTER:
            words = f"seconds, more than 0 and at most {MAX_CANCEL_AFTER:g}"
            raise InvalidParameter("Cancel-After", cancel_after, words)
    client = client_address(http, state.runtime.settings)
    serves = (state.store, state.files, state.runtime, state.submissions)
    return Call(http, key, idempotency_key, webhook_url, seconds, base, client, *serves)


#: What an endpoint that makes images takes, and passes on.
CallDep = Annotated[Call, Depends(call_of)]


def endpoint(dialect: Dialect, spec: ModelSpec) -> Callable[..., Awaitable[Response]]:
    """The operation of one model, whose address names it."""

    @asks
    async def run(http: HttpRequest) -> Response:
        return await generate(await call_of(http), dialect, lambda _: spec, spec.texts)

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
        return await answered(call, dialect, await accept(call, dialect, find, texts))


async def answered(call: Call, dialect: Dialect, accepted: Accepted) -> Response:
    """Answer a call once its request has ended, as `generate` does; raises what `ended` and the dialect raise."""
    over = await ended(call, accepted, cancels=dialect.cancels)
    if over is None:
        return Response(status_code=CLIENT_GONE)
    try:
        return await answer_in_thread(call.http, dialect.render, call, over)
    except StorageUnavailable as error:  # its advice would have the caller pay for another request
        raise still_running(WaitRanOut, over.request, OUT_OF_REACH) from error


async def accept(
    call: Call, dialect: Dialect, find: Callable[[Json], ModelSpec], texts: Collection[str] = ()
) -> Accepted:
    """Read a call's body and queue its request; raises what `Bodies.read`, `find`, `prepare` and `queue` raise."""
    http, runtime = call.http, call.runtime
    limit = runtime.settings.limits.max_body
    async with runtime.bodies.read(http, call.key.account_id, max_size=limit, texts=texts) as sent:
        spec = find(sent)
        metadata = RequestMetadata(base_url=call.base, dialect=dialect.name, asked=_asked(dialect, spec, sent))
        if once := call.idempotency_key:
            mark, before = await in_thread(http, _sent_before, call, once, sent)
            if before:
                return Accepted.again(before)
            metadata = replace(metadata, idempotency_key=once, fingerprint=mark)
        if call.webhook_url is not None:
            url = await in_thread(http, own_webhook, call.webhook_url, call.store, runtime.settings, call.key)
            metadata = replace(metadata, webhook_url=url)
        with runtime.tracing.span("submit", http.headers.get(HEADER), model=spec.slug) as traceparent:
            if traceparent is not None:
                metadata = replace(metadata, traceparent=traceparent)
            return await _queued(call, dialect, spec, partial(prepare, call, dialect, spec, sent, metadata))


async def _queued(call: Call, dialect: Dialect, spec: ModelSpec, new: Callable[[], NewRequest]) -> Accepted:
    """Check what a call asks for, and queue it."""
    http = call.http
    try:
        # What needs no storage, and is checked in no time, shares a thread with all others of its kind.
        if not spec.takes_image and not call.key.test and 0 < declared_length(http.headers) <= SHORT:
            done = await call.submissions.run(http, Submission(call, new))
            accepted = done if isinstance(done, Accepted) else await in_thread(http, done)
            return accepted if dialect.waits else _told(call, accepted)
        if dialect.waits:
            return await in_thread(http, lambda: queue(call, new()))
        return await answer_in_thread(http, lambda: _told(call, queue(call, new())))
    except PerhapsQueued as error:
        if dialect.cancels and call.idempotency_key is None:
            call.runtime.abandoned[error.headers["x-request-id"]] = call.key.account_id
        raise


def _told(call: Call, accepted: Accepted) -> Accepted:
    """Have its answer tell the credits that are left after its hold: to a test key, they are its live account's."""
    if accepted.request.remaining is not None and not call.key.test:
        call.http.state.remaining = accepted.request.remaining
    return accepted


def _sent_before(call: Call, once: str, sent: Json) -> tuple[str, Request | None]:
    """A call's fingerprint, and the request that it was sent for already. Hashing an image takes time."""
    mark = fingerprint(call.http.url.path, sent, call.query)
    return mark, call.store.queue.repeated(call.key, once, mark)


def fingerprint(path: str, sent: Mapping[str, Any], query: str = "") -> str:
    """A hash of a call's address and parameters; not of its bytes: a form's differ each time it is sent."""
    said = [path, sent, query] if query else [path, sent]  # as earlier versions hashed what has none
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _asked(dialect: Dialect, spec: ModelSpec, sent: Json) -> Json | None:
    """A body in another API's words, for the request's row; None where it is too long: `params` are read then.

    The vendor's are `params` themselves.
    """
    if dialect.name == VENDOR:
        return None
    said: Json = _without_images(sent, spec.names.difference(spec.images.values()))
    return said if len(json.dumps(said)) <= MAX_ASKED else None


def _without_images(sent: Any, shown: Collection[str], hides: bool = False) -> Any:
    """The same, null for each image, file, webhook address, whatever is too long for a text, and what JSON hasn't.

    shown: names that aren't of images, whatever they sound like. hides: whether it is a part of what is one.
    """
    if isinstance(sent, Mapping):
        return {
            encodable(name): _without_images(one, shown, hides or (name not in shown and bool(PRIVATE.search(name))))
            for name, one in sent.items()
        }
    if isinstance(sent, list):
        return [_without_images(one, shown, hides) for one in sent]
    if isinstance(sent, float):
        return sent if isfinite(sent) else None
    if not isinstance(sent, str):
        return sent
    return None if hides or sent[:5].lower() == "data:" or len(sent) > MAX_TEXT else encodable(sent)


def prepare(call: Call, dialect: Dialect, spec: ModelSpec, sent: Json, metadata: RequestMetadata) -> NewRequest:
    """What a call asks for, checked by all that needs no transaction; an image of its body is stored.

    metadata: what is known of the call in addition to its parameters. Raises Forbidden, InvalidParameter,
    MissingParameter, BadPicture, ContentRefused, and for a test key what its prompt names.
    """
    key, files, runtime = call.key, call.files, call.runtime
    if not key.may_run(spec.slug):
        raise Forbidden(f"This API key may not run {spec.slug}", reason="model")
    parsed = dialect.parse(spec, sent)
    for one in parsed.params.inputs:
        # An address of this server becomes its path: it needn't be a public one.
        parsed = parsed.with_source(own_path(one.source.strip(), call.base) or "/", one.role)
    parsed = parsed.with_seed(steady_draw(parsed.values) if key.test else secrets.randbelow)
    params = parsed.params
    refuse(params)
    safety = key.safety or runtime.settings.safety.level
    cautions = _check_prompt(runtime.blocked, params.prompt, safety)
    start_after = _check_in(dialect, params.prompt) if key.test else 0.0
    given = params if parsed.canvas is None else replace(params, inputs=())
    found = find_images(files, given)
    if parsed.canvas:
        found["init"] = FoundImage(parsed.canvas, _canvas(parsed.canvas))
    if parsed.size_for and "init" in found:
        parsed = parsed.with_size(parsed.size_for(found["init"].size))
        params = parsed.params
    if key.max_pixels is not None:
        check_pixels(key.max_pixels, params, found["init"].size if "init" in found else None)
    drawn = [f"{spec.slug} takes a picture: drawn on a grey canvas"] if parsed.canvas else []
    headers = _notes(params, parsed.ignored, [*drawn, *parsed.notes, *cautions, *wording(spec, params)])
    parsed, stored = store(files, parsed, found)
    tariff = runtime.tariffs[spec.slug]
    return NewRequest(
        key,
        spec.slug,
        parsed.values,
        tariff.max_price(params.count),
        generation=parsed.params,
        rate=tariff.rate,
        images=params.count,
        steps=planned_steps(params),
        speed_key=None if key.test else speed_key(spec, params),  # a test's speed says nothing about the model
        safety=safety,
        cancel_after=call.cancel_after,
        start_after=start_after,
        input=stored,
        metadata=replace(metadata, reply=headers, callback=parsed.callback),
    )


def _check_in(dialect: Dialect, prompt: str) -> float:
    """Seconds that a test request stays in the queue; raises what its prompt names."""
    script = scenario(prompt)
    queued = script.check_in()
    return max(queued, INTERRUPTED) if dialect.cancels and script.interrupt else queued


def submit_together(queue: Queue, submissions: Sequence[Submission]) -> list[Submitted | Exception]:
    """Queue what is asked for in one transaction; what is wrong with one doesn't concern the others."""
    checked = [_checked(one) for one in submissions]
    outcomes = iter(queue.submit_each([new for new in checked if isinstance(new, NewRequest)]))
    return [
        new if isinstance(new, Exception) else _submitted(one.call, new, next(outcomes))
        for one, new in zip(submissions, checked, strict=True)
    ]


def _checked(submission: Submission) -> NewRequest | Exception:
    try:
        return submission.prepare()
    except Exception as error:  # noqa: BLE001 - its call's
        return error


def _submitted(call: Call, new: NewRequest, outcome: Request | BaseException) -> Submitted:
    """The usual answer; a refusal may read much, and takes a thread of its own caller's."""
    answer = partial(_queue, call, new, partial(call.store.queue.submitted, new, outcome))
    return answer if isinstance(outcome, BaseException) else answer()


def queue(call: Call, new: NewRequest) -> Accepted:
    """Queue a request, or find the one that had its idempotency key before: then stored images are deleted again.

    Raises OutOfCredits, TooManyRequests, Forbidden, IdempotencyMismatch, PerhapsQueued.
    """
    return _queue(call, new, partial(call.store.queue.submit, new))


def _queue(call: Call, new: NewRequest, submit: Callable[[], Request]) -> Accepted:
    """The same. submit: queues it, or has done so."""
    needed, about = False, {"account": new.key.account_id, "key_id": new.key.id, "client": call.client}
    try:
        request = submit()
        needed = request.id == new.id
    except PerhapsQueued:
        needed = True
        log.warning("perhaps queued", request=new.id, **about)
        raise
    finally:
        if new.input and new.input.bytes and not needed:
            for name in new.input.names:
                call.files.inputs.discard(name)
    if not needed:
        return Accepted.again(request)
    call.runtime.metrics.calls.queued(new.metadata.dialect)
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
    for parameter, role in IMAGE_ROLES.items():
        one = params.input(role)
        if one and one.source != (sample := sample_path(one.source)) and sample:
            words.append(f"{parameter}: this server's own sample {sample} stands in for the vendor's")
    return notes | ({"x-warning": _in_header("; ".join(words))} if words else {})


def _in_header(words: str) -> str:
    """As a header takes them, whatever a dialect repeats of what was sent: its call's request is queued by then."""
    known = words.encode("latin-1", "backslashreplace").decode("latin-1")
    return "".join(one if one.isprintable() else " " for one in known)


def check_pixels(allowed: int, params: GenerationParams, image: tuple[int, int] | None) -> None:
    """Raises Forbidden for more pixels than the key may ask for, if the size is known; a worker checks fetched images.

    image: the input image's size.
    """
    if not (params.width or image):
        return
    pixels = params.pixels(*(fitted_size(*image) if image and not params.width else (params.width, params.height)))
    if pixels > allowed:
        words = f"{LIMITS['max_pixels'].refuses(allowed)}; this one is for {pixels}"
        raise Forbidden(words, reason="limit")


@lru_cache(16)
def _canvas(size: Size) -> bytes:
    return encode(Image.new("RGB", size, CANVAS), "png")


@dataclass(frozen=True)
class FoundImage:
    """An input image that needn't be fetched: of the body (`data`), stored here already (`name`), or a sample."""

    size: tuple[int, int]
    data: bytes = b""
    name: str = ""


def find_images(files: Files, params: GenerationParams) -> dict[Role, FoundImage]:
    """The input images that are in the body or on this server, by role; a worker fetches the others.

    Raises BadPicture, also for more bytes or pixels together than one image may have, and InvalidParameter for a path
    without an image.
    """
    found: dict[Role, FoundImage] = {}
    for one in params.inputs:
        with naming(one.role):
            if image := _find_image(files, one):
                found[one.role] = image
    if sum(len(one.data) for one in found.values()) > files.max_bytes:
        raise BadPicture(f"the images of the request have more bytes together than {files.max_bytes}")
    if sum(width * height for width, height in (one.size for one in found.values())) > files.max_pixels:
        raise BadPicture(TOO_MANY)
    return found


def _find_image(files: Files, image: InputImage) -> FoundImage | None:
    if sample := find_sample(image.source):
        return FoundImage((sample.side, sample.side))
    if image.source.startswith(OWN_FILE):
        return _own_file(files, image.source.removeprefix(OWN_FILE))
    data = from_text(image.source, files.max_bytes)
    if data is None:
        _check_address(image)
        return None
    return FoundImage(check(data, files.max_pixels), data)


def store(files: Files, parsed: Parsed, found: Mapping[Role, FoundImage]) -> tuple[Parsed, Input | None]:
    """Store the images of the body, which last until their request ends; refer to those that are stored here already.

    Returns what is asked for, of the stored images; raises StorageUnavailable.
    """
    names: list[str] = []
    try:
        for role, image in found.items():
            if image.data:
                name = files.inputs.put(image.data, "in")
                parsed = parsed.with_source(STORED_INPUT + name, role)
                names.append(name)
    except BaseException:
        for name in names:
            files.inputs.discard(name)
        raise
    names += [image.name for image in found.values() if image.name]
    if not names:
        return parsed, None
    init, taken = found.get("init"), sum(len(image.data) for image in found.values())
    size = init.size if init and (init.data or init.name) else None
    return parsed, Input(names[0], taken, size, tuple(names[1:]))


def _own_file(files: Files, name: str) -> FoundImage:
    try:
        return FoundImage(files.size(name), name=name)
    except NotFound:
        raise BadPicture("image: this server keeps no such file (any more)") from None


def _check_address(image: InputImage) -> None:
    """Raises InvalidParameter, PictureUnreachable for what can't be an address; a worker finds out the rest."""
    if image.source.startswith("/"):
        name = "image" if image.role == "init" else image.role
        raise InvalidParameter(name, image.source, "an http(s) URL, a data: URI, base64, or the path of a sample")
    try:
        parse_url(image.source)
    except PictureUnreachable as error:
        raise PictureUnreachable(f"image: {error.message}") from None
