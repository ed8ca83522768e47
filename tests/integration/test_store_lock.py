"""Who gets SQLite's lock: processes that share a file write by turns, however much one of them has to write."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database

TURNS = 30


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[Database, Database]]:
    """As two processes have them: they share nothing but the file."""
    busy, other = (Database(f"sqlite:///{tmp_path / 'shared.db'}") for _ in range(2))
    with busy.write() as tx:
        tx.execute(text("CREATE TABLE turns (who TEXT)"))
    yield busy, other
    busy.close()
    other.close()


def put(db: Database, who: str, disk: float = 0.0) -> None:
    """disk: seconds that it takes."""
    with db.write() as tx:
        tx.execute(text("INSERT INTO turns VALUES (:who)"), {"who": who})
        time.sleep(disk)


def count(db: Database) -> int:
    with db.read() as view:
        return view.execute(text("SELECT count(*) FROM turns")).scalar_one()


def test_processes_write_by_turns(two: tuple[Database, Database]) -> None:
    """Between two changes of one, eight threads of the other make a few, not hundreds."""
    busy, other = two
    over = threading.Event()

    def storm() -> None:
        while not over.is_set():
            put(busy, "busy", 0.01)

    threads = [threading.Thread(target=storm) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        while count(busy) == 0:
            time.sleep(0.01)
        for _ in range(TURNS):
            put(other, "other")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    with busy.read() as view:
        written = view.scalars(text("SELECT who FROM turns ORDER BY rowid")).all()
    mine = [place for place, who in enumerate(written) if who == "other"]
    between = [later - earlier - 1 for earlier, later in pairwise(mine)]
    # Nearly always one or none; without the queue hundreds at a time, or none at all.
    assert max(between) <= 50, between
    assert sum(between) >= 3, between


def test_who_stays_at_the_head_of_the_queue_stops_nobody(two: tuple[Database, Database], tmp_path: Path) -> None:
    """A process that was frozen there, say."""
    held = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    for db in two:
        put(db, "past it")
    os.close(held)


def test_a_process_has_one_writer_at_a_time(two: tuple[Database, Database], tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'shared.db'}", timeout=0.05)
    with db.write(), pytest.raises(StoreUnavailable), db.note():
        pass
    with db.note():
        assert count(db) == 0, "reading goes on"
    db.close()
