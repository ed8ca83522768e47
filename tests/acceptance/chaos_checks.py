"""What must be true after the chaos: read from the database, and from what callers were told."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import httpx2
from PIL import Image
from sqlalchemy import Row, select

from tests.acceptance.chaos_load import Told
from tests.acceptance.chaos_plan import FIRST_SEED, KEYS, Ask, Keys
from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.ledger import missed
from tintype.store.db.database import Database
from tintype.store.db.records import Entry, Status
from tintype.store.db.tables import accounts, ledger, requests
from tintype.testmode.scenario import FAILURES

#: Why a live request may fail here: nobody wanted it any more, or it was in three workers that were killed.
REASONS = {"cancelled", "gave up after 3 attempts"}
ATTEMPTS = 3

Rows = Sequence[Row[Any]]


@dataclass(frozen=True)
class Aftermath:
    """The database after the last request has ended."""

    rows: Rows
    entries: Rows
    accounts: Rows
    keys: Keys

    @classmethod
    def read(cls, db: Database, keys: Keys) -> Aftermath:
        """All that is looked at, in one state; sums that are kept beside rows must agree with them."""
        assert not Accounts(db).imbalances()
        with db.read() as view:
            assert missed(view) == 0
            return cls(*(view.execute(select(table)).all() for table in (requests, ledger, accounts)), keys)

    def of_key(self, name: str) -> Rows:
        """The requests of one key."""
        return [row for row in self.rows if self.keys.ids[row.key_id] == name]

    @property
    def completed(self) -> Rows:
        """The requests that were COMPLETED."""
        return [row for row in self.rows if row.status is Status.COMPLETED]

    @property
    def failed(self) -> Rows:
        """The requests that FAILED."""
        return [row for row in self.rows if row.status is Status.FAILED]

    def check(self, told: Sequence[Told]) -> None:
        """All that needs no server."""
        self._every_request_has_ended()
        self._nothing_was_lost_or_doubled(told)
        self._callers_were_told_the_truth(told)
        self._charges_are_completions()
        for key in KEYS:
            self._no_limit_was_passed(key)

    def _every_request_has_ended(self) -> None:
        assert len(self.completed) + len(self.failed) == len(self.rows)
        for row in self.rows:
            assert 0 <= row.attempt - row.hand_backs <= ATTEMPTS
            assert row.submitted_at <= row.ended_at
        for row in self.failed:
            allowed = {failing.error for failing in FAILURES.values()} if row.test else REASONS
            assert row.error in allowed, row.error

    def _nothing_was_lost_or_doubled(self, told: Sequence[Told]) -> None:
        """Each ask is one row at most, and exactly one where a caller was given an id for it."""
        of_ask = Counter(row.params["seed"] - FIRST_SEED for row in self.rows)
        assert set(of_ask) <= {one.ask.number for one in told}
        assert set(of_ask.values()) <= {1}
        ids = {row.id for row in self.rows}
        for one in told:
            assert one.ids <= ids, f"accepted, but not there: {one}"
            assert len(one.ids) <= 1, f"sent twice, and run twice: {one}"
            if one.ids:
                assert of_ask[one.ask.number] == 1
            elif one.refused is not None:
                assert of_ask[one.ask.number] == 0, f"refused, but queued: {one}"
            else:
                assert one.lost, f"no answer at all: {one}"
                assert one.ask.once is None, f"lost in spite of its idempotency key: {one}"

    def _callers_were_told_the_truth(self, told: Iterable[Told]) -> None:
        states = {row.id: row.status for row in self.rows}
        for one in told:
            if one.ask.refused is not None:
                assert one.refused == one.ask.refused, one
            if one.end is not None:
                assert {states[id] for id in one.ids} == {one.end}, one

    def _charges_are_completions(self) -> None:
        """Every completed live request was charged its cost, once, and nothing else was charged to anybody."""
        charged = {entry.request_id: -entry.balance for entry in self.entries if entry.kind is Entry.SETTLE}
        assert charged == {row.id: row.cost for row in self.completed if not row.test}
        assert sum(entry.kind is Entry.SETTLE for entry in self.entries) == len(charged)
        for account in self.accounts:
            own = [entry for entry in self.entries if entry.account_id == account.id]
            given = sum(entry.balance for entry in own if entry.kind is Entry.GRANT)
            paid = sum(charged[entry.request_id] for entry in own if entry.kind is Entry.SETTLE)
            assert (account.balance, account.held) == (given - paid, 0)
            assert account.balance >= 0

    def _no_limit_was_passed(self, key: str) -> None:
        """At any time: rows begin and end under one lock and on one clock, so their moments tell all that ever was."""
        rows, (_, limits) = self.of_key(key), KEYS[key]
        if most := limits.get("concurrency"):
            assert _highest((row.submitted_at, row.ended_at, 1) for row in rows) <= most
        if most := limits.get("max_queued"):
            assert _highest((row.submitted_at, row.ended_at, row.pictures) for row in rows) <= most
        if rpm := limits.get("rpm"):
            _check_bucket(sorted(row.submitted_at for row in rows), rpm)

    def figures(self) -> dict[str, object]:
        """What became of it all."""
        why = Counter(f"failed: {row.error}" for row in self.failed if not row.test)
        return {
            "requests": len(self.rows),
            "of test keys": sum(row.test for row in self.rows),
            "completed": len(self.completed),
            **why,
            "tried again": sum(row.attempt - row.hand_backs > 1 for row in self.rows),
            "charges": sum(entry.kind is Entry.SETTLE for entry in self.entries),
            "dollars charged": -sum(entry.balance for entry in self.entries if entry.kind is Entry.SETTLE) / 1e6,
        }


def check_pictures(rows: Rows, asks: Sequence[Ask], address: str) -> int:
    """Fetch and decode every picture of the completed requests; how many there are."""
    number = 0
    with httpx2.Client(base_url=address, timeout=60) as http:
        for row in rows:
            pictures = row.result["pictures"]
            assert len(pictures) == asks[row.params["seed"] - FIRST_SEED].pictures
            for picture in pictures:
                file = http.get(f"/files/{picture['name']}")
                assert file.is_success, f"{row.id} has no picture: {file.text}"
                with Image.open(io.BytesIO(file.content)) as image:
                    image.load()
                    assert image.size == (picture["width"], picture["height"])
                number += 1
    return number


def _highest(lives: Iterable[tuple[float, float, int]]) -> int:
    """The most that there ever was at once, of (from, until, weight)."""
    changes = [change for start, end, weight in lives for change in ((start, weight), (end, -weight))]
    there = highest = 0
    for _, change in sorted(changes):  # at the same moment, what ends goes first
        there += change
        highest = max(highest, there)
    return highest


def _check_bucket(moments: Sequence[float], rpm: int) -> None:
    """A bucket of `rpm` tokens which fills within a minute lets through no more than these, in any span of time."""
    for (i, first), (j, last) in combinations(enumerate(moments), 2):
        assert j - i + 1 <= rpm + (last - first) * rpm / 60 + 1e-3
