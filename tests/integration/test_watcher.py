"""Calls that wait and follow: one look for all of them, none for nobody, and who goes is noticed."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import TEXT, left, quick
from tests.clients import call_bytes, dial
from tests.databases import place_of, statements
from tests.integration.sse import told
from tests.integration.website import Website, serving
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database
from tintype.store.db.notify import Channel, Listener
from tintype.store.db.records import Progress, Request, Status
from tintype.store.queue.progress import Poll, Preview
from tintype.store.queue.queue import Queue
from tintype.web.generate.watcher import Watcher
from tintype.web.shutdown import Shutdown

MANY = 60


#: Keys that send in turn.
KEYS = 3


@pytest.fixture
def tenant(db: Database) -> Tenant:
    return Tenant(store_on(db), asks={"params": {"prompt": "a fox"}, "steps": 4, "speed_key": "sd3 4 1"})


def submit_many(tenant: Tenant, number: int = MANY) -> list[Request]:
    """Of several keys."""
    keys = [tenant.new_key() for _ in range(KEYS)]
    return [tenant.submit(key=keys[index % KEYS]) for index in range(number)]


def asked(db: Database, work: Callable[[], object]) -> int:
    """How many statements it takes."""
    with statements(db) as said:
        work()
    return len(said)


def test_a_look_is_as_many_statements_for_hundreds_as_for_two(tenant: Tenant) -> None:
    every = submit_many(tenant)
    running = [tenant.claim().id for _ in range(MANY // 3)]
    queued = [one.id for one in every if one.id not in running]
    looks = tenant.store.queue

    def look(followed: list[str]) -> Poll:
        return looks.poll(dict.fromkeys(followed), positions=True)

    few = asked(tenant.db, lambda: look([running[1], queued[0]]))
    many = asked(tenant.db, lambda: look([*running, *queued]))
    assert many <= 3, "the states, the rows, and what begins a transaction"
    assert few <= 12, "and once in a moment, the speeds and the queue"
    found = look([*running, *queued])
    assert found.news.keys() == {*running, *queued}
    places = [found.news[id].eta.position for id in queued]
    assert places == [place_of(tenant.db, id) for id in queued]
    known = {id: seen.state for id, seen in found.news.items()}
    assert looks.poll(known, positions=False).news == {}, "nothing is new"
    ones = (lambda: looks.poll(known, positions=False), lambda: looks.ended(running), lambda: looks.unended(running))
    for one in ones:
        assert asked(tenant.db, one) <= 3, "one, and what begins a transaction"


def test_what_is_news(tenant: Tenant) -> None:
    tenant.submit()
    request, looks = tenant.claim(), tenant.store.queue
    state = looks.poll({request.id: None}, positions=False).states[request.id]
    tenant.store.leases.renew([Progress(request.id, request.attempt, 2, 4)])
    tenant.store.queue.previews.put(
        request.id, [Preview(request.attempt, 1, 0, 2, b"jpeg"), Preview(request.attempt + 1, 9, 1, 2, b"")]
    )
    [seen] = looks.poll({request.id: state}, positions=False).news.values()
    assert (seen.state.step, seen.state.preview, seen.request.step) == (2, 1, 2)
    tenant.store.leases.fail(request.id, request.attempt, "no", 400)
    queued = tenant.submit()
    asked_of = [request.id, queued.id, "gone"]
    assert looks.unended(asked_of) == {queued.id}
    assert looks.ended(asked_of) == {request.id: looks.find(request.id, request.account_id)}


class Counting:
    """A queue whose reads are counted, and fail while the database is said to be away."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.previews = queue.previews
        #: The method of each that has begun, and of how many requests.
        self.made: list[tuple[str, int]] = []
        #: How many of them are done.
        self.done = 0
        self.away = False

    def ended(self, ids: Any) -> Any:
        return self._read("ended", ids)

    def unended(self, ids: Any) -> Any:
        return self._read("unended", ids)

    def poll(self, ids: Any, *, positions: bool) -> Any:
        return self._read("poll", ids, positions=positions)

    def _read(self, method: str, ids: Any, **named: bool) -> Any:
        self.made.append((method, len(ids)))
        try:
            if self.away:
                raise StoreUnavailable
            return getattr(self._queue, method)(ids, **named)
        finally:
            self.done += 1


class Crowd:
    """Calls that wait for requests and follow them, in one event loop."""

    def __init__(self, tenant: Tenant, **times: float) -> None:
        self.looks = Counting(tenant.store.queue)
        self.shutdown = Shutdown()
        times = {"follow_poll": 0.05, "poll": 0.02, "poll_with_notify": 0.05, **times}
        self.watcher = Watcher(cast(Any, self.looks), self.shutdown, **times)
        self.listener = Listener(tenant.db, {Channel.ENDED: self._hear})
        self.listens = threading.Event()
        #: What each that follows was told of its request.
        self.said: dict[str, list[Status]] = {}

    def _hear(self, id: str) -> None:
        self.watcher.heard(id)
        self.listens.set()

    async def wait(self, id: str) -> str:
        with self.watcher.watching(id) as watch:
            await watch.wake.wait()
            return "error" if watch.error else "over" if watch.over else "told to stop"

    async def follow(self, id: str) -> list[Status]:
        said: list[Status] = []
        self.said[id] = said
        with self.watcher.watching(id, follows=True) as watch:
            while not ((said and said[-1] in (Status.COMPLETED, Status.FAILED)) or self.shutdown.closing or watch.over):
                if (seen := await watch.next(60)) and seen.request.status not in said:
                    said.append(seen.request.status)
        return said

    async def looked(self, times: int) -> None:
        """Until so many more looks have begun and are done; one at a time is made."""
        wanted = len(self.looks.made) + times
        while self.looks.done < wanted:
            await asyncio.sleep(0.005)

    async def told(self, *ids: str) -> None:
        """Until those that follow these requests know that they are queued, so that the end is told apart."""
        while not all(self.said.get(id) for id in ids):
            await asyncio.sleep(0.005)


async def cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_all_calls_share_one_look_and_nobody_causes_none(tenant: Tenant) -> None:
    ids = [one.id for one in submit_many(tenant)]

    async def play() -> None:
        crowd = Crowd(tenant)
        waits = []
        for id in ids:  # one after the other, so that their looks are due at different moments
            waits.append(asyncio.create_task(crowd.wait(id)))
            await asyncio.sleep(0.003)
        follows = [asyncio.create_task(crowd.follow(id)) for id in ids]
        await crowd.looked(40)
        start = len(crowd.looks.made)
        await crowd.looked(20)
        together = crowd.looks.made[start:]
        assert {*together} == {("unended", MANY), ("poll", MANY)}
        await crowd.told(ids[0])
        tenant.store.queue.cancel(ids[0], tenant.account_id)
        assert await waits[0] == "over"
        assert await follows[0] == [Status.QUEUED, Status.FAILED]
        assert not any(task.done() for task in [*waits[1:], *follows[1:]]), "nobody else was woken for good"
        await cancel([*waits, *follows])
        assert crowd.watcher._watching
        await crowd.watcher._watching  # ends by itself
        again = asyncio.create_task(crowd.wait(ids[1]))
        await crowd.looked(2)
        await cancel([again])
        await crowd.watcher.close()

    asyncio.run(play())


#: Seconds between polls that no test lives to see.
NEVER = 3600.0


def test_an_end_is_read_when_it_is_heard_of_and_nothing_else_is(tenant: Tenant) -> None:
    ids = [one.id for one in submit_many(tenant)]

    async def play() -> None:
        crowd = Crowd(tenant, follow_poll=NEVER, poll=NEVER, poll_with_notify=NEVER)
        with crowd.listener:
            await asyncio.to_thread(crowd.listens.wait)
            waits = [asyncio.create_task(crowd.wait(id)) for id in ids]
            follows = [asyncio.create_task(crowd.follow(id)) for id in ids[:3]]
            await crowd.told(*ids[:3])
            for number, one in enumerate(ids[:3]):
                tenant.store.queue.cancel(one, tenant.account_id)
                assert await waits[number] == "over"
                assert await follows[number] == [Status.QUEUED, Status.FAILED]
            assert crowd.looks.made == [("poll", 3), *[("ended", 1)] * 3]
            tenant.store.queue.cancel(ids[3], tenant.account_id)
            await waits[3]
            assert await crowd.wait(ids[3]) == "over", "one that begins to wait too late"
            assert crowd.looks.made[4:] == [("ended", 1)] * 2
            for id in ids[4:]:  # more than a socket holds
                tenant.store.queue.cancel(id, tenant.account_id)
            assert {*await asyncio.gather(*waits[4:])} == {"over"}
        await crowd.watcher.close()

    asyncio.run(play())


def test_where_wake_ups_are_missing_it_polls_more_often_until_one_comes(tenant: Tenant) -> None:
    ids = [one.id for one in submit_many(tenant, 4)]

    async def play() -> None:
        crowd = Crowd(tenant, poll=0.01, poll_with_notify=0.5)
        waits = [asyncio.create_task(crowd.wait(id)) for id in ids]
        tenant.store.queue.cancel(ids[0], tenant.account_id)  # an older worker's, say, which wakes no server
        assert await waits[0] == "over"
        assert crowd.watcher._pause == 0.01
        await crowd.looked(3)
        with crowd.listener:
            tenant.store.queue.cancel(ids[1], tenant.account_id)
            assert await waits[1] == "over"
            while crowd.watcher._pause != 0.5:  # the listener may have begun after that one
                tenant.store.queue.cancel(tenant.submit().id, tenant.account_id)
                await asyncio.sleep(0.01)
        await cancel(waits)
        await crowd.watcher.close()

    asyncio.run(play())


def test_a_server_that_stops_and_a_database_that_is_away(tenant: Tenant) -> None:
    """Waits end in both cases; who follows waits for the database to come back."""
    ids = [one.id for one in submit_many(tenant)]

    async def play() -> None:
        crowd = Crowd(tenant)
        waits = [asyncio.create_task(crowd.wait(id)) for id in ids]
        follow = asyncio.create_task(crowd.follow(ids[0]))
        await crowd.told(ids[0])
        crowd.looks.away = True
        assert {*await asyncio.gather(*waits)} == {"error"}
        await crowd.looked(2)
        crowd.looks.away = False
        tenant.store.queue.cancel(ids[0], tenant.account_id)
        assert await follow == [Status.QUEUED, Status.FAILED]
        waits = [asyncio.create_task(crowd.wait(id)) for id in ids[1:]]
        follow = asyncio.create_task(crowd.follow(ids[1]))
        await crowd.looked(1)
        crowd.shutdown.close()
        assert Status.FAILED not in await follow
        await crowd.looked(1)
        tenant.store.queue.cancel(ids[1], tenant.account_id)
        done, waits = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        assert [await one for one in done] == ["over"]
        crowd.shutdown.end()
        late = asyncio.create_task(crowd.wait(ids[2]))
        assert {*await asyncio.gather(*waits, late)} == {"told to stop"}
        await crowd.watcher.close()

    asyncio.run(play())


def test_calls_that_come_and_go_at_once(tenant: Tenant) -> None:
    """As when a whole office loses its network, and comes back."""
    ids = [one.id for one in submit_many(tenant, 5)]

    async def play() -> None:
        crowd = Crowd(tenant)
        for _ in range(20):
            tasks = [asyncio.create_task(crowd.wait(ids[number % 5])) for number in range(MANY)]
            tasks += [asyncio.create_task(crowd.follow(ids[number % 5])) for number in range(MANY)]
            await asyncio.sleep(0.002)
            await cancel(tasks)
        last = [asyncio.create_task(crowd.wait(id)) for id in ids]
        await crowd.looked(1)
        for id in ids:
            tenant.store.queue.cancel(id, tenant.account_id)
        assert await asyncio.gather(*last) == ["over"] * 5
        assert not (crowd.watcher._waits or crowd.watcher._follows)
        await crowd.watcher.close()

    asyncio.run(play())


# Over HTTP


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("waits")) as website:
        yield website


def call(site: Website, method: str, path: str, body: bytes = b"", **headers: str) -> socket.socket:
    """A call whose answer nobody reads yet."""
    connection = dial(site.address)
    connection.sendall(call_bytes(method, path, site.secret, body, **headers))
    return connection


def test_who_goes_away_is_noticed_and_cancels_unless_it_can_ask_again(site: Website) -> None:
    body = json.dumps(quick()).encode()
    with site.http() as http:
        before = left(http)
        calls = [call(site, "POST", f"/v1/{TEXT}", body) for _ in range(10)]
        kept = call(site, "POST", f"/v1/{TEXT}", body, idempotency_key="again")
        until(lambda: site.own.store.queue.depth()[0] == 11)
        request = site.submit()
        follows = [call(site, "GET", f"/v2/requests/{request.id}/events") for _ in range(5)]
        until(lambda: site.own.runtime.waits.open == 16)
        for connection in [*calls, kept, *follows]:
            connection.close()
        until(lambda: site.own.runtime.waits.open == 0)
        until(lambda: site.own.store.queue.depth()[0] == 2)
        assert not (site.own.runtime.watcher._waits or site.own.runtime.watcher._follows)
        assert left(http) == pytest.approx(before - 0.0035 - 0.001)


def test_what_one_server_commits_wakes_the_other(tmp_path: Path, url: str) -> None:
    """A waiting call, a stream and the fake worker; none of them lives to see a poll."""
    never = {"poll_with_notify": NEVER, "events_poll": NEVER, "database_url": url}
    with serving(tmp_path, **never) as site, serving(tmp_path, **never) as other, other.http(site.secret) as http:
        assert http.get("/health").is_success
        with ThreadPoolExecutor(2) as threads:
            waiting = threads.submit(http.post, f"/v1/{TEXT}", json=quick())
            until(lambda: other.own.runtime.watcher._waits)
            request = site.claim()
            events = threads.submit(told, http, request.id)
            until(lambda: other.own.runtime.watcher._follows)
            site.complete(request)
            assert waiting.result().content == b"picture"
            assert events.result()[-1].name == "completed"
        _, secret = site.own.store.accounts.keys.create(site.account_id, "ci", test=True)
        with other.http(secret) as trying:
            id = trying.post(f"/v2/{TEXT}", json=quick()).json()["request_id"]
            assert told(trying, id)[-1].name == "completed"


def test_a_cancel_of_one_s_own_ends_the_wait(site: Website) -> None:
    with site.http() as http:
        waiting = call(site, "POST", f"/v1/{TEXT}", json.dumps(quick()).encode(), cancel_after="0.1")
        assert waiting.recv(100).startswith(b"HTTP/1.1 500 ")
        waiting.close()
        assert http.get("/health").is_success
        until(lambda: site.own.runtime.waits.open == 0)
