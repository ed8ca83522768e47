"""How a worker leaves that is told to stop while its database is away."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.databases import migrated

from tintype.engine import Engine
from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database
from tintype.store.ops.workers import Workers
from tintype.store.queue.previews import Previews
from tintype.store.queue.requests import Requests
from tintype.worker.heartbeat import Heartbeat
from tintype.worker.previews import PreviewRenderer


def test_a_heart_stops_while_the_database_is_away(tmp_path: Path) -> None:
    """As it was asked to: a StoreUnavailable would end the process with an error, before it has closed what is open."""
    folder = tmp_path / "database"
    folder.mkdir()
    migrated(url := f"sqlite:///{folder}/store.db")
    db = Database(url)
    workers = Workers(db)
    requests = Requests(db, lease=15, retention=60)
    looker = PreviewRenderer(Previews(db), lambda *_: False)
    told: list[str] = []
    heart = Heartbeat(
        "w1",
        "cpu",
        requests,
        workers,
        {},
        Engine(1),
        looker,
        lambda: {},
        3600,
        None,
        lambda: told.append("stop"),
        lambda: told.append("drain"),
    )
    with heart:
        assert [one.id for one in workers.alive(60)] == ["w1"]
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailable):
            heart.beat()
    assert told == []
    db.close()
