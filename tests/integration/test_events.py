"""Server-sent events: in order, resumed, from whichever web process is asked, and ending by themselves."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import text
from tests.acceptance.harness import until
from tests.databases import PostgresServer, hurried
from tests.integration.sse import Event, following, told
from tests.integration.website import Website, serving

from tintype.client import Client, ServerRefused
from tintype.store.queue.progress import Preview
from tintype.web.generate.events import Stream
from tintype.web.generate.watcher import Watch


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Website]:
    with serving(tmp_path) as site:
        yield site


@pytest.fixture
def http(web: Website) -> Iterator[httpx2.Client]:
    with web.http() as client:
        yield client


def short(event: Event) -> tuple[str, object]:
    """What matters of an event."""
    data = event.data
    return event.name, {"queued": data.get("queue_position"), "failed": data.get("error")}.get(
        event.name, data.get("step")
    )


def test_from_the_queue_to_the_end(web: Website, http: httpx2.Client) -> None:
    first, second = web.submit(), web.submit()
    with following(http, second.id) as events:
        waiting = next(events)
        assert (short(waiting), waiting.data["waiting_for"]) == (("queued", 2), "worker")
        web.beat()
        waiting = next(events)
        assert (short(waiting), "waiting_for" in waiting.data) == (("queued", 2), False)
        web.complete(web.claim())
        assert short(next(events)) == ("queued", 1)
        request = web.claim()
        assert request.id == second.id
        started = next(events)
        assert (started.name, started.data["status"], started.data["steps"]) == ("started", "PROCESSING", 4)
        for step in (1, 3):
            web.step(request, step)
            progress = next(events)
            assert (progress.name, progress.data["step"], progress.data["progress"]) == ("progress", step, step / 4)
            assert progress.data["eta"] == pytest.approx(1.5 / 4 * (4 - step), abs=0.06)
        web.own.store.queue.previews.put(request.id, [Preview(1, 1, 1, 3, b"jpeg", True)])
        look = next(events)
        image = f"data:image/jpeg;base64,{b64encode(b'jpeg').decode()}"
        assert (look.name, look.data) == ("preview", {"picture": 1, "step": 3, "finished": True, "image": image})
        web.complete(request)
        last = next(events)
        assert list(events) == []
    assert last.name == "completed"
    assert last.data == http.get(f"/v2/requests/{second.id}").json()
    assert [short(event) for event in told(http, first.id)] == [("completed", None)]


def test_a_client_that_comes_back_is_told_the_rest_alone(web: Website, http: httpx2.Client) -> None:
    web.submit()
    request = web.claim()
    web.step(request, 2)
    web.own.store.queue.previews.put(request.id, [Preview(1, 1, 0, 2, b"jpeg")])
    with following(http, request.id) as events:
        seen = [next(events) for _ in range(3)]
    assert [event.name for event in seen] == ["started", "progress", "preview"]
    assert len({event.id for event in seen}) == 3
    with following(http, request.id, seen[1].id) as events:
        assert short(next(events)) == ("preview", 2)
        web.step(request, 3)
        assert short(next(events)) == ("progress", 3)
    web.complete(request)
    [last] = told(http, request.id, seen[2].id)
    assert last.name == "completed"
    over = http.get(f"/v2/requests/{request.id}/events", headers={"last-event-id": last.id})
    assert (over.status_code, over.content) == (204, b""), "an EventSource stops asking"
    assert [event.name for event in told(http, request.id, "nonsense")] == ["completed"]


def test_another_attempt_is_told_from_its_beginning(web: Website, http: httpx2.Client) -> None:
    web.submit()
    first = web.claim()
    web.step(first, 3)
    with following(http, first.id) as events:
        assert [short(next(events))[0] for _ in range(2)] == ["started", "progress"]
        web.own.store.leases.retry(first.id, first.attempt, "the model failed")
        assert short(next(events)) == ("queued", 1)
        second = web.claim()
        assert short(next(events)) == ("started", 0)
        web.step(second, 1)
        assert short(next(events)) == ("progress", 1)
        web.own.store.queue.previews.put(first.id, [Preview(1, 1, 0, 3, b"late")])
        web.own.store.leases.fail(second.id, second.attempt, "no such picture", 400)
        assert short(next(events)) == ("failed", "no such picture")
        assert list(events) == []


def test_our_own_client_follows(web: Website) -> None:
    web.submit()
    request = web.claim()
    with Client(web.address, web.secret) as client:
        events = client.stream(request.id)
        assert next(events)[0] == "started"
        web.step(request, 1)
        assert (told := next(events))[0] == "progress"
        assert told[1]["step"] == 1
        web.complete(request)
        [(last, data)] = events
        assert (last, data["status"]) == ("completed", "COMPLETED")
        with pytest.raises(ServerRefused, match="Request another not found"):
            next(client.stream("another"))


def test_any_web_process_can_tell(web: Website, tmp_path: Path) -> None:
    web.submit()
    with serving(tmp_path) as other, other.http(web.secret) as client:
        request = web.claim()
        with following(client, request.id) as events:
            assert short(next(events)) == ("started", 0)
            web.step(request, 1)
            assert short(next(events)) == ("progress", 1)
            web.complete(request)
            assert next(events).name == "completed"


def test_previews_are_wanted_while_somebody_follows(web: Website, http: httpx2.Client) -> None:
    web.submit()
    request = web.claim()
    assert http.get(f"/v2/requests/{request.id}/status").json()["status"] == "PROCESSING"
    assert web.own.store.queue.previews.followed([request.id]) == set(), "a poll is no watching"
    with following(http, request.id) as events:
        next(events)
        until(lambda: web.own.store.queue.previews.followed([request.id]) == {request.id})


def test_silence_is_broken_by_comments(tmp_path: Path) -> None:
    with serving(tmp_path, events_heartbeat=0.05) as site, site.http() as client:
        request = site.submit()
        with following(client, request.id) as events:
            names = [next(events).name]
            while names.count("comment") < 2 or "queued" not in names:  # on a busy machine a comment may come first
                names.append(next(events).name)
            assert {*names} == {"queued", "comment"}


def test_an_end_that_could_not_be_told_is_told_by_the_next_look(tmp_path: Path, postgres: PostgresServer) -> None:
    with serving(tmp_path, database_url=postgres.fresh()) as site:
        site.submit()
        request = site.claim()
        site.complete(request)
        stream = Stream(site.own.store, site.own.files, site.own.runtime, request.id, site.account_id, site.address)
        seen = site.own.store.queue.poll({request.id: None}, positions=False).news[request.id]
        watch = Watch(request.id, follows=True)
        watch.known = seen.state
        with site.own.store.db.note() as tx:
            tx.execute(text("LOCK TABLE accounts"))  # what the account has left is told too
            with hurried(site.own.store.db, 0.5):
                assert stream.events(watch, seen) == []
        assert watch.known is None, "so that the next look tells it"
        assert [one.splitlines()[0] for one in stream.events(watch, seen)] == [b"event: completed"]


def test_a_client_that_reads_slowly_is_told_the_latest_preview_of_each_picture(web: Website) -> None:
    """However many looks found some meanwhile: nothing is kept for it but these."""
    web.submit()
    request, looks = web.claim(), web.own.store.queue
    watch = Watch(request.id, follows=True)
    for look in range(1, 9):
        web.own.store.queue.previews.put(request.id, [Preview(1, look, look % 2, look, b"jpeg")])
        web.step(request, 1 + look % 3)
        watch.take(looks.poll({request.id: watch.known}, positions=False))
    seen = asyncio.run(watch.next(0))
    assert seen
    assert {picture: preview.number for picture, preview in seen.previews.items()} == {0: 8, 1: 7}
    said = Stream(web.own.store, web.own.files, web.own.runtime, request.id, web.account_id, web.address).events(
        watch, seen
    )
    assert [one.splitlines()[0] for one in said] == [b"event: started", b"event: progress", *[b"event: preview"] * 2]


def test_whose_events_they_are(web: Website, http: httpx2.Client) -> None:
    request = web.submit()
    _, stranger = web.own.store.accounts.keys.create(web.own.store.accounts.create("other", 0).id, "key")
    for secret, status in ((stranger, 404), ("SG_unknown0000000", 401)):
        with web.http(secret) as client:
            assert client.get(f"/v2/requests/{request.id}/events").status_code == status
    web.own.store.queue.cancel(request.id, web.account_id)
    assert [short(event) for event in told(http, request.id)] == [("failed", "cancelled")]
