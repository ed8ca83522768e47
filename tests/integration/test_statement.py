"""An account's ledger and usage as its owner asks for them: exact, by page and by day, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import func, select, update
from tests.acceptance.test_http_helpers import refused
from tests.databases import Databases, moved_clock
from tests.integration.website import Website, serving

from tintype.store.db.tables import history, requests


@pytest.fixture(scope="module", params=["sqlite_files", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    databases: Databases = request.getfixturevalue(request.param)
    with serving(tmp_path_factory.mktemp("statement"), database_url=databases.fresh()) as website:
        yield website


@pytest.fixture
def site(shared: Website) -> Iterator[Website]:
    """With an account of its own."""
    yield (website := Website(shared.server, shared.address))
    while (left := shared.own.store.leases.claim("w1", idle=True)) is not None:
        website.complete(left)


@pytest.fixture
def http(site: Website) -> Iterator[httpx2.Client]:
    with site.http() as client:
        yield client


def spend(site: Website) -> None:
    """A request that completed for $0.001, one that failed, one that waits; then $0.5 back to the operator."""
    site.submit()
    site.complete(site.claim())
    site.submit()
    failed = site.claim()
    site.own.store.leases.fail(failed.id, failed.attempt, "no such picture", 400)
    site.submit("sd3-med-img2img")
    site.own.store.accounts.credit(site.account_id, -500_000, "refund")


def read(http: httpx2.Client, path: str, **query: object) -> dict[str, Any]:
    answer = http.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_every_row_has_the_balance_after_it(site: Website, http: httpx2.Client) -> None:
    spend(site)
    page = read(http, "/v2/ledger")
    told = [(row["kind"], row["amount"], row["balance"], row["note"]) for row in page["data"]]
    assert told == [("adjust", -0.5, 0.499, "refund"), ("settle", -0.001, 0.999, None), ("grant", 1.0, 1.0, None)]
    assert (page["total"], page["total_pages"]) == (3, 1)
    every = read(http, "/v2/ledger", entries="all")
    kinds = [row["kind"] for row in every["data"]]
    assert kinds == ["adjust", "hold", "release", "hold", "settle", "hold", "grant"]
    assert {row["balance"] for row in every["data"]} == {1.0, 0.999, 0.499}
    second = read(http, "/v2/ledger", entries="all", per_page=2, page=2)
    assert second["data"] == every["data"][2:4]
    assert read(http, "/v2/ledger", page=9)["data"] == []


def test_a_day_ends_with_a_balance(site: Website, http: httpx2.Client) -> None:
    spend(site)
    days = read(http, "/v2/ledger/days")["days"]
    today = datetime.now(UTC).date().isoformat()
    assert len(days) == 31
    assert days[-1] == {"date": today, "given": 1.0, "taken": 0.501, "balance": 0.499}
    assert {day["balance"] for day in days[:-1]} == {0.0}
    later = (datetime.now(UTC) + timedelta(days=3)).date().isoformat()
    ahead = read(http, "/v2/ledger/days", from_date=later, to_date=later)["days"]
    assert ahead == [{"date": later, "given": 0.0, "taken": 0.0, "balance": 0.499}]


def test_usage_is_the_same_before_and_after_the_records_end(site: Website, http: httpx2.Client) -> None:
    spend(site)
    used = read(http, "/v2/usage")
    assert used["total"] == {"requests": 3, "completed": 1, "failed": 1, "cost": 0.001}
    today = datetime.now(UTC).date().isoformat()
    first, second = used["data"]
    assert first == {"date": today, "model_name": "sd1.5-img2img", **used["total"], "requests": 2}
    assert (second["model_name"], second["requests"], second["cost"]) == ("sd3-med-img2img", 1, 0.0)
    with moved_clock(site.own.store.db, site.own.runtime.settings.retention.record_ttl):
        site.clean_up()
    with site.own.store.db.read() as view:
        assert view.scalar(select(func.count()).where(history.c.account_id == site.account_id)) == 2
    assert read(http, "/v2/usage") == used


def test_a_day_begins_at_midnight_utc(site: Website, http: httpx2.Client) -> None:
    site.submit()
    site.submit()
    ids = [request.id for request in (site.claim(), site.claim())]
    midnight = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
    with site.own.store.db.write() as tx:
        for id, moment in zip(ids, (midnight - 0.001, midnight), strict=True):
            tx.execute(update(requests).where(requests.c.id == id).values(submitted_at=moment))
    used = read(http, "/v2/usage", from_date="2026-02-20", to_date="2026-03-05")["data"]
    assert [row["date"] for row in used] == ["2026-02-28", "2026-03-01"]


def test_nobody_elses(site: Website) -> None:
    spend(site)
    other = site.own.store.accounts.create("two", 0).id
    with site.http(site.own.store.accounts.keys.create(other, "key", read_only=True)[1]) as client:
        assert read(client, "/v2/ledger")["total"] == 0
        assert read(client, "/v2/usage")["data"] == []
        assert {day["balance"] for day in read(client, "/v2/ledger/days")["days"]} == {0.0}


@pytest.mark.parametrize("path", ["/v2/ledger/days", "/v2/usage"])
def test_a_window_has_an_end(http: httpx2.Client, path: str) -> None:
    refused(http.get(path, params={"from_date": "2024-01-01", "to_date": "2026-01-01"}), 400, "from_date")
    refused(http.get("/v2/ledger", params={"entries": "some"}), 400, "balance, all")
