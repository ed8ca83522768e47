"""Calls that wait and follow: one look for all of them, none for nobody, and who goes is noticed."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import TEXT, left, quick
from tests.clients import call_bytes, dial
from tests.databases import place_of, statements
from tests.integration.website import Website, serving
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database
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

    def look(waited: list[str], followed: list[str]) -> Poll:
        return looks.poll(waited, dict.fromkeys(followed), positions=True)

    few = asked(tenant.db, lambda: look(running[:1], [running[1], queued[0]]))
    many = asked(tenant.db, lambda: look(running, [*running, *queued]))
    assert many <= 3, "the states, the rows, and what begins a transaction"
    assert few <= 12, "and once in a moment, the speeds and the queue"
    found = look([], [*running, *queued])
    assert found.news.keys() == {*running, *queued}
    places = [found.news[id].eta.position for id in queued]
    assert places == [place_of(tenant.db, id) for id in queued]
    known = {id: seen.state for id, seen in found.news.items()}
    assert looks.poll([], known, positions=False).news == {}, "nothing is new"
    assert asked(tenant.db, lambda: looks.poll(running, known, positions=False)) <= 3, (
        "one, and what begins a transaction"
    )


def test_what_is_news(tenant: Tenant) -> None:
    tenant.submit()
    request, looks = tenant.claim(), tenant.store.queue
    state = looks.poll([], {request.id: None}, positions=False).states[request.id]
    tenant.store.leases.renew([Progress(request.id, request.attempt, 2, 4)])
    tenant.store.queue.previews.put(
        request.id, [Preview(request.attempt, 1, 0, 2, b"jpeg"), Preview(request.attempt + 1, 9, 1, 2, b"")]
    )
    [seen] = looks.poll([], {request.id: state}, positions=False).news.values()
    assert (seen.state.step, seen.state.preview, seen.request.step) == (2, 1, 2)
    tenant.store.leases.fail(request.id, request.attempt, "no", 400)
    found = looks.poll([request.id, "gone"], {}, positions=False)
    assert (found.states[request.id].status.ended, "gone" in found.states, found.news) == (True, False, {})


class Counting:
    """A queue whose polls are counted, and fail while the database is said to be away."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self.previews = queue.previews
        self.made: list[tuple[int, int]] = []
        self.away = False

    def poll(self, waited: Any, followed: Any, *, positions: bool) -> Poll:
        self.made.append((len(waited), len(followed)))
        if self.away:
            raise StoreUnavailable
        return self._queue.poll(waited, followed, positions=positions)


class Crowd:
    """Calls that wait for requests and follow them, in one event loop."""

    def __init__(self, tenant: Tenant) -> None:
        self.looks = Counting(tenant.store.queue)
        self.shutdown = Shutdown()
        self.watcher = Watcher(cast(Any, self.looks), 0.05, self.shutdown)

    async def wait(self, id: str) -> str:
        with self.watcher.watching(id) as watch:
            await watch.wake.wait()
            return "error" if watch.error else "over" if watch.over else "told to stop"

    async def follow(self, id: str) -> list[Status]:
        said = []
        with self.watcher.watching(id, follows=True) as watch:
            while not ((said and said[-1] in (Status.COMPLETED, Status.FAILED)) or self.shutdown.closing or watch.over):
                if (seen := await watch.next(60)) and seen.request.status not in said:
                    said.append(seen.request.status)
        return said

    async def looked(self, times: int) -> None:
        """Until there were so many more looks."""
        wanted = len(self.looks.made) + times
        while len(self.looks.made) < wanted:
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
        assert sum(waited == MANY for waited, _ in together) >= 9, together
        tenant.store.queue.cancel(ids[0], tenant.account_id)
        assert await waits[0] == "over"
        assert await follows[0] == [Status.QUEUED, Status.FAILED]
        assert not any(task.done() for task in [*waits[1:], *follows[1:]]), "nobody else was woken for good"
        await cancel([*waits, *follows])
        await asyncio.sleep(0.3)
        made = len(crowd.looks.made)
        await asyncio.sleep(0.3)
        assert len(crowd.looks.made) == made
        again = asyncio.create_task(crowd.wait(ids[1]))
        await crowd.looked(2)
        await cancel([again])
        await crowd.watcher.close()

    asyncio.run(play())


def test_a_server_that_stops_and_a_database_that_is_away(tenant: Tenant) -> None:
    """Waits end in both cases; who follows waits for the database to come back."""
    ids = [one.id for one in submit_many(tenant)]

    async def play() -> None:
        crowd = Crowd(tenant)
        waits = [asyncio.create_task(crowd.wait(id)) for id in ids]
        follow = asyncio.create_task(crowd.follow(ids[0]))
        await crowd.looked(3)
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
        assert crowd.watcher._watches == set()
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
        assert site.own.runtime.watcher._watches == set()
        assert left(http) == pytest.approx(before - 0.0035 - 0.001)


def test_a_cancel_of_one_s_own_ends_the_wait(site: Website) -> None:
    with site.http() as http:
        waiting = call(site, "POST", f"/v1/{TEXT}", json.dumps(quick()).encode(), cancel_after="0.1")
        assert waiting.recv(100).startswith(b"HTTP/1.1 500 ")
        waiting.close()
        assert http.get("/health").is_success
        until(lambda: site.own.runtime.waits.open == 0)
