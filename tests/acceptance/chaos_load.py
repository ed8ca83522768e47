"""The load of the chaos test: callers that go on asking whatever happens to the servers, and what they were told."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

import httpx2
from PIL import Image

from tests.acceptance.chaos_plan import Ask, Keys, Way

#: Seconds between a caller's tries and looks: at first, and at most.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
#: Tries after a 429 before a caller gives up.
PATIENCE = 6
#: Refusals that a caller may get here: a mistake of its own, more pictures than its key may have, no credits, a limit.
REFUSALS = {400, 403, 406, 429}
#: Seconds after which a request that has not ended has failed the test: a busy machine takes its time over each of the
#: restarts that one request may have to sit through (289 were seen, with 35 processes waiting for two cores).
LONGEST = 900.0


@dataclass
class Told:
    """What the servers have told about one ask."""

    ask: Ask
    #: Ids of the requests that it became: one, or none where it was refused.
    ids: set[str] = field(default_factory=set)
    #: The status of a refusal that was final for the caller.
    refused: int | None = None
    #: Calls that submit and broke off before their answer had come.
    lost: int = 0
    #: How it ended, as the caller was told.
    end: str | None = None


class Load:
    """Asks that are sent by several callers at once, each to whichever server answers."""

    def __init__(self, asks: Iterable[Ask], keys: Keys, addresses: Callable[[], list[str]], hook: str = "") -> None:
        self.keys = keys
        self.addresses = addresses
        self.hook = hook
        self.told: list[Told] = []
        #: Answers by status, and what callers did.
        self.tally: Counter[str] = Counter()
        self.over = False
        self._asks = iter(asks)
        self._lock, self._taking = threading.Lock(), threading.Lock()

    def run(self, callers: int) -> None:
        """Send all; returns when every caller has finished, and raises what went wrong with one."""
        try:
            with ThreadPoolExecutor(callers, thread_name_prefix="caller") as pool:
                for future in [pool.submit(self._call) for _ in range(callers)]:
                    future.result()
        finally:
            self.over = True

    @property
    def taken(self) -> int:
        """How many asks have been begun."""
        return len(self.told)

    @property
    def noticed(self) -> int:
        """How often a caller has noticed that something was away."""
        return self.tally["broken connections"] + self.tally["answers 503"]

    def count(self, what: str) -> None:
        """One more."""
        with self._lock:
            self.tally[what] += 1

    def _call(self) -> None:
        with httpx2.Client(timeout=60) as http:
            for told in self._next():
                Caller(self, http, told).call()

    def _next(self) -> Iterator[Told]:
        while True:
            with self._taking:
                ask = next(self._asks, None)
                if ask is None:
                    return
                told = Told(ask)
                self.told.append(told)
            yield told


class Caller:
    """Somebody with one wish, who takes no broken connection and no 503 for an answer."""

    def __init__(self, load: Load, http: httpx2.Client, told: Told) -> None:
        self.load, self.http, self.told, self.ask = load, http, told, told.ask
        self._chance = Random(self.ask.number)
        self._deadline = time.monotonic() + LONGEST

    def call(self) -> None:
        """Ask, and go on as the ask's way is."""
        self.submit()
        if self.ask.again:
            self.load.count("sent again")
            self.submit()
        for id in self.told.ids:
            self.follow(id)

    def submit(self) -> None:
        """Send it until there is an answer that is one; without an idempotency key, never after a lost answer."""
        for tries in self._tries():
            response = self._send("POST", f"/{'v1' if self.ask.way is Way.BLOCKING else 'v2'}/{self.ask.slug}")
            if response is None:
                self.told.lost += 1
                if self.ask.once is None:
                    return
                continue
            if self._understood(response, last=tries == PATIENCE):
                return

    def _understood(self, response: httpx2.Response, *, last: bool) -> bool:
        """Take an answer in; whether there is nothing more to be sent."""
        id = response.headers.get("x-request-id")
        if response.status_code == 503:
            self.told.lost += id is not None  # nobody knows whether that one was queued
        elif id is not None:
            self.told.ids.add(id)
        if response.status_code == 429 and not last:
            return False
        if id is None and response.status_code != 503:
            assert response.status_code in REFUSALS, response.text
            self.told.refused = response.status_code
        if id is not None and self.ask.way is Way.BLOCKING:
            self._end_of_v1(response)
        # What says that it can be sent again: "nothing was queued", or "it runs only once".
        return "retry-after" not in response.headers or response.status_code == 429

    def _end_of_v1(self, response: httpx2.Response) -> None:
        """What a v1 answer says of the end, unless the request goes on: a picture, or where several are."""
        if response.status_code in (409, 502, 503, 504):
            return
        self.told.end = "COMPLETED" if response.is_success else "FAILED"
        if not response.is_success:
            return
        if response.headers["content-type"].startswith("image/"):
            Image.open(io.BytesIO(response.content)).load()
        else:
            assert len(response.json()["images"]) == self.ask.pictures

    def follow(self, id: str) -> None:
        """Look how the request gets on, if its caller wants to know."""
        if self.ask.way is Way.FOLLOWED:
            self._listen(id)
        if self.ask.way not in (Way.BLOCKING, Way.LEFT) and self.told.end is None:
            self._poll(id)

    def _poll(self, id: str) -> None:
        for looks in self._tries():
            if self.ask.way is Way.CANCELLED and looks == self.ask.looks:
                self._cancel(id)
            response = self._send("GET", f"/v2/requests/{id}/status")
            if response is None or response.status_code == 503:
                continue
            status = response.json().get("status")
            assert status, f"a request that was accepted is unknown: {response.text}"
            if status in ("COMPLETED", "FAILED"):
                self.told.end = status
                return

    def _cancel(self, id: str) -> None:
        for _ in self._tries():
            response = self._send("DELETE", f"/v2/requests/{id}")
            if response is not None and response.status_code != 503:
                self.load.count("cancels")
                assert response.is_success, response.text
                return

    def _listen(self, id: str) -> None:
        """Read events to the end, or until the connection breaks."""
        with suppress(httpx2.TransportError), self._stream(id) as response:
            for line in response.iter_lines():
                if line in ("event: completed", "event: failed"):
                    self.told.end = line.removeprefix("event: ").upper()

    def _stream(self, id: str) -> Any:
        return self.http.stream("GET", f"{self._somewhere()}/v2/requests/{id}/events", headers=self._headers())

    def _send(self, method: str, path: str) -> httpx2.Response | None:
        """The answer of some server; None where the connection was refused, or broke off."""
        body = self.ask.body if method == "POST" else None
        try:
            response = self.http.request(method, f"{self._somewhere()}{path}", json=body, headers=self._headers())
        except httpx2.TransportError:
            self.load.count("broken connections")
            return None
        self.load.count(f"answers {response.status_code}")
        return response

    def _somewhere(self) -> str:
        return self._chance.choice(self.load.addresses())

    def _headers(self) -> dict[str, str]:
        headers = {"x-api-key": self.load.keys.secrets[self.ask.key]}
        headers |= {"idempotency-key": self.ask.once} if self.ask.once else {}
        return headers | ({"x-webhook-url": self.load.hook} if self.ask.hooked and self.load.hook else {})

    def _tries(self) -> Iterator[int]:
        """0, 1, 2, … with pauses between that grow."""
        for tries in count():
            yield tries
            time.sleep(min(FIRST_PAUSE * 1.5**tries, LONGEST_PAUSE))
            assert time.monotonic() < self._deadline, f"no end to {self.told}"
