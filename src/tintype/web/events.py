"""A request's progress as server-sent events, read from the database: whichever web process is asked can tell."""

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
from tintype.store.queue.progress import Preview, Update
from tintype.web import answers
from tintype.web.auth import Reader
from tintype.web.openapi import describe_call
from tintype.web.services import Services, services
from tintype.web.threads import Threaded, in_thread
from tintype.web.urls import base_url
from tintype.web.waits import Counted
from tintype.web.watcher import Watch

NO_CONTENT = 204


def events_router() -> APIRouter:
    """The one route of this page."""
    router = APIRouter(prefix="/v2", route_class=Threaded)
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
    await in_thread(http, own.store.queue.find, request_id, key.account_id)
    if stream.told == OVER:
        return Response(status_code=NO_CONTENT)  # a browser's EventSource would ask for ever
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # nginx would keep events back
    return Counted(own.waits, key.account_id, stream.run(), media_type="text/event-stream", headers=headers)


class Stream:
    """One client that watches one request."""

    def __init__(self, own: Services, request_id: str, account_id: str, base: str) -> None:
        self.own = own
        self.id = request_id
        self.account_id = account_id
        self.base = base
        self.told = Told()

    async def run(self) -> AsyncIterator[str]:
        """Events until the request has ended or the server closes, with a comment when nothing happens for long."""
        with self.own.watcher.watching(self.id, follows=True) as watch:
            silence = time.monotonic() + self.own.settings.events_heartbeat
            while self.told != OVER and not self.own.shutdown.closing:
                texts = await self._next(watch, silence - time.monotonic())
                if not texts and time.monotonic() >= silence:
                    texts = [": still here\n\n"]
                for text in texts:
                    silence = time.monotonic() + self.own.settings.events_heartbeat
                    yield text

    async def _next(self, watch: Watch, seconds: float) -> list[str]:
        seen = await watch.news(seconds)
        if seen is not None:
            # Only an end asks the database, for what the account has left.
            if seen.request.ended:
                return await self.own.threads.run(self.account_id, self.news, watch, seen)
            return self.news(watch, seen)
        if watch.over:
            self.told = OVER  # its record expired
        return []

    def news(self, watch: Watch, seen: Update) -> list[str]:
        """What the client does not know yet."""
        before = self.told
        try:
            return list(self._news(seen))
        except NotFound:
            self.told = OVER  # the file that it has in base64 expired
        except (StoreUnavailable, StorageUnavailable):
            self.told = before  # for a moment, it may be hoped; the next look tells, also what was lost with this one
            watch.again()
        return []

    def _news(self, seen: Update) -> Iterator[str]:
        if seen.request.ended:
            remaining = self.own.store.accounts.remaining(self.account_id)
            body = answers.result(seen.request, self.base, remaining, self.own.outputs)
            yield self._say(OVER, seen.request.status.lower(), body)
        elif seen.request.status is Status.QUEUED:
            yield from self._queued(seen)
        else:
            yield from self._running(seen)

    def _queued(self, seen: Update) -> Iterator[str]:
        place = Told(seen.request.attempt + 1, 0, seen.eta.position or 0)
        if seen.eta.position is not None and place != self.told:
            yield self._say(place, "queued", self._status(seen))

    def _running(self, seen: Update) -> Iterator[str]:
        attempt, step = seen.request.attempt, seen.request.step
        if self.told[:2] < (attempt, 1):
            yield self._say(Told(attempt, 1), "started", self._status(seen))
        if step > self.told.number:
            yield self._say(self.told._replace(number=step), "progress", self._status(seen))
        for preview in sorted(seen.previews.values(), key=lambda one: one.number):
            if preview.number > self.told.preview:
                yield self._say(self.told._replace(preview=preview.number), "preview", _shown(preview))

    def _status(self, seen: Update) -> dict[str, Any]:
        """What the status endpoint says."""
        return answers.status(seen.request, self.base, seen.eta)

    def _say(self, place: Told, event: str, data: dict[str, Any]) -> str:
        self.told = place
        return f"id: {place}\nevent: {event}\ndata: {json.dumps(data)}\n\n"


def _shown(preview: Preview) -> dict[str, Any]:
    """Which of the request's pictures, from 0, after which step, whether it is done, and how it looks."""
    image = f"data:image/jpeg;base64,{b64encode(preview.jpeg).decode()}"
    return {"picture": preview.image, "step": preview.step, "finished": preview.finished, "image": image}
