"""A request's progress as server-sent events, read from the database, so that any web process can send them."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from tintype.errors import NotFound, StorageUnavailable, StoreUnavailable
from tintype.store.db.records import Status
from tintype.store.queue.progress import Preview, RequestUpdate
from tintype.web.auth import Reader
from tintype.web.clients import base_url
from tintype.web.generate import answers
from tintype.web.generate.watcher import CountedStream, Watch
from tintype.web.openapi import describe_call
from tintype.web.services import Services, services
from tintype.web.threads import Threaded, in_thread

NO_CONTENT = 204


def events_router() -> APIRouter:
    router = APIRouter(prefix="/v2", route_class=Threaded)
    stream = {
        "description": "queued, started, progress, preview, completed, failed",
        "content": {"text/event-stream": {}},
    }
    done = {"description": "By its Last-Event-ID, the client has had all events: don't connect again"}
    words = describe_call("Progress of a request, as server-sent events", 400, 404, 429)
    words["responses"] = {200: stream, NO_CONTENT: done, **words["responses"]}
    router.add_api_route("/requests/{request_id}/events", events, methods=["GET"], response_class=Response, **words)
    return router


class EventCursor(NamedTuple):
    """What a client has received: the id of its last event, which a resuming client sends as Last-Event-ID."""

    #: Number of the attempt that runs, or that the request waits for; OVER once the request has ended.
    attempt: int = 0
    #: Whether that attempt runs, 0 or 1.
    running: int = 0
    #: The position in the queue, or the step.
    number: int = 0
    #: The number of the last preview.
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


async def events(http: HttpRequest, key: Reader, request_id: str) -> Response:
    """A request's events until it has ended; a client that reconnects with Last-Event-ID gets the rest."""
    own = services(http)
    stream = Stream(own, request_id, key.account_id, base_url(http, own.settings))
    stream.cursor = EventCursor.parse(http.headers.get("last-event-id", ""))
    await in_thread(http, own.store.queue.find, request_id, key.account_id)
    if stream.cursor == OVER:
        return Response(status_code=NO_CONTENT)  # a browser's EventSource would reconnect indefinitely
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would buffer events
    return CountedStream(own.waits, key.account_id, stream.run(), media_type="text/event-stream", headers=headers)


class Stream:
    """One client that follows one request."""

    def __init__(self, own: Services, request_id: str, account_id: str, base: str) -> None:
        self.own = own
        self.id = request_id
        self.account_id = account_id
        self.base = base
        self.cursor = EventCursor()

    async def run(self) -> AsyncIterator[str]:
        """Events until the request has ended or the server closes, and a comment after each silent heartbeat."""
        with self.own.watcher.watching(self.id, follows=True) as watch:
            heartbeat_at = time.monotonic() + self.own.settings.web.events_heartbeat
            while self.cursor != OVER and not self.own.shutdown.closing:
                texts = await self._next(watch, heartbeat_at - time.monotonic())
                if not texts and time.monotonic() >= heartbeat_at:
                    texts = [": still here\n\n"]
                for text in texts:
                    heartbeat_at = time.monotonic() + self.own.settings.web.events_heartbeat
                    yield text

    async def _next(self, watch: Watch, seconds: float) -> list[str]:
        update = await watch.next(seconds)
        if update is not None:
            # Only the last event reads the database, for the account's credits.
            if update.request.ended:
                return await self.own.threads.run(self.account_id, self.events, watch, update)
            return self.events(watch, update)
        if watch.over:
            self.cursor = OVER  # its record expired
        return []

    def events(self, watch: Watch, update: RequestUpdate) -> list[str]:
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

    def _events(self, update: RequestUpdate) -> Iterator[str]:
        if update.request.ended:
            remaining = self.own.store.accounts.remaining(self.account_id)
            body = answers.result(update.request, self.base, remaining, self.own.outputs)
            yield self._event(OVER, update.request.status.lower(), body)
        elif update.request.status is Status.QUEUED:
            yield from self._queued(update)
        else:
            yield from self._running(update)

    def _queued(self, update: RequestUpdate) -> Iterator[str]:
        cursor = EventCursor(update.request.attempt + 1, 0, update.eta.position or 0)
        if update.eta.position is not None and cursor != self.cursor:
            yield self._event(cursor, "queued", self._status(update))

    def _running(self, update: RequestUpdate) -> Iterator[str]:
        attempt, step = update.request.attempt, update.request.step
        if self.cursor[:2] < (attempt, 1):
            yield self._event(EventCursor(attempt, 1), "started", self._status(update))
        if step > self.cursor.number:
            yield self._event(self.cursor._replace(number=step), "progress", self._status(update))
        for preview in sorted(update.previews.values(), key=lambda one: one.number):
            if preview.number > self.cursor.preview:
                yield self._event(self.cursor._replace(preview=preview.number), "preview", _shown(preview))

    def _status(self, update: RequestUpdate) -> dict[str, Any]:
        """As the status endpoint answers."""
        return answers.status(update.request, self.base, update.eta)

    def _event(self, cursor: EventCursor, event: str, data: dict[str, Any]) -> str:
        self.cursor = cursor
        return f"id: {cursor}\nevent: {event}\ndata: {json.dumps(data)}\n\n"


def _shown(preview: Preview) -> dict[str, Any]:
    """The image's number, from 0, the step, whether it is finished, and the preview itself."""
    image = f"data:image/jpeg;base64,{b64encode(preview.jpeg).decode()}"
    return {"picture": preview.image, "step": preview.step, "finished": preview.finished, "image": image}
