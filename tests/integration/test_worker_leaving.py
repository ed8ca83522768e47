"""How a worker leaves that is told to stop while its database is away."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from tests.databases import migrated
from tests.stores import store_on

from tintype.errors import StoreUnavailable
from tintype.media.storage import Files
from tintype.store.db.database import Database
from tintype.telemetry.logs import ProcessLog
from tintype.worker.heartbeat import Heartbeat
from tintype.worker.inputs import Inputs
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.previews import PreviewRenderer


def test_a_heart_stops_while_the_database_is_away(tmp_path: Path) -> None:
    """As it was asked to: a StoreUnavailable would end the process with an error, before it has closed what is open."""
    folder = tmp_path / "database"
    folder.mkdir()
    migrated(url := f"sqlite:///{folder}/store.db")
    db = Database(url)
    store, safety, nothing = store_on(db, lease=15, retention=60), SafetyFilter(None), cast(Inputs, None)
    outputs = Outputs(store.leases, Files(tmp_path, 60), safety, with_recipe=False)
    config = WorkerConfig(id="w1", max_images=1, max_rows=1, poll=1, grace=1, heartbeat=3600)
    worker, process_log = Worker(store, ModelPool("cpu", "float32", 32, {}), nothing, outputs, config), ProcessLog()
    with Heartbeat(worker, PreviewRenderer(store.queue.previews, safety), process_log) as heartbeat:
        assert [one.id for one in store.ops.workers.alive(60)] == ["w1"]
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(StoreUnavailable):
            heartbeat.send()
    assert (worker._claiming, process_log._reason) == (True, "done"), "it was neither stopped nor drained"
    db.close()
