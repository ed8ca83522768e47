"""The webhook sender: threads that claim due deliveries from the outbox, sign and post them, and record the outcome.

It runs in the server's process, not in the workers; several servers may share one outbox.
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
from tintype.media.http import PublicClient
from tintype.settings import Settings
from tintype.settings.groups import WebhookSettings
from tintype.store.db.records import PREFIX, Delivery, DeliveryOutcome
from tintype.store.store import Store
from tintype.store.webhooks.outbox import Outbox
from tintype.telemetry.logs import Outage
from tintype.telemetry.traces import HEADER, NO_TRACES, Tracing, open_tracing

log = structlog.get_logger()

#: Answers whose Retry-After counts: too many requests, and unavailable.
BUSY = (429, 503)
#: Seconds between polls while the database is away; the factor of the poll interval while no delivery is due soon.
AWAY, IDLE = 1.0, 4.0
#: Max failing receivers that are tracked, in LRU order.
FAILING = 1024
#: The delivery log's words for an unexpected error of this server, of which its own log has the traceback.
UNFORESEEN = "it could not be sent: an error of this server"


def sign(secrets: Sequence[str], id: str, timestamp: int, body: bytes) -> list[tuple[str, str]]:
    """The headers of the Standard Webhooks specification, with one signature per secret."""
    signed = f"{id}.{timestamp}.".encode() + body
    keys = (base64.b64decode(secret.removeprefix(PREFIX)) for secret in secrets)
    signatures = (base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys)
    versioned = " ".join(f"v1,{signature}" for signature in signatures)
    return [("webhook-id", id), ("webhook-timestamp", str(timestamp)), ("webhook-signature", versioned)]


class ReceiverOutages:
    """Logs an outage per failing receiver. Safe to share between threads.

    The outcome of each message is in `tintype webhooks logs`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failing: OrderedDict[tuple[str, str], Outage] = OrderedDict()

    def record(self, delivery: Delivery, outcome: DeliveryOutcome) -> None:
        """The outcome of an attempt."""
        receiver = (delivery.webhook_id, delivery.receiver)
        with self._lock:
            failing = self._failing.pop(receiver, None)
            if outcome.words is not None:
                failing = failing or Outage("webhook not taken", "webhook taken again", webhook=delivery.webhook_id)
                failing.failed(outcome.words)
            elif failing:
                failing.succeeded()
            if failing and failing.lasts:
                self._failing[receiver] = failing
            if len(self._failing) > FAILING:
                self._failing.popitem(last=False)


class WebhookSender:
    """Sends while the `with` block lasts, then lets the posts under way end, for as long as one may take."""

    def __init__(
        self, outbox: Outbox, client: PublicClient, settings: WebhookSettings, tracing: Tracing = NO_TRACES
    ) -> None:
        self._outbox = outbox
        self._client = client
        self._settings = settings
        self._tracing = tracing
        self._receivers = ReceiverOutages()
        self._done = threading.Event()
        #: Held while polling: one thread polls at a time.
        self._polling = threading.Lock()
        # Daemons: a lookup that never ends must not keep the process alive.
        threads = range(settings.senders)
        self._threads = [threading.Thread(target=self._run, name="webhooks", daemon=True) for _ in threads]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        deadline = time.monotonic() + self._settings.timeout
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def send(self, delivery: Delivery, secrets: Sequence[str]) -> DeliveryOutcome:
        """One attempt. Every error is an outcome: an attempt without one would be repeated endlessly."""
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
            answer = self._client.post(delivery.url, body, headers + trace)
        return DeliveryOutcome(answer.status, retry_after=answer.retry_after if answer.status in BUSY else None)

    def _run(self) -> None:
        while not self._done.is_set():
            try:
                self._send_next()
            except StoreUnavailable:
                # At least once: a delivery that was sent but not recorded is sent again when its lease expires.
                self._done.wait(self._settings.poll)
            except Exception as error:
                log.exception("the outbox could not be emptied", error=type(error).__name__)
                self._done.wait(self._settings.poll)

    def _send_next(self) -> None:
        clear_contextvars()  # bound below, for every log line about a delivery, those of `_run` too
        bind_contextvars(job="webhooks")  # it has database connections of its own
        with self._polling:
            try:
                claimed = self._outbox.claim()
            except StoreUnavailable:
                self._done.wait(AWAY)  # holding the lock: the other threads would fail too
                return
            if claimed is None:
                self._done.wait(self._settings.poll * (1 if self._outbox.expects else IDLE))
                return
        delivery, secrets = claimed
        bind_contextvars(request=delivery.request_id, delivery=delivery.id)
        outcome = self.send(delivery, secrets)
        self._outbox.record(delivery, outcome)
        self._receivers.record(delivery, outcome)


@contextmanager
def webhook_sender(settings: Settings, name: str = "") -> Iterator[None]:
    """A server's webhook sender, as the operator configured it. name: its instance in traces."""
    store = Store.open(settings, process="webhooks")
    tracing = open_tracing(settings.telemetry.traces, "webhooks", name)
    client = PublicClient(settings.webhooks.allow, settings.webhooks.timeout)
    with client, WebhookSender(store.webhooks.outbox, client, settings.webhooks, tracing):
        yield
    tracing.close()
    store.close()
