"""Contract, section 2: what is sent again with its Idempotency-Key is run once, charged once, answered alike."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlalchemy import select
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import MEDIUM, TEXT, gradient, quick, refused
from tests.integration.website import RESULT, Website, serving
from tests.stores import a_result

from tintype.store.db.records import Entry, Status
from tintype.store.db.tables import ledger, requests

ONCE = {"idempotency-key": "order-7"}
#: What is true of the moment, not of the request.
OF_THE_MOMENT = {"date", "x-remaining-credits", "idempotent-replayed"}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    with serving(tmp_path, sync_timeout=60) as site:
        yield site


def told(response: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    """Everything of an answer that must stay as it is."""
    headers = {name: value for name, value in response.headers.items() if name not in OF_THE_MOMENT}
    return response.status_code, response.content, headers


def replayed(response: httpx2.Response) -> bool:
    return response.headers.get("idempotent-replayed") == "true"


def rows(site: Website) -> list[Any]:
    with site.own.store.db.read() as view:
        return view.execute(select(requests).order_by(requests.c.seq)).all()


def charges(site: Website) -> list[Entry]:
    assert site.own.store.accounts.imbalances() == []
    with site.own.store.db.read() as view:
        return list(view.scalars(select(ledger.c.kind).where(ledger.c.request_id.is_not(None)).order_by(ledger.c.id)))


def finish(site: Website, count: int = 1) -> None:
    """Play the worker: claim the only request and complete it with pictures."""
    request = site.claim()
    names = [site.own.files.outputs.put(b"picture %d" % index, "png") for index in range(count)]
    made = [{"name": name, "size": 9, "width": 64, "height": 32, "seed": 7} for name in names]
    assert site.own.store.leases.complete(request.id, request.attempt, a_result(**{**RESULT, "pictures": made}), 4)


def post_in_background(pool: ThreadPoolExecutor, site: Website, **body: Any) -> Future[httpx2.Response]:
    """A v1 call under way; returns when its request is queued."""

    def post() -> httpx2.Response:
        with site.http() as http:
            return http.post(f"/v1/{TEXT}", json=quick(**body), headers=ONCE)

    future = pool.submit(post)
    until(lambda: rows(site), 20)
    return future


def test_a_submit_is_answered_alike_while_it_runs_after_its_end_and_after_a_restart(
    site: Website, tmp_path: Path
) -> None:
    body = quick(x=1, seed=-1)
    with site.http() as http:
        first = http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
        assert first.status_code == 200
        assert not replayed(first)
        assert first.headers["x-ignored-parameters"] == "x"
        queued = http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
        finish(site)
        ended = http.post(f"/v2/{TEXT}", json=dict(reversed(body.items())), headers=ONCE)
    with serving(tmp_path) as restarted, restarted.http(site.secret) as http:
        elsewhere = http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
    for again in (queued, ended, elsewhere):
        assert told(again) == told(first)
        assert replayed(again)
    assert len(rows(site)) == 1
    assert charges(site) == [Entry.HOLD, Entry.SETTLE]


@pytest.mark.parametrize(
    ("body", "pictures", "kind"),
    [({}, 1, "image/png"), ({"base64": True}, 1, "application/json"), ({"batch_size": 2}, 2, "application/json")],
)
def test_a_v1_call_is_409_while_it_runs_and_then_answered_alike(
    site: Website, body: dict[str, Any], pictures: int, kind: str
) -> None:
    with ThreadPoolExecutor() as pool, site.http() as http:
        under_way = post_in_background(pool, site, **body)
        early = http.post(f"/v1/{TEXT}", json=quick(**body), headers=ONCE)
        refused(early, 409)
        assert (early.headers["x-should-retry"], early.headers["x-request-id"]) == ("true", rows(site)[0].id)
        finish(site, pictures)
        first = under_way.result()
        assert (first.status_code, first.headers["content-type"], replayed(first)) == (200, kind, False)
        for again in [http.post(f"/v1/{TEXT}", json=quick(**body), headers=ONCE) for _ in range(2)]:
            assert told(again) == told(first)
            assert replayed(again)
    assert len(rows(site)) == 1
    assert charges(site) == [Entry.HOLD, Entry.SETTLE]


def test_a_failure_is_answered_alike_too(site: Website) -> None:
    with ThreadPoolExecutor() as pool, site.http() as http:
        under_way = post_in_background(pool, site)
        request = site.claim()
        site.own.store.leases.fail(request.id, request.attempt, "not a public address", 400)
        again = http.post(f"/v1/{TEXT}", json=quick(), headers=ONCE)
        assert told(again) == told(under_way.result())
        assert (again.status_code, replayed(again)) == (400, True)
    assert charges(site) == [Entry.HOLD, Entry.RELEASE]


def test_another_body_or_address_is_422_and_costs_nothing(site: Website) -> None:
    with site.http() as http:
        first = http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE)
        for path, body in ((f"/v2/{TEXT}", quick(seed=1)), (f"/v1/{TEXT}", quick()), (f"/v2/{MEDIUM}", quick())):
            refusal = http.post(path, json=body, headers=ONCE)
            refused(refusal, 422, "Idempotency-Key")
            assert refusal.headers["x-request-id"] == first.json()["request_id"]
    assert charges(site) == [Entry.HOLD]


def test_a_form_is_known_again_although_its_bytes_differ(site: Website) -> None:
    form = {"data": {"prompt": "a fox"}, "files": {"image": ("a.png", gradient(64, 64))}, "headers": ONCE}
    with site.http() as http:
        first, again = (http.post(f"/v2/{MEDIUM}", **form) for _ in range(2))
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert told(first) == told(again)
    assert len(list(site.own.runtime.settings.inputs_folder.iterdir())) == 1


def test_many_at_once_are_one(site: Website) -> None:
    body = {"prompt": "a fox", "image": base64.b64encode(gradient(64, 64)).decode()}

    def post(_: int) -> httpx2.Response:
        with site.http() as http:
            return http.post(f"/v2/{MEDIUM}", json=body, headers=ONCE)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(post, range(8)))
    assert len({response.content for response in made}) == 1
    assert sorted(map(replayed, made)) == [False] + [True] * 7
    assert (len(rows(site)), charges(site)) == (1, [Entry.HOLD])
    assert len(list(site.own.runtime.settings.inputs_folder.iterdir())) == 1


def test_another_api_key_s_are_its_own(site: Website) -> None:
    _, other = site.own.store.accounts.keys.create(site.account_id, "other")
    with site.http() as one, site.http(other) as two:
        made = {http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE).json()["request_id"] for http in (one, two)}
    assert len(made) == 2


def test_a_key_is_free_again_when_the_record_is_over(site: Website) -> None:
    with site.http() as http:
        first = http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE)
        finish(site)
        site.own.store.db.move_clock(site.own.runtime.settings.retention.record_ttl)
        again = http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE)
    assert not replayed(again)
    assert again.json()["request_id"] != first.json()["request_id"]


def test_whoever_can_ask_again_may_go_away(site: Website) -> None:
    with site.http() as http, pytest.raises(httpx2.ReadTimeout):
        http.post(f"/v1/{TEXT}", json=quick(), headers=ONCE, timeout=0.3)
    with site.http() as http, pytest.raises(httpx2.ReadTimeout):
        http.post(f"/v1/{TEXT}", json=quick(), timeout=0.3)
    until(lambda: [row.status for row in rows(site)] == [Status.QUEUED, Status.FAILED], 20)
    finish(site)
    with site.http() as http:
        assert http.post(f"/v1/{TEXT}", json=quick(), headers=ONCE).content == b"picture 0"


@pytest.mark.parametrize(("worker", "status"), [(True, 504), (False, 502)])
def test_whoever_can_ask_again_is_told_so_when_the_wait_runs_out(tmp_path: Path, worker: bool, status: int) -> None:
    with serving(tmp_path, sync_timeout=0.05) as site, site.http() as http:
        if worker:
            site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
        once, plain = (http.post(f"/v1/{TEXT}", json=quick(), headers=headers) for headers in (ONCE, {}))
        for response, again in ((once, "true"), (plain, "false")):
            refused(response, status)
            assert response.headers["x-should-retry"] == again
        refused(http.post(f"/v1/{TEXT}", json=quick(), headers=ONCE), 409)


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_a_key_that_is_none(site: Website, key: str) -> None:
    with site.http() as http:
        refused(http.post(f"/v2/{TEXT}", json=quick(), headers={"idempotency-key": key.encode()}), 400, "Idempotency")
    assert rows(site) == []
