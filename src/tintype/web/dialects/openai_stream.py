"""OpenAI's streamed answers: the first image while it is made (`partial_images`), then each finished one."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

from anyio import CancelScope
from fastapi.sse import format_sse_event
from starlette.types import Receive, Scope, Send

from tintype.core import Output, Size
from tintype.errors import (
    BadPicture,
    RequestUnknown,
    StillRunning,
    StorageUnavailable,
    StoreUnavailable,
    TintypeError,
    WaitRanOut,
)
from tintype.media.images import decode, encode
from tintype.media.scaling import output_size, resize
from tintype.store.queue.progress import Preview, RequestUpdate
from tintype.testmode.scenario import parse
from tintype.web.declared import Answer
from tintype.web.dialects.openai_words import NO_TOKENS, Asked, OpenAIUsage, in_error
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.events import HEADERS, beating
from tintype.web.generate.wait import OUT_OF_REACH, cancelled, last_word, still_running, wait
from tintype.web.generate.watcher import CountedStream, Watch


class OpenAIEvent(Answer):
    """A partial image, or a finished one."""

    type: str
    b64_json: str
    created_at: int
    size: str
    quality: Literal["low", "medium", "high"]
    background: Literal["opaque"]
    output_format: Literal["png", "jpeg", "webp"]
    partial_image_index: int = 0
    usage: OpenAIUsage = NO_TOKENS
    safety_identifier: str = ""


def stream(call: Call, kind: str, asked: Asked, accepted: Accepted) -> CountedStream:
    """Answer a call with events. kind: what they are about; raises StillRunning for a call that was sent again."""
    if accepted.replayed and not accepted.request.ended:
        raise StillRunning(headers={"x-request-id": accepted.request.id})
    headers = answers.made_headers(accepted) if accepted.replayed else accepted.headers
    return ImageStream(ImageEvents(call, kind, asked, accepted), {**headers, **HEADERS})


@dataclass
class ImageEvents:
    """What a client is sent of its request."""

    call: Call
    #: How the names of events begin.
    kind: str
    asked: Asked
    accepted: Accepted
    #: Whether the client has been told the end.
    over: bool = False
    #: Partial images that were sent, and the parts of the steps, in all `partial_images` + 1, after which one was.
    sent: int = 0
    passed: int = 0
    #: Of the first image, the latest that was not sent.
    preview: Preview | None = None

    async def run(self) -> AsyncIterator[bytes]:
        """Events until the request has ended; an error is the last one."""
        try:
            async for event in self._until_ended():
                yield event
            for output in answers.made(self.accepted).outputs:
                yield await self._in_thread(self._completed, output)
        except StorageUnavailable:
            yield _failed(still_running(WaitRanOut, self.accepted.request, OUT_OF_REACH))
        except TintypeError as error:
            yield _failed(error)
        self.over = True

    async def leave(self) -> None:
        """Its client has gone: a request that it can't ask for again is cancelled."""
        request = self.accepted.request
        if not self.over and not request.ended and request.metadata.idempotency_key is None:
            with CancelScope(shield=True), suppress(StoreUnavailable):  # which the database logs
                await cancelled(self.call, request)

    async def _until_ended(self) -> AsyncIterator[bytes]:
        request, runtime = self.accepted.request, self.call.runtime
        if request.ended:
            return
        if request.test and parse(request.params.get("prompt", "")).interruption:
            await wait(self.call, request, cancels=True)  # which raises it
        previews, heartbeat = self.asked.partial_images > 0, runtime.settings.web.events_heartbeat
        with runtime.watcher.watching(request.id, follows=True, previews=previews) as watch:
            async for event in beating(heartbeat, partial(self._next, watch), self._goes_on):
                yield event
        if not self.accepted.request.ended:
            self.accepted = replace(self.accepted, request=await last_word(self.call, request))

    def _goes_on(self) -> bool:
        return not self.accepted.request.ended and not self.call.runtime.shutdown.over

    async def _next(self, watch: Watch, seconds: float) -> list[bytes]:
        """A partial image, if there is a new one to show."""
        update = await watch.next(seconds)
        if update is None:
            if watch.over:
                raise RequestUnknown(self.accepted.request.id)
            return []
        self.accepted = replace(self.accepted, request=update.request)
        if update.request.ended or (preview := self._due(update)) is None:
            return []
        with suppress(BadPicture, StoreUnavailable):  # the images don't depend on it
            return [await self._in_thread(self._partial, preview)]
        return []

    def _due(self, update: RequestUpdate) -> Preview | None:
        """The latest preview, once in each part of the steps."""
        parts = self.asked.partial_images + 1
        self.preview = update.previews.get(0, self.preview)
        passed = min(update.request.step * parts // max(1, update.request.steps), parts - 1)
        if passed <= self.passed or self.preview is None or self.preview.attempt != update.state.attempt:
            return None
        due, self.preview, self.passed = self.preview, None, passed
        return due

    def _partial(self, preview: Preview) -> bytes:
        """Brought to the finished size where that is known: an address's image is fetched by the worker."""
        request, files = self.accepted.request, self.call.files
        image, params = decode(preview.jpeg, files.max_pixels), request.generation
        width, height = (params.width, params.height) if params else (0, 0)
        size = output_size(width, height, self.call.store.queue.input_size(request.id))
        whole = resize(image, *size) if all(size) else image
        data = encode(whole, self.asked.output_format, self.asked.file_quality)
        index, self.sent = self.sent, self.sent + 1
        return self._event("partial_image", data, whole.size, time.time(), partial_image_index=index)

    def _completed(self, output: Output) -> bytes:
        known = self.asked.known_as
        more = {"usage": NO_TOKENS, **({"safety_identifier": known} if known else {})}
        timing, size = self.accepted.request.timing, (output.width, output.height)
        data = self.call.files.outputs.get(output.name)
        return self._event("completed", data, size, timing.ended_at or timing.submitted_at, **more)

    def _event(self, name: str, data: bytes, size: Size, moment: float, **more: Any) -> bytes:
        kind = f"{self.kind}.{name}"
        event = OpenAIEvent(
            type=kind,
            b64_json=b64encode(data).decode(),
            created_at=int(moment),
            size=f"{size[0]}x{size[1]}",
            quality=self.asked.level,
            background="opaque",
            output_format=self.asked.output_format,
            **more,
        )
        return format_sse_event(event=kind, data_str=event.text())

    def _in_thread(self, work: Callable[..., bytes], *given: Any) -> Awaitable[bytes]:
        return self.call.runtime.threads.run(self.call.key.account_id, work, *given)


class ImageStream(CountedStream):
    """The answer that has these events."""

    def __init__(self, events: ImageEvents, headers: Mapping[str, str]) -> None:
        super().__init__(events.call.runtime.waits, events.call.key.account_id, events.run(), headers=headers)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._events.leave()


def _failed(error: TintypeError) -> bytes:
    return format_sse_event(event="error", data_str=in_error(error)[1].text())
