"""Contract, section 2: what is sent again with its Idempotency-Key is run once, charged once, answered alike."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from tests.acceptance.contract.api import Api
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import MEDIUM, TEXT, gradient, quick, refused, result
from tests.clients import under_way
from tintype.store.db.records import Entry, Status
from tintype.store.db.tables import ledger, requests

ONCE = {"idempotency-key": "order-7"}
#: What is true of the moment, not of the request.
OF_THE_MOMENT = {"date", "x-remaining-credits", "idempotent-replayed"}


class Account:
    """A new account: its clients, what it has in the queue, what it was charged."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.key = api.new_key(1)
        self.http = api.http(self.key)
        self.id = str(self.http.get("/api/auth/authenticate").json()["id"])

    def post(self, version: str, **body: Any) -> httpx2.Response:
        """A call with the Idempotency-Key."""
        return self.http.post(f"/{version}/{TEXT}", json=quick(**body), headers=ONCE)

    def rows(self) -> list[Any]:
        with self.api.store.db.read() as view:
            mine = select(requests).where(requests.c.account_id == self.id)
            return view.execute(mine.order_by(requests.c.seq)).all()

    def charges(self) -> list[Entry]:
        assert list(self.api.store.accounts.imbalances()) == []
        mine = ledger.c.account_id == self.id, ledger.c.request_id.is_not(None)
        with self.api.store.db.read() as view:
            return list(view.scalars(select(ledger.c.kind).where(*mine).order_by(ledger.c.id)))

    def call(self, pool: ThreadPoolExecutor, **body: Any) -> Future[httpx2.Response]:
        """A v1 call under way; returns when its request is queued."""
        one = self.api.http(self.key)
        future = pool.submit(one.post, f"/v1/{TEXT}", json=quick(**body), headers=ONCE)
        until(self.rows)
        return future

    def end(self) -> None:
        """Cancel what is queued."""
        for row in self.rows():
            self.http.delete(f"/v2/requests/{row.id}")


@pytest.fixture
def account(api: Api) -> Iterator[Account]:
    one = Account(api)
    yield one
    one.end()


def told(response: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    """Everything of an answer that must stay as it is."""
    headers = {name: value for name, value in response.headers.items() if name not in OF_THE_MOMENT}
    return response.status_code, response.content, headers


def replayed(response: httpx2.Response) -> bool:
    return response.headers.get("idempotent-replayed") == "true"


def test_a_submit_is_answered_alike_while_it_runs_and_after_its_end(api: Api, account: Account) -> None:
    body = quick(x=1, seed=-1)
    with api.paused():
        first = account.http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
        assert first.status_code == 200
        assert not replayed(first)
        assert first.headers["x-ignored-parameters"] == "x"
        queued = account.http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
    result(account.http, first.json()["request_id"])
    ended = account.http.post(f"/v2/{TEXT}", json=dict(reversed(body.items())), headers=ONCE)
    for again in (queued, ended):
        assert told(again) == told(first)
        assert replayed(again)
    assert len(account.rows()) == 1
    assert account.charges() == [Entry.HOLD, Entry.SETTLE]


@pytest.mark.parametrize(
    ("body", "kind"),
    [({}, "image/png"), ({"base64": True}, "application/json"), ({"batch_size": 2}, "application/json")],
)
def test_a_v1_call_is_409_while_it_runs_and_then_answered_alike(
    api: Api, account: Account, body: dict[str, Any], kind: str
) -> None:
    with ThreadPoolExecutor() as pool:
        with api.paused():
            under_way = account.call(pool, **body)
            early = account.post("v1", **body)
            refused(early, 409)
            assert (early.headers["x-should-retry"], early.headers["x-request-id"]) == ("true", account.rows()[0].id)
        first = under_way.result()
    assert (first.status_code, first.headers["content-type"], replayed(first)) == (200, kind, False)
    for again in [account.post("v1", **body) for _ in range(2)]:
        assert told(again) == told(first)
        assert replayed(again)
    assert len(account.rows()) == 1
    assert account.charges() == [Entry.HOLD, Entry.SETTLE]


def test_a_failure_is_answered_alike_too(account: Account) -> None:
    asked = {"prompt": "a fox", "image": "http://127.0.0.1:9/a.png"}
    first, again = (account.http.post(f"/v1/{MEDIUM}", json=asked, headers=ONCE) for _ in range(2))
    refused(first, 400, "not a public address")
    assert told(again) == told(first)
    assert replayed(again)
    assert account.charges() == [Entry.HOLD, Entry.RELEASE]


def test_another_body_or_address_is_422_and_costs_nothing(api: Api, account: Account) -> None:
    with api.paused():
        first = account.post("v2")
        for path, body in ((f"/v2/{TEXT}", quick(seed=1)), (f"/v1/{TEXT}", quick()), (f"/v2/{MEDIUM}", quick())):
            refusal = account.http.post(path, json=body, headers=ONCE)
            refused(refusal, 422, "Idempotency-Key")
            assert refusal.headers["x-request-id"] == first.json()["request_id"]
        assert account.charges() == [Entry.HOLD]
        account.end()


def test_a_form_is_known_again_although_its_bytes_differ(api: Api, account: Account) -> None:
    form = {"data": {"prompt": "a fox"}, "files": {"image": ("a.png", gradient(64, 64))}, "headers": ONCE}
    with api.paused():
        before = set((api.data / "inputs").iterdir())
        first, again = (account.http.post(f"/v2/{MEDIUM}", **form) for _ in range(2))
        assert len(set((api.data / "inputs").iterdir()) - before) == 1
        account.end()
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert told(first) == told(again)


def test_many_at_the_same_time_are_one(api: Api, account: Account) -> None:
    body = {"prompt": "a fox", "image": base64.b64encode(gradient(64, 64)).decode()}

    def post(_: int) -> httpx2.Response:
        return api.http(account.key).post(f"/v2/{MEDIUM}", json=body, headers=ONCE)

    with api.paused(), ThreadPoolExecutor(8) as pool:
        before = set((api.data / "inputs").iterdir())
        made = list(pool.map(post, range(8)))
        assert len({response.content for response in made}) == 1
        assert sorted(map(replayed, made)) == [False] + [True] * 7
        assert (len(account.rows()), account.charges()) == (1, [Entry.HOLD])
        assert len(set((api.data / "inputs").iterdir()) - before) == 1
        account.end()


def test_another_api_key_s_are_its_own(api: Api, account: Account) -> None:
    _, other = api.store.accounts.keys.create(account.id, "other")
    with api.paused():
        made = {
            http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE).json()["request_id"]
            for http in (account.http, api.http(other))
        }
        account.end()
    assert len(made) == 2


def test_whoever_can_ask_again_may_go_away(api: Api, account: Account) -> None:
    with api.paused():
        for number, headers in enumerate((ONCE, {}), 1):
            with under_way(api.address, account.key, f"/v1/{TEXT}", quick(), headers):
                until(lambda number=number: len(account.rows()) == number)
        until(lambda: [row.status for row in account.rows()] == [Status.QUEUED, Status.FAILED])
    kept = result(account.http, account.rows()[0].id).json()
    assert account.post("v1").content == account.http.get(kept["output"]).content


@pytest.mark.rows
@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é"])
def test_a_key_that_is_none(account: Account, key: str) -> None:
    headers = {"idempotency-key": key.encode()}
    refused(account.http.post(f"/v2/{TEXT}", json=quick(), headers=headers), 400, "Idempotency")
    assert account.rows() == []
