"""The senders of webhooks: threads that claim what is due from the outbox, sign it, post it, and note what came of it.

They run in the server's process, apart from the workers; several servers' may share one outbox.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Self

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from tintype.errors import StoreUnavailable, TintypeError
from tintype.media.post import Poster
from tintype.settings import Settings
from tintype.store.db.records import PREFIX, Delivery, DeliveryOutcome
from tintype.store.store import Store
from tintype.store.webhooks.outbox import Outbox
from tintype.telemetry.logs import Outage
from tintype.telemetry.traces import HEADER, NO_TRACES, Tracing, open_tracing

log = structlog.get_logger()

#: Answers whose Retry-After counts: too many requests, and unavailable.
BUSY = (429, 503)
#: Seconds between looks while the database is away; how much longer the pauses are while nothing is to be told soon.
AWAY, IDLE = 1.0, 4.0
#: Receivers that fail, and are remembered.
FAILING = 1024
#: What the log of deliveries says of an attempt that this server failed at, whose own log says more.
UNFORESEEN = "it could not be sent: an error of this server"


def sign(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """The headers of the Standard Webhooks specification, with one signature per secret."""
    signed = f"{id}.{timestamp}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix(PREFIX)) for secret in secrets)
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    in_words = " ".join(f"v1,{signature}" for signature in signatures)
    return [("webhook-id", id), ("webhook-timestamp", str(timestamp)), ("webhook-signature", in_words)]


class Receivers:
    """Log lines about receivers that take nothing: of each, as of any state that lasts. Safe to share between threads.

    What became of each message, `tintype webhooks logs` tells.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: OrderedDict[tuple[str, str], Outage] = OrderedDict()

    def note(self, delivery: Delivery, outcome: DeliveryOutcome) -> None:
        """What came of an attempt."""
        who = (delivery.webhook_id, delivery.receiver)
        with self._lock:
            failing = self._failing.pop(who, None)
            if outcome.words is not None:
                failing = failing or Outage("webhook not taken", "webhook taken again", webhook=delivery.webhook_id)
                failing.failed(outcome.words)
            elif failing:
                failing.succeeded()
            if failing and failing.lasts:
                self._failing[who] = failing
            if len(self._failing) > FAILING:
                self._failing.popitem(last=False)


class Senders:
    """Sends while the `with` block lasts, then waits for what is under way, which the time limit of a post bounds."""

    def __init__(
        self,
        outbox: Outbox,
        poster: Poster,
        *,
        threads: int,
        poll: float,
        patience: float,
        tracing: Tracing = NO_TRACES,
    ) -> None:
        self._outbox = outbox
        self._poster = poster
        self._poll = poll
        self._patience = patience
        self._tracing = tracing
        self._receivers = Receivers()
        self._done = threading.Event()
        #: One thread looks at a time; the others wait to take its place.
        self._looking = threading.Lock()
        # Daemons: a lookup that never ends must not keep the process.
        self._threads = [threading.Thread(target=self._run, name="webhooks", daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        deadline = time.monotonic() + self._patience
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def send(self, delivery: Delivery, secrets: Sequence[str]) -> DeliveryOutcome:
        """One attempt. Whatever comes of it is an outcome: an attempt without one would be made again for ever."""
        try:
            return self._post(delivery, secrets)
        except TintypeError as error:
            return DeliveryOutcome(error=error.message)
        except Exception as error:
            log.exception("a webhook could not be sent", error=type(error).__name__)
            return DeliveryOutcome(error=UNFORESEEN)

    def _post(self, delivery: Delivery, secrets: Sequence[str]) -> DeliveryOutcome:
        body = delivery.body.encode()
        headers = [("Content-Type", "application/json"), ("User-Agent", "tintype")]
        headers += sign(secrets, delivery.id, int(time.time()), body)
        with self._tracing.span("webhook", delivery.traceparent, request=delivery.request_id) as traceparent:
            trace = [(HEADER, traceparent)] if traceparent else []
            answer = self._poster.post(delivery.url, body, headers + trace)
        return DeliveryOutcome(answer.status, retry_after=answer.retry_after if answer.status in BUSY else None)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._turn()
            except StoreUnavailable:
                # What was sent but not noted is sent again when its lease is over: at least once is the promise.
                self._done.wait(self._poll)
            except Exception as error:
                log.exception("the outbox could not be emptied", error=type(error).__name__)
                self._done.wait(self._poll)

    def _turn(self) -> None:
        clear_contextvars()  # bound below, for every log line about a delivery, also for those of `_run`
        bind_contextvars(job="webhooks")  # whose connections are others than those of calls
        with self._looking:
            try:
                claimed = self._outbox.claim()
            except StoreUnavailable:
                self._done.wait(AWAY)  # for all of them: those who wait to look would find the same
                return
            if claimed is None:
                self._done.wait(self._poll if self._outbox.expects else IDLE * self._poll)
                return
        delivery, secrets = claimed
        bind_contextvars(request=delivery.request_id, delivery=delivery.id)
        outcome = self.send(delivery, secrets)
        self._outbox.record(delivery, outcome)
        self._receivers.note(delivery, outcome)


@contextmanager
def sending(settings: Settings, name: str = "") -> Iterator[None]:
    """The senders of one server, as the operator configured them. name: what traces know it as."""
    store = Store.open(settings, process="webhooks")
    tracing = open_tracing(settings.traces, "webhooks", name)
    with Poster(settings.webhook_allow, settings.webhook_timeout) as poster:
        threads, poll, patience = settings.webhook_senders, settings.webhook_poll, settings.webhook_timeout
        with Senders(store.webhooks.outbox, poster, threads=threads, poll=poll, patience=patience, tracing=tracing):
            yield
    tracing.close()
    store.close()
