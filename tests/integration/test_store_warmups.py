"""Which models are to be loaded and which are: asked by one process, answered by another."""

from __future__ import annotations

from tintype.store.db.database import Database
from tintype.store.db.records import PreloadState
from tintype.store.ops.preload import Preloads
from tintype.store.ops.processes import Workers

BOTH = ("w1", "w2")


def test_every_worker_answers_for_itself(db: Database) -> None:
    warmups = Preloads(db)
    warmups.ask("sd3", BOTH)
    warmups.ask("sd15", ["w1"])
    assert (warmups.asked("w1"), warmups.asked("w2")) == (["sd3", "sd15"], ["sd3"])
    warmups.answer("w1", "sd3", PreloadState.WARM, seconds=2.5)
    warmups.answer("w2", "sd3", PreloadState.FAILED, error="no such folder")
    assert (warmups.asked("w1"), warmups.asked("w2")) == (["sd15"], [])
    seen = [(one.worker, one.state, one.seconds, one.error) for one in warmups.of("sd3", BOTH)]
    assert seen == [("w1", PreloadState.WARM, 2.5, None), ("w2", PreloadState.FAILED, None, "no such folder")]
    assert [one.worker for one in warmups.of("sd3", ["w2"])] == ["w2"]


def test_asking_again_repeats_what_is_over_and_leaves_what_is_under_way(db: Database) -> None:
    warmups = Preloads(db)
    warmups.ask("sd3", BOTH)
    warmups.answer("w1", "sd3", PreloadState.WARM, seconds=2.5)
    [_, waiting] = warmups.of("sd3", BOTH)
    warmups.ask("sd3", BOTH)
    assert [one.state for one in warmups.of("sd3", BOTH)] == [PreloadState.WARMING] * 2
    assert warmups.of("sd3", BOTH)[1] == waiting


def test_a_worker_s_models_are_forgotten_with_it(db: Database) -> None:
    warmups, workers = Preloads(db), Workers(db)
    workers.heartbeat("w1", "cpu", 0, 0)
    warmups.answer("w1", "sd3", PreloadState.WARM)
    warmups.answer("w2", "sd3", PreloadState.WARM)
    warmups.expire()
    assert [one.worker for one in warmups.of("sd3", BOTH)] == ["w1"]
