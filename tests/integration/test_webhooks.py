"""Webhooks over a real database and real receivers: the outbox, senders, signatures, back-off, disabling, replay."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from sqlalchemy import select, update
from tests.acceptance.harness import until
from tests.integration.webhook_receiver import Message, Receiver, receiving
from tests.integration.website import serving
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.core import Callback
from tintype.errors import AddressRefused, BadRequest, NotFound, PictureUnreachable
from tintype.media.http import PublicClient, check_target, seconds
from tintype.settings.groups import WebhookSettings
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Delivery, DeliveryOutcome, DeliveryStatus, Event, Request, Subscription
from tintype.store.db.tables import deliveries, webhooks
from tintype.store.store import Store
from tintype.store.webhooks.events import enqueue_deliveries
from tintype.store.webhooks.outbox import PER_RECEIVER, Backoff, Outbox
from tintype.store.webhooks.predictions import prediction_id
from tintype.web.account.messages import CompletedMessage, FailedMessage
from tintype.webhooks import UNFORESEEN, WebhookSender

BOTH = (Event.REQUEST_COMPLETED, Event.REQUEST_FAILED)
RESULT = {"pictures": [{"name": "a.png", "seed": 7}], "seed": 7, "inference_time": 1.5}
ATTEMPTS = 3


class Subscriber(Tenant):
    """A tenant that is told of its requests' ends, and an outbox whose every pause is nothing."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, asks={"params": {"prompt": "é"}, "price": 100, "steps": 4, "base_url": "http://own"})
        self.hooks = store.webhooks
        self.outbox = Outbox(store.db, Backoff(0.0, 10.0, ATTEMPTS), lease=30, retention=60)

    def add(self, url: str, *events: Event) -> Subscription:
        return self.hooks.add(self.account_id, url, events or BOTH)

    def finish(self, *, webhook_url: str | None = None, fails: bool = False) -> Request:
        """A request from its submit to its end."""
        self.submit(webhook_url=webhook_url)
        return self.fail(error="no such picture", status=400) if fails else self.complete(**RESULT)

    def sent(self) -> list[Delivery]:
        with self.db.read() as view:
            return [*map(Delivery.of, view.execute(select(deliveries).order_by(deliveries.c.created_at)))]

    def one(self) -> Delivery:
        [delivery] = self.sent()
        return delivery

    def attempt(self, outcome: DeliveryOutcome) -> Delivery:
        """Claim what is due and note an outcome."""
        claimed = self.outbox.claim()
        assert claimed is not None
        assert self.outbox.record(claimed[0], outcome)
        return next(one for one in self.sent() if one.id == claimed[0].id)

    def lapse(self) -> None:
        self.db.move_clock(31)

    def sender(self, receivers: list[Receiver], timeout: float = 30.0) -> WebhookSender:
        client = PublicClient(frozenset(one.host for one in receivers), timeout)
        return WebhookSender(self.outbox, client, WebhookSettings(senders=4, poll=0.02, timeout=5))


@pytest.fixture
def subscriber(db: Database) -> Subscriber:
    return Subscriber(store_on(db))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


# The outbox


def test_a_request_that_ends_leaves_a_message_in_the_same_transaction(subscriber: Subscriber) -> None:
    hook = subscriber.add("https://one.example/hook")
    request = subscriber.finish()
    delivery = subscriber.one()
    assert (delivery.webhook_id, delivery.status, delivery.attempt) == (hook.id, DeliveryStatus.PENDING, 0)
    body = json.loads(delivery.body)
    assert body["type"] == "REQUEST_COMPLETED"
    assert body["data"] == {
        "request_id": request.id,
        "model": "sd3",
        "status": "COMPLETED",
        "output": "http://own/files/a.png",
        "images": [{"url": "http://own/files/a.png", "seed": "7"}],
        "metrics": {"cost": 0.0001, "inference_time": 1.5},
        "error": None,
        "status_url": f"http://own/v2/requests/{request.id}/status",
        "response_url": f"http://own/v2/requests/{request.id}",
    }


def test_an_end_that_is_undone_leaves_no_message(subscriber: Subscriber) -> None:
    subscriber.add("https://one.example/hook")
    request = subscriber.finish()
    before = subscriber.sent()
    with pytest.raises(RuntimeError), subscriber.db.write() as tx:
        enqueue_deliveries(tx, request, 0.0)
        raise RuntimeError
    assert subscriber.sent() == before


def test_failures_and_cancellations_are_told(subscriber: Subscriber) -> None:
    subscriber.add("https://one.example/hook")
    failed = subscriber.finish(fails=True)
    queued = subscriber.submit()
    subscriber.store.queue.cancel(queued.id, subscriber.account_id)
    bodies = [json.loads(one.body) for one in subscriber.sent()]
    assert [body["type"] for body in bodies] == ["REQUEST_FAILED"] * 2
    assert [body["data"]["request_id"] for body in bodies] == [failed.id, queued.id]
    assert [body["data"]["error"] for body in bodies] == ["no such picture", "cancelled"]


CALLBACK = Callback("https://mine.example/hook", ("start", "completed"), "v" * 64)
BODY = {"input": {"prompt": "é", "image": None, "seed": 7}, "webhook": None}


def test_a_callback_is_told_of_the_start_and_of_the_end(subscriber: Subscriber) -> None:
    """Each in the transaction of what it tells, with the prediction as it is then, signed by the account's own one."""
    own = subscriber.hooks.own(subscriber.account_id)
    subscriber.add("https://one.example/hook")
    about = {"dialect": "replicate", "asked": BODY, "params": {"image": "https://a.example/x.png"}}
    request = subscriber.submit(webhook_url="https://too.example/", callback=CALLBACK, **about)
    assert subscriber.sent() == []
    claimed = subscriber.claim()
    started = subscriber.one()
    assert (started.event, started.url, started.webhook_id) == ("REQUEST_STARTED", CALLBACK.url, own.id)
    body = json.loads(started.body)
    assert (body["status"], body["output"], body["completed_at"]) == ("processing", None, None)
    assert body["input"] == {"prompt": "é", "image": "https://a.example/x.png", "seed": 7}
    assert started.due_at == claimed.timing.started_at
    subscriber.complete(claimed, **RESULT)
    ends = {one.url: one for one in subscriber.sent() if one.event != "REQUEST_STARTED"}
    assert ends.keys() == {CALLBACK.url, "https://too.example/", "https://one.example/hook"}
    ended = json.loads(ends[CALLBACK.url].body)
    assert ended == body | {
        "status": "succeeded",
        "output": ["http://own/files/a.png"],
        "logs": ended["logs"],
        "metrics": {"predict_time": 1.5, "total_time": ended["metrics"]["total_time"]},
        "completed_at": ended["completed_at"],
    }
    assert ended["version"] == CALLBACK.version
    assert ended["id"] == prediction_id(request.id)
    assert "data" in json.loads(ends["https://too.example/"].body), "the other address has its own form"


@pytest.mark.parametrize(
    ("events", "told"),
    [
        (("start",), ["processing"] * 4),
        (("completed",), ["succeeded", "failed", "canceled", "canceled"]),
        (("output",), ["succeeded"]),
        (("output", "completed"), ["succeeded", "failed", "canceled", "canceled"]),
        (("logs",), []),
    ],
)
def test_which_events_a_callback_is_told_of(subscriber: Subscriber, events: tuple[str, ...], told: list[str]) -> None:
    """A request that is claimed again has started before."""
    subscriber.hooks.own(subscriber.account_id)
    callback = replace(CALLBACK, events=events)
    for _ in range(4):
        subscriber.submit(callback=callback)
    subscriber.complete(**RESULT)
    subscriber.fail()
    leases, queue = subscriber.store.leases, subscriber.store.queue
    claimed = subscriber.claim()
    leases.retry(claimed.id, claimed.attempt, "why")
    claimed = subscriber.claim()
    queue.cancel(claimed.id, subscriber.account_id)
    leases.end_cancelled([(claimed.id, claimed.attempt)])
    last = subscriber.claim() if events == ("start",) else subscriber.submit(callback=callback)
    queue.cancel(last.id, subscriber.account_id)
    statuses = [json.loads(one.body)["status"] for one in subscriber.sent()]
    assert sorted(statuses) == sorted(told)


def test_messages_have_what_openapi_says(subscriber: Subscriber) -> None:
    subscriber.add("https://one.example/hook")
    subscriber.finish()
    subscriber.finish(fails=True)
    for delivery, model in zip(subscriber.sent(), (CompletedMessage, FailedMessage), strict=True):
        body = json.loads(delivery.body)
        described = model.model_validate(body).model_dump(mode="json", exclude_unset=True)
        assert described == body | {"timestamp": described["timestamp"]}


def test_each_webhook_is_told_of_its_own_events_only(subscriber: Subscriber) -> None:
    completed = subscriber.add("https://one.example/", Event.REQUEST_COMPLETED)
    failed = subscriber.add("https://two.example/", Event.REQUEST_FAILED)
    subscriber.hooks.remove(subscriber.add("https://three.example/").id, subscriber.account_id)
    subscriber.finish()
    subscriber.finish(fails=True)
    assert [one.webhook_id for one in subscriber.sent()] == [completed.id, failed.id]


def test_a_requests_own_address_is_told_beside_the_accounts(subscriber: Subscriber) -> None:
    hook, own = subscriber.add("https://one.example/"), subscriber.hooks.own(subscriber.account_id)
    assert subscriber.hooks.own(subscriber.account_id) == own
    subscriber.finish(webhook_url="https://two.example/x?y=1")
    subscriber.finish()
    told = sorted((one.webhook_id, one.url) for one in subscriber.sent())
    expected = [(hook.id, hook.url), (hook.id, hook.url), (own.id, "https://two.example/x?y=1")]
    assert told == sorted(expected)


def test_other_accounts_are_told_nothing(subscriber: Subscriber) -> None:
    other = subscriber.accounts.create("other", 0)
    subscriber.hooks.add(other.id, "https://other.example/", BOTH)
    subscriber.finish()
    assert subscriber.sent() == []


def test_pauses_grow_fourfold_up_to_the_longest() -> None:
    backoff = Backoff(5.0, 6 * 3600.0, 9, chance=lambda: 0.5)
    assert [backoff.pause(tries) for tries in range(1, 10)] == [5, 20, 80, 320, 1280, 5120, 20480, 21600, 21600]
    spread = [Backoff(8.0, 100.0, 9, chance=lambda value=value: value).pause(1) for value in (0.0, 1.0)]
    assert spread == [6.0, 10.0]


def test_a_failed_attempt_waits_for_its_turn(subscriber: Subscriber) -> None:
    subscriber.outbox = Outbox(subscriber.db, Backoff(100.0, 100.0, ATTEMPTS), lease=30, retention=60)
    subscriber.add("https://one.example/")
    subscriber.finish()
    failed = subscriber.attempt(DeliveryOutcome(status=500))
    assert (failed.status, failed.error, failed.response_status) == (DeliveryStatus.PENDING, "HTTP status 500", 500)
    assert 70 < failed.due_at - failed.created_at < 135
    assert subscriber.outbox.claim() is None


@pytest.mark.parametrize(("asked", "waits"), [(0.0, 10), (50.0, 50), (10_000.0, 100)])
def test_a_receiver_says_when_to_come_back(asked: float, waits: float) -> None:
    """Not sooner than without being asked, and not later than the longest pause."""
    assert Backoff(10.0, 100.0, ATTEMPTS, chance=lambda: 0.5).pause(1, asked) == waits


@pytest.mark.parametrize(("status", "counts"), [(429, True), (503, True), (500, False)])
def test_retry_after_counts_where_it_is_meant(
    subscriber: Subscriber, receiver: Receiver, status: int, counts: bool
) -> None:
    receiver.answer = lambda _: (status, {"Retry-After": "7"})
    subscriber.add(receiver.url())
    subscriber.finish()
    delivery, secrets = claimed = subscriber.outbox.claim() or pytest.fail("nothing is due")
    assert claimed
    assert subscriber.sender([receiver]).send(delivery, secrets).retry_after == (7 if counts else None)


def test_a_date_is_a_retry_after_too() -> None:
    assert seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert (seconds(formatdate(time.time() + 3600, usegmt=True)) or 0) == pytest.approx(3600, abs=600)
    assert [seconds(text) for text in ("", "soon", "-5", "²")] == [None] * 4


#: What no clock shows, no calendar has, and no number holds.
ODD = [
    "Mon, 01 Jan 99999999999999999999 00:00:00 GMT",
    "Mon, 01 Jan 2030 00:00:00 +99999999999999",
    "Mon, 01 Jan 2030 99999999999999:00:00 GMT",
    "Mon, 01 Jan 2030 00:00:00 +" + "9" * 4400,
    "-5",
    "1e9",
    "inf",
    "\xe9",
]


@pytest.mark.parametrize("odd", ODD)
def test_a_retry_after_that_cannot_be_read_is_none(odd: str) -> None:
    assert seconds(odd) is None


@pytest.mark.parametrize("far", ["9" * 5000, "Fri, 31 Dec 9999 23:59:59 GMT", "Fri, 31 Dec 9999 23:59:59 -2359"])
def test_one_that_lies_too_far_ahead_is_the_longest_pause(far: str) -> None:
    assert Backoff(10.0, 100.0, ATTEMPTS, chance=lambda: 0.5).pause(1, seconds(far)) == 100
    assert seconds("Mon, 01 Jan 0001 00:00:00 +2359") == 0


@pytest.mark.parametrize(("status", "tries"), [(b"200 OK", 1), (b"503 Busy", ATTEMPTS)])
@pytest.mark.parametrize("odd", ODD[:4])
def test_whatever_a_receiver_says_it_is_sent_a_message_so_often_and_no_more(
    subscriber: Subscriber, receiver: Receiver, odd: str, status: bytes, tries: int
) -> None:
    receiver.raw = b"HTTP/1.1 %s\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % (status, odd.encode())
    subscriber.add(receiver.url())
    subscriber.finish()
    with subscriber.sender([receiver]):
        until(lambda: subscriber.one().status is not DeliveryStatus.PENDING)
    assert (subscriber.one().attempt, len(receiver.messages)) == (tries, tries)
    assert subscriber.outbox.claim() is None


def test_what_can_t_be_sent_for_a_reason_of_our_own_ends_too(subscriber: Subscriber, receiver: Receiver) -> None:
    """Here a secret that is none, as a restore by hand may leave it; nothing of it is told to who reads the log."""
    hook = subscriber.add(receiver.url())
    subscriber.finish()
    with subscriber.db.write() as tx:
        tx.execute(update(webhooks).where(webhooks.c.id == hook.id).values(secret="whsec_x"))
    with subscriber.sender([receiver]):
        until(lambda: subscriber.one().status is DeliveryStatus.FAILED)
    assert (subscriber.one().attempt, subscriber.one().error, receiver.messages) == (ATTEMPTS, UNFORESEEN, [])


def test_what_an_earlier_version_sent_for_ever_ends_with_its_next_attempt(
    subscriber: Subscriber, receiver: Receiver
) -> None:
    receiver.answer = lambda _: (500, {})
    subscriber.add(receiver.url())
    subscriber.finish()
    with subscriber.db.write() as tx:
        tx.execute(update(deliveries).values(attempt=40, lease_until=read_clock(tx) - 1))
    with subscriber.sender([receiver]):
        until(lambda: subscriber.one().status is DeliveryStatus.FAILED)
    assert len(receiver.messages) == 1


def test_a_lease_that_ran_out_is_claimed_again_and_its_first_holder_changes_nothing(subscriber: Subscriber) -> None:
    subscriber.add("https://one.example/")
    subscriber.finish()
    first = subscriber.outbox.claim()
    assert first is not None
    assert subscriber.outbox.claim() is None
    subscriber.lapse()
    second = subscriber.outbox.claim()
    assert second is not None
    assert (second[0].id, second[0].attempt) == (first[0].id, 2)
    assert not subscriber.outbox.record(first[0], DeliveryOutcome(status=500))
    assert subscriber.outbox.record(second[0], DeliveryOutcome(status=200))
    assert not subscriber.outbox.record(second[0], DeliveryOutcome(status=200))


def test_one_receiver_cannot_take_every_sender(subscriber: Subscriber) -> None:
    subscriber.add("https://dead.example/")
    for _ in range(PER_RECEIVER + 3):
        subscriber.finish()
    subscriber.add("https://alive.example/")
    subscriber.finish()
    claimed = [subscriber.outbox.claim() for _ in range(PER_RECEIVER + 2)]
    assert [one and one[0].receiver for one in claimed] == [
        *["https://dead.example"] * PER_RECEIVER,
        "https://alive.example",
        None,
    ]


def test_a_webhook_that_takes_nothing_is_disabled_with_a_reason(subscriber: Subscriber) -> None:
    hook = subscriber.add("https://one.example/")
    subscriber.finish()
    subscriber.finish()
    for _ in range(2 * ATTEMPTS - 1):
        subscriber.attempt(DeliveryOutcome(error="one.example: Connection refused"))
    disabled = subscriber.hooks.find(hook.id, subscriber.account_id)
    assert disabled.disabled_at is not None
    assert disabled.disabled_reason is not None
    assert disabled.disabled_reason.startswith("nothing was taken since ")
    assert disabled.disabled_reason.endswith("Connection refused")
    assert [one.status for one in subscriber.sent()] == [DeliveryStatus.FAILED] * 2, "what waited fails with it"
    assert subscriber.outbox.claim() is None


def test_what_a_disabled_webhook_missed_can_be_replayed(subscriber: Subscriber) -> None:
    hook = subscriber.add("https://one.example/")
    subscriber.finish()
    subscriber.attempt(DeliveryOutcome(status=410))
    assert "410 Gone" in (subscriber.hooks.find(hook.id, subscriber.account_id).disabled_reason or "")
    subscriber.finish()
    assert [one.status for one in subscriber.sent()] == [DeliveryStatus.FAILED] * 2
    subscriber.hooks.update(hook.id, subscriber.account_id, "https://new.example/", BOTH)
    again = subscriber.outbox.replay(hook.id)
    assert [(one.status, one.url) for one in again] == [(DeliveryStatus.PENDING, "https://new.example/")] * 2
    for _ in again:
        assert subscriber.attempt(DeliveryOutcome(status=200)).status is DeliveryStatus.DELIVERED
    found = subscriber.hooks.find(hook.id, subscriber.account_id)
    assert found.disabled_at is None
    assert found.succeeded_at is not None


def test_one_message_that_is_never_taken_disables_no_webhook_that_takes_others(subscriber: Subscriber) -> None:
    hook = subscriber.add("https://one.example/")
    subscriber.finish()
    claimed = subscriber.outbox.claim()
    assert claimed is not None
    subscriber.finish()
    assert subscriber.attempt(DeliveryOutcome(status=200)).status is DeliveryStatus.DELIVERED
    subscriber.outbox.record(claimed[0], DeliveryOutcome(status=400))
    for _ in range(ATTEMPTS - 1):
        subscriber.attempt(DeliveryOutcome(status=400))
    assert subscriber.outbox.claim() is None
    assert subscriber.hooks.find(hook.id, subscriber.account_id).disabled_at is None


def test_a_replay_has_all_its_attempts_again_and_the_same_message(subscriber: Subscriber) -> None:
    subscriber.add("https://one.example/")
    subscriber.finish()
    first = subscriber.attempt(DeliveryOutcome(status=200))
    [again] = subscriber.outbox.replay(first.id)
    assert (again.id, again.body, again.tries, again.ended_at) == (first.id, first.body, 0, None)
    for _ in range(ATTEMPTS - 1):
        assert subscriber.attempt(DeliveryOutcome(status=500)).status is DeliveryStatus.PENDING
    assert subscriber.attempt(DeliveryOutcome(status=500)).status is DeliveryStatus.FAILED
    with pytest.raises(NotFound):
        subscriber.outbox.replay("msg_unknown")


def test_what_waits_for_a_removed_webhook_is_not_sent(subscriber: Subscriber) -> None:
    hook = subscriber.add("https://one.example/")
    subscriber.finish()
    subscriber.hooks.remove(hook.id, subscriber.account_id)
    assert subscriber.outbox.claim() is None
    assert subscriber.one().error == "the webhook was made inactive"
    assert subscriber.hooks.list(subscriber.account_id) == []
    assert subscriber.outbox.logs(hook.id) == subscriber.sent()


def test_the_log_is_swept(subscriber: Subscriber) -> None:
    subscriber.add("https://one.example/")
    subscriber.finish()
    subscriber.attempt(DeliveryOutcome(status=200))
    assert subscriber.outbox.expire() == 0
    subscriber.db.move_clock(61)
    assert subscriber.outbox.expire() == 1


def test_webhooks_are_their_accounts_alone(subscriber: Subscriber) -> None:
    hook, other = subscriber.add("https://one.example/"), subscriber.accounts.create("other", 0)
    for call in (subscriber.hooks.find, subscriber.hooks.remove, subscriber.hooks.rotate):
        with pytest.raises(NotFound):
            call(hook.id, other.id)
    with pytest.raises(NotFound):
        subscriber.hooks.update(hook.id, other.id, "https://x.example", BOTH)
    assert subscriber.hooks.list(other.id) == []
    with pytest.raises(BadRequest):
        subscriber.hooks.remove(subscriber.hooks.own(subscriber.account_id).id, subscriber.account_id)


def test_an_account_has_a_limited_number(subscriber: Subscriber) -> None:
    for number in range(20):
        last = subscriber.add(f"https://{number}.example/")
    with pytest.raises(BadRequest, match="20 webhooks"):
        subscriber.add("https://one.more/")
    subscriber.hooks.remove(last.id, subscriber.account_id)
    subscriber.add("https://one.more/")
    with pytest.raises(BadRequest, match="20 webhooks"):
        subscriber.hooks.update(last.id, subscriber.account_id, "https://back.again/", BOTH)
    assert subscriber.hooks.find(last.id, subscriber.account_id).removed


# Senders and receivers


def test_a_message_arrives_signed(subscriber: Subscriber, receiver: Receiver) -> None:
    hook = subscriber.add(receiver.url("/a?b=c"))
    request = subscriber.finish()
    with subscriber.sender([receiver]):
        until(lambda: subscriber.one().status is DeliveryStatus.DELIVERED)
    [message] = receiver.messages
    assert message.path == "/a?b=c"
    assert message.id == subscriber.one().id
    assert message.headers["content-type"] == "application/json"
    assert message.verified(hook.secret)["data"]["request_id"] == request.id


def test_two_secrets_are_valid_at_once_after_a_rotation(subscriber: Subscriber, receiver: Receiver) -> None:
    old = subscriber.add(receiver.url())
    new = subscriber.hooks.rotate(old.id, subscriber.account_id)
    subscriber.finish()
    with subscriber.sender([receiver]):
        until(lambda: subscriber.one().status is DeliveryStatus.DELIVERED)
    [message] = receiver.messages
    assert message.headers["webhook-signature"].count("v1,") == 2
    assert message.verified(old.secret) == message.verified(new.secret)
    assert new.secrets(new.old_until or 0) == (new.secret,), "the old one's time is over"


def test_a_receiver_that_fails_is_tried_again_with_the_same_message(subscriber: Subscriber, receiver: Receiver) -> None:
    statuses = iter([500, 302, 200])
    receiver.answer = lambda _: (next(statuses), {"location": receiver.url("/elsewhere")})
    hook = subscriber.add(receiver.url())
    subscriber.finish()
    with subscriber.sender([receiver]):
        until(lambda: subscriber.one().status is DeliveryStatus.DELIVERED)
    assert subscriber.one().attempt == 3
    assert {message.path for message in receiver.messages} == {"/hook"}, "a redirect is not followed"
    assert len({(message.id, message.body) for message in receiver.messages}) == 1
    assert all(message.verified(hook.secret) for message in receiver.messages)


def test_a_receiver_that_never_answers_holds_up_no_other(subscriber: Subscriber, receiver: Receiver) -> None:
    release = threading.Event()
    with receiving() as silent:

        def never(_: Message) -> tuple[int, dict[str, str]]:
            release.wait(60)
            return 204, {}

        silent.answer = never
        subscriber.add(silent.url())
        for _ in range(6):
            subscriber.finish()
        hook = subscriber.add(receiver.url())
        subscriber.finish()
        with subscriber.sender([silent, receiver]):
            until(lambda: receiver.messages)
            until(lambda: subscriber.outbox.logs(hook.id)[0].status is DeliveryStatus.DELIVERED)
            assert len(silent.messages) <= PER_RECEIVER
            release.set()
            until(lambda: all(one.status is DeliveryStatus.DELIVERED for one in subscriber.sent()))


def test_an_address_inside_is_refused_at_every_attempt(subscriber: Subscriber, receiver: Receiver) -> None:
    subscriber.add(receiver.url())
    subscriber.finish()
    with subscriber.sender([]):
        until(lambda: subscriber.one().status is DeliveryStatus.FAILED)
    assert receiver.messages == []
    assert subscriber.one().attempt == ATTEMPTS
    assert subscriber.one().error == "127.0.0.1: not a public address"


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://[::1]:80/",
        "http://10.0.0.1/",
        "http://localhost:9/",
        "http://x.localhost./",
        "http://10.0.0.1./",
    ],
)
def test_an_address_that_is_inside_on_its_face_is_not_taken(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_target(url, frozenset())


@pytest.mark.parametrize("url", ["ftp://one.example/", "http://", "https://user:pw@one.example/", "nonsense"])
def test_what_is_no_address_is_not_taken(url: str) -> None:
    with pytest.raises(PictureUnreachable):
        check_target(url, frozenset())


def test_an_allowed_address_is_taken() -> None:
    check_target("http://127.0.0.1:8080/", frozenset({"127.0.0.1:8080"}))
    check_target("https://one.example/", frozenset())


def test_an_account_has_its_own_deliveries_sent_again(tmp_path: Path) -> None:
    with serving(tmp_path) as site, site.http() as http:
        hook = site.own.store.webhooks.add(site.account_id, "https://one.example/", BOTH)
        site.own.store.queue.cancel(site.submit().id, site.account_id)
        [first] = site.own.store.webhooks.outbox.logs(hook.id)
        claimed = site.own.store.webhooks.outbox.claim()
        assert claimed is not None
        assert site.own.store.webhooks.outbox.record(claimed[0], DeliveryOutcome(status=200))
        again = http.post("/webhook/replay", json={"delivery_id": first.id}).json()["log"]
        assert (again["delivery_id"], again["status"], again["ended_at"]) == (first.id, "PENDING", None)
        assert site.own.store.webhooks.outbox.claim() is not None
        _, stranger = site.own.store.accounts.keys.create(site.own.store.accounts.create("other", 0).id, "key")
        with site.http(stranger) as other:
            assert other.post("/webhook/replay", json={"delivery_id": first.id}).status_code == 404
        http.get("/webhook/inactive", params={"webhook_id": hook.id})
        refused = http.post("/webhook/replay", json={"delivery_id": first.id})
        assert (refused.status_code, refused.json()["error"][:27]) == (400, "This webhook is not active:")
        assert site.own.store.webhooks.outbox.logs(hook.id)[0].status is DeliveryStatus.FAILED, (
            "a refusal sends nothing"
        )
