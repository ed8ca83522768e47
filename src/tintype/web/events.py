"""A request's progress as server-sent events, read from the database: whichever web process is asked can tell."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest
from fastapi.concurrency import run_in_threadpool

from tintype.errors import NotFound, StorageUnavailable, StoreUnavailable
from tintype.store.previews import Preview
from tintype.store.records import Request, Status
from tintype.web import answers
from tintype.web.auth import Reader
from tintype.web.openapi import describe_call
from tintype.web.services import Services, services
from tintype.web.streams import Counted
from tintype.web.urls import base_url

#: Seconds for which previews are made after this process last said that somebody watches.
WATCH = 10.0
NO_CONTENT = 204


def events_router() -> APIRouter:
    """The one route of this page."""
    router = APIRouter(prefix="/v2")
    stream = {
        "description": "queued, started, progress, preview, completed, failed",
        "content": {"text/event-stream": {}},
    }
    over = {"description": "All was told before, to judge by Last-Event-ID: don't connect again"}
    words = describe_call("Progress of a request, as server-sent events", 400, 404, 429)
    words["responses"] = {200: stream, NO_CONTENT: over, **words["responses"]}
    router.add_api_route("/requests/{request_id}/events", events, methods=["GET"], response_class=Response, **words)
    return router


class Told(NamedTuple):
    """What a client knows already: the id of the last event that it got."""

    #: Number of the attempt that runs, or is waited for; OVER once the request has ended.
    era: int = 0
    running: int = 0
    #: The position in the queue, or the step.
    number: int = 0
    #: The number of the last preview.
    preview: int = 0

    @classmethod
    def parse(cls, text: str) -> Told:
        """From a Last-Event-ID; what is none of ours is nothing."""
        parts = text.split("-")
        known = len(parts) == len(cls._fields) and all(part.isdecimal() and len(part) < 10 for part in parts)
        return cls(*map(int, parts)) if known else cls()

    def __str__(self) -> str:
        return "-".join(map(str, self))


OVER = Told(999_999_999)


async def events(http: HttpRequest, key: Reader, request_id: str) -> Response:
    """What happens to a request until it has ended; a client that comes back with Last-Event-ID is told the rest."""
    own = services(http)
    stream = Stream(own, request_id, key.account_id, base_url(http, own.settings))
    stream.told = Told.parse(http.headers.get("last-event-id", ""))
    await run_in_threadpool(own.requests.find, request_id, key.account_id)
    if stream.told == OVER:
        return Response(status_code=NO_CONTENT)  # a browser's EventSource would ask for ever
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would keep events back
    return Counted(own.streams, key.id, stream.run(), media_type="text/event-stream", headers=headers)


class Stream:
    """One client that watches one request."""

    def __init__(self, own: Services, request_id: str, account_id: str, base: str) -> None:
        self.own = own
        self.id = request_id
        self.account_id = account_id
        self.base = base
        self.told = Told()
        #: When the request must be marked as watched again, on this machine's monotonic clock.
        self._mark_at = 0.0

    async def run(self) -> AsyncIterator[str]:
        """Events until the end of the request or of the server, with a comment when nothing happens for long."""
        spoken = time.monotonic()
        while self.told != OVER and not self.own.stopping():
            for text in await run_in_threadpool(self.news):
                spoken = time.monotonic()
                yield text
            if time.monotonic() > spoken + self.own.settings.events_heartbeat:
                spoken = time.monotonic()
                yield ": still here\n\n"
            if self.told != OVER:
                await asyncio.sleep(self.own.settings.events_poll)

    def news(self) -> list[str]:
        """What the client does not know yet."""
        before = self.told
        try:
            return list(self._news(self.own.requests.find(self.id, self.account_id)))
        except NotFound:
            self.told = OVER  # its record expired, or the file that it has in base64
        except (StoreUnavailable, StorageUnavailable):
            self.told = before  # for a moment, it may be hoped; the next look tells, also what was lost with this one
        return []

    def _news(self, request: Request) -> Iterator[str]:
        if request.ended:
            remaining = self.own.accounts.remaining(self.account_id)
            body = answers.result(request, self.base, remaining, self.own.outputs)
            yield self._say(OVER, request.status.lower(), body)
        elif request.status is Status.QUEUED:
            yield from self._queued(request)
        else:
            yield from self._running(request)

    def _queued(self, request: Request) -> Iterator[str]:
        outlook = self.own.outlooks.of(request)
        place = Told(request.attempt + 1, 0, outlook.position or 0)
        if outlook.position is not None and place != self.told:
            yield self._say(place, "queued", answers.status(request, self.base, outlook))

    def _running(self, request: Request) -> Iterator[str]:
        self._mark()
        if self.told[:2] < (request.attempt, 1):
            yield self._say(Told(request.attempt, 1), "started", self._status(request))
        if request.step > self.told.number:
            yield self._say(self.told._replace(number=request.step), "progress", self._status(request))
        for preview in self.own.previews.latest(self.id, request.attempt, self.told.preview):
            yield self._say(self.told._replace(preview=preview.look), "preview", _shown(preview))

    def _status(self, request: Request) -> dict[str, Any]:
        """What the status endpoint says; asked for only when there is news, as it looks through the queue."""
        return answers.status(request, self.base, self.own.outlooks.of(request))

    def _mark(self) -> None:
        """Have previews made; said anew well before it lapses."""
        if time.monotonic() >= self._mark_at:
            self._mark_at = time.monotonic() + WATCH / 2
            self.own.previews.watch(self.id, WATCH)

    def _say(self, place: Told, event: str, data: dict[str, Any]) -> str:
        self.told = place
        return f"id: {place}\nevent: {event}\ndata: {json.dumps(data)}\n\n"


def _shown(preview: Preview) -> dict[str, Any]:
    """Which of the request's pictures, from 0, after which step, whether it is done, and how it looks."""
    image = f"data:image/jpeg;base64,{b64encode(preview.jpeg).decode()}"
    return {"picture": preview.picture, "step": preview.step, "finished": preview.finished, "image": image}
