"""A request's progress as server-sent events, read from the database, so that any web process can send them."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, NamedTuple, get_args

from fastapi import APIRouter, Header, Response
from fastapi.sse import format_sse_event
from pydantic import Field

from tintype.errors import NotFound, StorageUnavailable, StoreUnavailable
from tintype.store.db.records import Status
from tintype.store.queue.eta import Obstacle
from tintype.store.queue.progress import Preview, RequestUpdate
from tintype.store.store import Store
from tintype.web.auth import Reader
from tintype.web.declared import Answer
from tintype.web.dependencies import BaseUrl, FilesDep, InThread, RuntimeDep, StoreDep
from tintype.web.files import Files
from tintype.web.generate import answers
from tintype.web.generate.watcher import CountedStream, Watch
from tintype.web.openapi import SCHEMAS, TEXT, Schema, errors
from tintype.web.runtime import Runtime
from tintype.web.threads import Threaded

NO_CONTENT = 204
#: nginx would buffer events.
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}

router = APIRouter(prefix="/v2", route_class=Threaded, tags=["requests"])


class PreviewEvent(Answer):
    """What a running image looks like."""

    number: int = Field(serialization_alias="picture")
    """The image's, from 0."""
    step: int
    finished: bool
    """Whether it is the image itself, made smaller."""
    image: str
    """A JPEG as data: URI."""


#: The events, and what the data of each is.
EVENTS: dict[str, type[Answer]] = {
    **dict.fromkeys(("queued", "started", "progress"), answers.Running),
    "preview": PreviewEvent,
    "completed": answers.Result,
    "failed": answers.Failed,
}


def schemas() -> dict[str, Schema]:
    """Of the events, by name, as tools that know event streams read them: `data` is text, which holds JSON."""
    return {_name(event): _schema(event, data) for event, data in EVENTS.items()}


def _name(event: str) -> str:
    return f"Event{event.capitalize()}"


def _schema(event: str, data: type[Answer]) -> Schema:
    about = {"contentMediaType": "application/json", "contentSchema": {"$ref": SCHEMAS + data.__name__}}
    kind, text = {"type": "string", "const": event}, {"type": "string"}
    members = {"id": text, "event": kind, "data": text | about}
    return {"type": "object", "required": [*members], "properties": members}


class EventCursor(NamedTuple):
    """What a client has received: the id of its last event, which a resuming client sends as Last-Event-ID."""

    #: Number of the attempt that runs, or that the request waits for; OVER once the request has ended.
    attempt: int = 0
    #: Whether that attempt runs, 0 or 1.
    running: int = 0
    #: The position in the queue, or the step.
    number: int = 0
    #: The number of the last preview; of a queued request, that of what it waits for in addition to its turn.
    preview: int = 0

    @classmethod
    def parse(cls, text: str) -> EventCursor:
        """From a Last-Event-ID; the start for one that this server didn't send."""
        parts = text.split("-")
        valid = len(parts) == len(cls._fields) and all(part.isdecimal() and len(part) < 10 for part in parts)
        return cls(*map(int, parts)) if valid else cls()

    def __str__(self) -> str:
        return "-".join(map(str, self))


OVER = EventCursor(999_999_999)
OBSTACLES = (None, *get_args(Obstacle))
LastEventId = Annotated[
    str,
    Header(alias="Last-Event-ID", description="The id of the last event that you have: it isn't sent again"),
]


@router.get(
    "/requests/{request_id}/events",
    operation_id="followRequest",
    summary="Progress of a request, as server-sent events",
    response_class=Response,
    responses={
        200: {
            "description": "Events until the request has ended: " + ", ".join(EVENTS),
            "content": {
                "text/event-stream": {"schema": {"anyOf": [*({"$ref": SCHEMAS + _name(one)} for one in EVENTS), TEXT]}}
            },
        },
        NO_CONTENT: {"description": "By its Last-Event-ID, the client has had all events: don't connect again"},
        **errors(400, 401, 403, 404, 429),
    },
)
async def events(
    key: Reader,
    request_id: str,
    store: StoreDep,
    files: FilesDep,
    runtime: RuntimeDep,
    base: BaseUrl,
    in_thread: InThread,
    last_event_id: LastEventId = "",
) -> Response:
    """A request's events until it has ended; a client that reconnects with Last-Event-ID gets the rest."""
    cursor = EventCursor.parse(last_event_id)
    await in_thread(store.queue.find, request_id, key.account_id)
    if cursor == OVER:
        return Response(status_code=NO_CONTENT)  # a browser's EventSource would reconnect indefinitely
    stream = Stream(store, files, runtime, request_id, key.account_id, base, cursor)
    return CountedStream(runtime.waits, key.account_id, stream.run(), headers=HEADERS)


async def beating(
    heartbeat: float, next: Callable[[float], Awaitable[list[bytes]]], goes_on: Callable[[], bool]
) -> AsyncIterator[bytes]:
    """Events as long as it goes on, and a comment after each silent heartbeat, in seconds.

    next: those of the next N seconds, N being what it is given.
    """
    due = time.monotonic() + heartbeat
    while goes_on():
        events = await next(due - time.monotonic())
        if not events and time.monotonic() >= due:
            events = [format_sse_event(comment="still here")]
        for event in events:
            due = time.monotonic() + heartbeat
            yield event


@dataclass
class Stream:
    """One client that follows one request.

    The framework writes each event, but an endpoint that yields them couldn't refuse a call, answer 204, or choose its
    heartbeat; and it would read ahead of a slow client, which is to get what is true when it reads.
    """

    store: Store
    files: Files
    runtime: Runtime
    id: str
    account_id: str
    base: str
    cursor: EventCursor = field(default_factory=EventCursor)

    async def run(self) -> AsyncIterator[bytes]:
        """Events until the request has ended or the server closes, and a comment after each silent heartbeat."""
        with self.runtime.watcher.watching(self.id, follows=True) as watch:
            heartbeat = self.runtime.settings.web.events_heartbeat
            async for text in beating(heartbeat, partial(self._next, watch), self._goes_on):
                yield text

    def _goes_on(self) -> bool:
        return self.cursor != OVER and not self.runtime.shutdown.closing

    async def _next(self, watch: Watch, seconds: float) -> list[bytes]:
        update = await watch.next(seconds)
        if update is not None:
            # Only the last event reads the database, for the account's credits.
            if update.request.ended:
                return await self.runtime.threads.run(self.account_id, self.events, watch, update)
            return self.events(watch, update)
        if watch.over:
            self.cursor = OVER  # its record expired
        return []

    def events(self, watch: Watch, update: RequestUpdate) -> list[bytes]:
        """The events that the client has not received yet."""
        before = self.cursor
        try:
            return list(self._events(update))
        except NotFound:
            self.cursor = OVER  # the file that it has in base64 expired
        except (StoreUnavailable, StorageUnavailable):
            self.cursor = before  # the next poll has these events too
            watch.reset()
        return []

    def _events(self, update: RequestUpdate) -> Iterator[bytes]:
        if update.request.ended:
            remaining = self.store.accounts.remaining(self.account_id)
            files = self.files
            body = answers.result(update.request, self.base, remaining, files.outputs, files.image_ttl)
            yield self._event(OVER, update.request.status.lower(), body)
        elif update.request.status is Status.QUEUED:
            yield from self._queued(update)
        else:
            yield from self._running(update)

    def _queued(self, update: RequestUpdate) -> Iterator[bytes]:
        obstacle = OBSTACLES.index(update.eta.obstacle)
        cursor = EventCursor(update.request.attempt + 1, 0, update.eta.position or 0, obstacle)
        if update.eta.position is not None and cursor != self.cursor:
            yield self._event(cursor, "queued", self._status(update))

    def _running(self, update: RequestUpdate) -> Iterator[bytes]:
        attempt, step = update.request.attempt, update.request.step
        if self.cursor[:2] < (attempt, 1):
            yield self._event(EventCursor(attempt, 1), "started", self._status(update))
        if step > self.cursor.number:
            yield self._event(self.cursor._replace(number=step), "progress", self._status(update))
        for preview in sorted(update.previews.values(), key=lambda one: one.number):
            if preview.number > self.cursor.preview:
                yield self._event(self.cursor._replace(preview=preview.number), "preview", _shown(preview))

    def _status(self, update: RequestUpdate) -> Answer:
        """As the status endpoint answers."""
        return answers.status(update.request, self.base, update.eta)

    def _event(self, cursor: EventCursor, event: str, data: Answer) -> bytes:
        self.cursor = cursor
        return format_sse_event(id=str(cursor), event=event, data_str=data.text())


def _shown(preview: Preview) -> PreviewEvent:
    image = f"data:image/jpeg;base64,{b64encode(preview.jpeg).decode()}"
    return PreviewEvent(number=preview.image, step=preview.step, finished=preview.finished, image=image)
