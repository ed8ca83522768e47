"""What accounts used, for operators: sums that agree with the ledger to the micro-dollar, however they are split."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import insert
from tests.acceptance.harness import here, words
from tests.databases import statements
from tests.integration.website import Website, serving
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.errors import NotFound
from tintype.store.billing.ledger import lines
from tintype.store.billing.reports import SPLITS, AccountUsage, BillingReports, Window
from tintype.store.db.database import Database, read_clock
from tintype.store.db.records import Entry, Status
from tintype.store.db.tables import history, ledger

DAY = 86_400.0
LIFE = 90 * DAY
TODAY = datetime.now(UTC).date()


class Books:
    """What two tenants used, whose requests ended at any time."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.tenants = [Tenant(store_on(db), name=name) for name in ("a", "b")]
        self.ids = [one.account_id for one in self.tenants]
        self.keys = {one.account_id: [one.new_key(name) for name in ("x", "y")] for one in self.tenants}
        self.accounting = BillingReports(db, LIFE)

    def end(
        self, account: str, at: float, cost: int = 0, slug: str = "m", key: str = "", *, known: bool = True
    ) -> None:
        """A request that was charged at this moment, or (cost 0) was free; not known: its history is over."""
        id = str(uuid4())
        of = {"account_id": account, "request_id": id, "key_id": key or self.keys[account][0].id, "created_at": at}
        with self.db.write() as tx:
            if cost:
                tx.execute(insert(ledger).values(**of, kind=Entry.HOLD, balance=0, held=cost + 1))
                tx.execute(insert(ledger).values(**of, kind=Entry.SETTLE, balance=-cost, held=-cost - 1))
            if known:
                moments = {"submitted_at": at - 90_000, "ended_at": at}
                own = {"id": id, "account_id": account, "slug": slug, "params": {}, "status": Status.COMPLETED}
                tx.execute(insert(history).values(**own, **moments, cost=cost))

    def use(self, first: date, last: date, by: Any = None, account: str = "", **page: int) -> list[AccountUsage]:
        return self.accounting.usage(Window.of(first, last), by, account, **page)[0]


def at(day: date, seconds: float = 0.0) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() + seconds


def test_every_split_sums_to_the_ledger_to_the_micro_dollar(db: Database) -> None:
    books, chance = Books(db), random.Random(7)
    first, last = date(2024, 1, 30), date(2024, 3, 2)
    for _ in range(60):
        account = chance.choice(books.ids)
        moment = at(first - timedelta(2)) + chance.random() * 36 * DAY
        key = chance.choice(books.keys[account]).id
        books.end(account, moment, chance.randrange(1, 10**6), chance.choice("mn"), key, known=chance.random() < 0.5)
    for moment in (at(first), at(last, DAY - 1e-4), at(first, -1e-4), at(last + timedelta(1))):  # two in, two out
        books.end(books.ids[0], moment, 333_333)
    with db.read() as view:
        rows = [line for id in books.ids for line in lines(view, id, 1000) if line.kind is Entry.SETTLE]
    inside = [line for line in rows if at(first) <= line.created_at < at(last) + DAY]
    assert len(rows) > len(inside) > 40
    for by in (None, *SPLITS):
        used, total = books.accounting.usage(Window.of(first, last), by)
        for id in books.ids:
            own = [one for one in used if one.account_id == id]
            assert sum(one.cost for one in own) == -sum(line.balance for line in inside if line.account_id == id)
            assert sum(one.charged for one in own) == len([line for line in inside if line.account_id == id])
            assert sum(one.cost for one in books.use(first, last, by, id)) == sum(one.cost for one in own)
        assert total == (len(used), len(inside), -sum(line.balance for line in inside), 0)
        assert len({(one.account_id, one.part) for one in used}) == len(used)
    days = {(one.account_id, one.part): one.cost for one in books.use(first, last, "day")}
    months = {(one.account_id, one.part): one.cost for one in books.use(first, last, "month")}
    keys = {(one.account_id, one.part): one.cost for one in books.use(first, last, "key")}
    for line in inside:
        when = datetime.fromtimestamp(line.created_at, UTC)
        days[line.account_id, when.date().isoformat()] += line.balance
        months[line.account_id, f"{when:%Y-%m}"] += line.balance
        keys[line.account_id, line.key_id] += line.balance
    assert {*days.values(), *months.values(), *keys.values()} == {0}
    assert {part for _, part in months} == {"2024-01", "2024-02", "2024-03"}
    assert {one.key for one in books.use(first, last, "key")} == {
        f"{key.hint}… {key.name}" for keys in books.keys.values() for key in keys
    }
    assert {one.part for one in books.use(first, last, "model")} == {"m", "n", None}


def test_counts_of_requests_are_told_for_as_long_as_all_of_them_are_known(db: Database) -> None:
    books = Books(db)
    with db.read() as view:
        now = datetime.fromtimestamp(read_clock(view), UTC).date()
    horizon = now - timedelta(90)  # today's first moment is later than this day's, so that it isn't known whole
    books.end(books.ids[0], at(horizon, DAY + 5), 5)
    books.end(books.ids[0], at(horizon, 5), 5)
    days = {one.part: (one.charged, one.completed) for one in books.use(horizon, now, "day")}
    assert days == {horizon.isoformat(): (1, None), (horizon + timedelta(1)).isoformat(): (1, 1)}
    [whole] = books.use(horizon, now)
    assert (whole.charged, whole.completed, whole.failed) == (2, None, None)
    [known] = books.use(horizon + timedelta(1), now)
    assert (known.charged, known.completed, known.failed) == (1, 1, 0)
    assert books.use(horizon + timedelta(1), now, "key")[0].completed is None


def test_requests_of_every_end_live_and_test_count_apart(db: Database) -> None:
    books = Books(db)
    tenant = books.tenants[0]
    for test, price, ends in ((False, 37, 3), (True, 0, 2)):
        for number in range(ends):
            tenant.submit("m", price=price, test=test)
            claimed = tenant.claim(test=test)
            if number:
                tenant.complete(claimed)
            else:
                tenant.fail(claimed)
    tenant.submit("m", price=37)  # waits: no use yet
    live, test = books.use(TODAY - timedelta(1), TODAY + timedelta(1), account=tenant.account_id)
    assert (live.test, live.charged, live.cost, live.uncharged, live.completed, live.failed) == (False, 2, 74, 1, 2, 1)
    assert (test.test, test.charged, test.cost, test.uncharged, test.completed, test.failed) == (True, 0, 0, 0, 1, 1)
    assert test.name == "a (test)"
    with pytest.raises(NotFound, match="Account nobody not found"):
        books.use(TODAY, TODAY, account="nobody")


def test_pages_and_who_paid_most_first(db: Database) -> None:
    books = Books(db)
    day = date(2024, 5, 5)
    books.end(books.ids[0], at(day), 5)
    books.end(books.ids[1], at(day), 6)
    window = Window.of(day, day)
    pages = [books.accounting.usage(window, size=1, page=page) for page in (1, 2, 3)]
    assert [[one.name for one in rows] for rows, _ in pages] == [["b"], ["a"], []]
    assert {total for _, total in pages} == {(2, 2, 11, 0)}


def test_the_index_serves_a_month_of_all_accounts(db: Database) -> None:
    """Else a look at this month would read the ledger of all years."""
    if db.kind == "postgresql":
        pytest.skip("PostgreSQL reads a small table whole, whatever indexes there are")
    with statements(db) as said:
        Books(db).use(date(2024, 5, 1), date(2024, 5, 31))
    statement, parameters = said[-1]
    with db.read() as view:
        plan = view.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()
    assert "ix_ledger_ended" in str(plan)


def test_the_command_line_and_a_spreadsheet(tmp_path: Path) -> None:
    here("accounts", "create", "--name", "one", "--data", tmp_path)
    db = Database(f"sqlite:///{tmp_path}/tintype.db")
    books = Books(db)
    books.end(books.ids[0], at(date(2024, 5, 31), DAY - 1), 3_700, "m")
    books.end(books.ids[0], at(date(2024, 6, 1)), 1, "m")
    db.close()

    def said(*arguments: object) -> str:
        result = here("accounts", "usage", "--data", tmp_path, *arguments)
        assert result.exit_code == 0, result.output
        return result.stdout

    may = ("--from", "2024-05-01", "--to", "2024-05-31")
    [row] = csv.DictReader(io.StringIO(said(*may, "--csv")))
    assert row == {
        **{"account": books.ids[0], "name": "a", "mode": "live", "charged": "1", "cost": "0.0037", "uncharged": "0"},
        **{"completed": "", "failed": ""},
    }
    [row] = json.loads(said(*may, "--json"))
    assert (row["cost"], row["completed"]) == (0.0037, None)
    both = json.loads(said("--from", "2024-05-31", "--to", "2024-06-01", "--by", "month", "--json"))
    assert [(row["month"], row["cost"]) for row in both] == [("2024-05", 0.0037), ("2024-06", 0.000001)]
    [row] = json.loads(said("--by", "key", *may, books.ids[0], "--json"))
    assert (row["key"], row["key name"]) == (books.keys[books.ids[0]][0].id, f"{books.keys[books.ids[0]][0].hint}… x")
    assert said("--to", "2024-06-30").splitlines()[1].split()[:4] == [books.ids[0], "a", "live", "1"], "that month"
    assert said("--csv").splitlines() == ["account,name,mode,charged,cost,uncharged,completed,failed"]
    for first, last in (("2024-06-02", "2024-06-01"), ("1969-12-31", "1970-01-02"), ("9999-01-01", "9999-12-31")):
        failed = here("accounts", "usage", "--from", first, "--to", last, "--by", "month", "--data", tmp_path)
        assert words(failed).startswith(f"--from: '{first}' was sent; allowed: a day from 1970 on")
    assert words(here("accounts", "usage", "nobody", "--data", tmp_path)) == "Account nobody not found"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("accounting")) as website:
        yield website


def test_operators_ask_over_the_api(site: Website) -> None:
    boss = site.own.store.accounts.keys.create(site.account_id, "boss", operator=True)[1]
    request = site.submit()
    site.complete(site.claim())
    cost = site.own.store.queue.find(request.id, site.account_id).billing.cost
    assert cost == 1_000
    with site.http(boss) as http:
        own = {"account": site.account_id, "name": "one", "mode": "live", "part": None, "key": None}
        counts = {"charged": 1, "cost": 0.001, "uncharged": 0, "completed": 1, "failed": 0}
        answer = http.get("/v2/operator/usage").json()
        assert answer["data"] == [own | counts]
        assert (answer["total_charged"], answer["total_cost"], answer["total"], answer["total_pages"]) == (
            1,
            0.001,
            1,
            1,
        )
        [row] = http.get("/v2/operator/usage", params={"by": "model", "account": site.account_id}).json()["data"]
        assert (row["part"], row["cost"]) == ("sd1.5-img2img", 0.001)
        [row] = http.get("/v2/operator/usage?by=day").json()["data"]
        assert row["part"] == row["part"][:10] == answer["to"]
        before = http.get("/v2/operator/usage?from=2024-01-01&to=2024-12-31").json()
        assert (before["data"], before["from"], before["to"]) == ([], "2024-01-01", "2024-12-31")
        refused = ("from=2024-01-01&to=2025-01-01", "from=2024-02-01&to=2024-01-01", "by=hour", "per_page=101", "to=x")
        for query in (*refused, "from=9999-01-01&to=9999-12-31&by=month", "from=1969-01-01&to=1969-02-01"):
            assert http.get(f"/v2/operator/usage?{query}").status_code == 400, query
        assert http.get("/v2/operator/usage?account=nobody").status_code == 404
