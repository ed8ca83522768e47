"""The fake worker and the store: who claims what, what a restart changes, whose room is taken, and test keys."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import event, update
from tests.acceptance.harness import until
from tests.databases import SqliteFiles, place_of
from tests.stores import store_on
from tests.tenants import Tenant

from tintype.catalog.models import MODELS
from tintype.cli import tintype
from tintype.errors import MODEL_FAILED, BadRequest, NotFound, TooManyRequests
from tintype.media.storage import Files
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Ceilings, Key
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate
from tintype.store.db.records import Request, Status
from tintype.store.db.tables import requests as table
from tintype.store.queue.submit import Input
from tintype.testmode.fake_worker import FakeWorker
from tintype.testmode.images import FakeOutputs

PARAMS = {"prompt": "", "seed": 7, "width": 64, "height": 64, "steps": 4, "guidance_scale": 1.0, "batch_size": 1}
PARAMS |= {"sampler": "euler", "scheduler": "simple", "negative_prompt": "", "aspect_ratio": "custom"}
PARAMS |= {"image_format": "png", "image_quality": 95, "base64": False, "exact": False}


class Stage(Tenant):
    """A tenant, and fake workers that turn when they are told to."""

    def __init__(self, db: Database, folder: Path) -> None:
        asks = {"slug": "stable-diffusion-3.5-turbo-txt2img", "price": 500, "steps": 4}
        super().__init__(store_on(db, lease=60, retention=60, ceilings=Ceilings(queue=2)), 10_000, asks=asks)
        self.folder = folder
        self.test, self.test_secret = self.accounts.keys.create(self.account_id, "ci", test=True)

    def fake_worker(self, poll: float = 0) -> FakeWorker:
        files = Files(self.folder / "files", 60)
        return FakeWorker(
            self.store.leases,
            MODELS,
            FakeOutputs(self.store.queue.input_size, files, 10**6),
            heartbeat=0,
            accepted=threading.Event(),
            poll=poll,
        )

    def ask(self, prompt: str, key: Key | None = None, **changes: Any) -> Request:
        """A request of the test key's, or of this one's."""
        return self.submit(key=key or self.test, params=PARAMS | {"prompt": prompt}, **changes)


@pytest.fixture
def stage(tmp_path: Path, sqlite_files: SqliteFiles) -> Iterator[Stage]:
    """In a data folder, as the command line finds it."""
    db = Database(sqlite_files.put(tmp_path / "tintype.db"))
    yield Stage(db, tmp_path)
    db.close()


def test_neither_takes_the_others_and_only_live_ones_hold_money(stage: Stage) -> None:
    live, test = stage.ask("a fox", stage.key), stage.ask("a fox")
    assert (test.billing.price, test.test, live.billing.price, live.test) == (0, True, 500, False)
    stage.fake_worker().turn()
    assert (stage.find(test).status, stage.find(test).billing.cost) == (Status.COMPLETED, 0)
    assert stage.find(live).status is Status.QUEUED
    again = stage.ask("a fox")
    assert stage.claim().id == live.id
    assert stage.store.leases.claim("w1", idle=True) is None
    assert stage.find(again).status is Status.QUEUED
    assert stage.accounts.remaining(stage.account_id) == stage.accounts.remaining(stage.test.account_id) == 9_500
    assert stage.accounts.imbalances() == []


def test_a_fake_worker_that_stops_hands_back_and_another_goes_on_where_it_was(stage: Stage) -> None:
    request = stage.ask("test:processing:600")
    first, second = stage.fake_worker(), stage.fake_worker()
    first.turn()
    assert (stage.find(request).status, stage.find(request).attempt) == (Status.PROCESSING, 1)
    first.stop()
    assert (stage.find(request).status, stage.find(request).attempt) == (Status.QUEUED, 1)
    first.turn()
    assert stage.find(request).status is Status.QUEUED, "what has stopped claims nothing"
    stage.db.move_clock(600)
    second.turn()
    ended = stage.find(request)
    assert (ended.status, ended.attempt, ended.retries) == (Status.COMPLETED, 2, 0)


def test_a_fake_worker_takes_nothing_while_its_disk_refuses(stage: Stage) -> None:
    fake_worker, request = stage.fake_worker(), stage.ask("a fox")
    folder = stage.folder / "files"
    folder.rename(stage.folder / "away")
    fake_worker.turn()
    other = stage.ask("a fox")
    fake_worker.turn()
    waiting = stage.find(request)
    assert (waiting.status, waiting.attempt, waiting.retries) == (Status.QUEUED, 1, 0), "handed back, uncounted"
    assert (stage.find(other).status, stage.find(other).attempt) == (Status.QUEUED, 0), "and nothing was claimed since"
    (stage.folder / "away").rename(folder)
    until(lambda: not fake_worker._outputs.breaker.open)
    for _ in range(2):
        fake_worker.turn()
    assert {stage.find(one).status for one in (request, other)} == {Status.COMPLETED}


def test_a_fake_worker_that_stops_waits_for_the_disk_once_however_much_it_has(stage: Stage) -> None:
    every = [stage.ask("test:processing:600") for _ in range(2)]
    fake_worker = stage.fake_worker()
    fake_worker.turn()
    commits: list[object] = []
    note = commits.append
    event.listen(stage.db._engine, "commit", note)
    fake_worker.stop()
    event.remove(stage.db._engine, "commit", note)
    assert len(commits) == 1
    assert {stage.find(request).status for request in every} == {Status.QUEUED}


def test_a_fake_worker_that_died_is_followed_by_another(stage: Stage) -> None:
    request = stage.ask("test:processing:600")
    dead, heir = stage.fake_worker(), stage.fake_worker()
    dead.turn()
    stage.db.move_clock(600)
    heir.turn()
    ended = stage.find(request)
    assert (ended.status, ended.retries) == (Status.COMPLETED, 1)
    dead.turn()  # back from the dead, it drops what is no longer its own
    dead.stop()
    assert stage.find(request) == ended


@pytest.mark.parametrize(
    ("attempts", "magic", "error", "retries"),
    [
        (1, "test:fail:crash", "gave up after 1 attempts", 0),
        (5, "test:fail:crash", "gave up after 5 attempts", 4),
        (5, "test:fail:model", MODEL_FAILED, 4),
    ],
)
def test_the_operators_number_of_attempts(stage: Stage, attempts: int, magic: str, error: str, retries: int) -> None:
    stage.store = store_on(stage.db, max_attempts=attempts)
    request, fake = stage.ask(magic), stage.fake_worker()
    for _ in range(attempts):
        fake.turn()
    ended = stage.find(request)
    assert (ended.error, ended.retries) == (error, retries)


def test_a_magic_delay_outlives_everything_as_it_is_in_the_row(stage: Stage) -> None:
    request = stage.ask("test:queued:600", start_after=600)
    fake = stage.fake_worker(poll=3600)
    fake.turn()
    assert stage.find(request).status is Status.QUEUED
    assert 0 < fake._rest <= 600, "it polls when that is due"
    stage.db.move_clock(600)
    stage.fake_worker().turn()
    assert stage.find(request).status is Status.COMPLETED


@pytest.mark.parametrize("change", [{"slug": "gone"}, {"params": {}}, {"params": PARAMS | {"prompt": "test:gone"}}])
def test_what_another_version_accepted_fails_alone(stage: Stage, change: dict[str, object]) -> None:
    strange, usual = stage.ask("a fox"), stage.ask("a fox")
    with stage.db.write() as tx:
        tx.execute(update(table).where(table.c.id == strange.id).values(change))
    stage.fake_worker().turn()
    assert stage.find(strange).error == "this server no longer runs that request"
    assert stage.find(usual).status is Status.COMPLETED


@pytest.mark.parametrize(("known", "size"), [((192, 128), (192, 128)), (None, (1024, 1024))])
def test_an_input_picture_is_not_read(stage: Stage, known: tuple[int, int] | None, size: tuple[int, int]) -> None:
    """Its size was noted when it came, unless an earlier version took it in."""
    name = f"{'0' * 32}.in"
    params = {**PARAMS, "prompt": "a fox", "image": f"file:{name}", "num_inference_steps": 4, "strength": 0.7}
    picture = None if known is None else Input(name, 9, known)
    request = stage.submit("sd3-med-img2img", key=stage.test, params=params | {"samples": 1}, input=picture)
    stage.fake_worker().turn()
    result = stage.find(request).result
    assert result
    [made] = result.outputs
    assert (made.width, made.height) == size


def test_neither_fills_the_others_queue_or_is_before_it(stage: Stage) -> None:
    for key in (stage.test, stage.key):
        for _ in range(2):
            last = stage.ask("test:queued:600", key)
        with pytest.raises(TooManyRequests, match="queue is full"):
            stage.ask("a fox", key)
        assert place_of(stage.db, last.id) == 2


def test_a_test_key_is_of_an_account_for_tests(stage: Stage) -> None:
    accounts = stage.accounts
    beside = accounts.account(stage.test.account_id)
    assert (beside.name, beside.balance, beside.test_of) == ("one (test)", 0, stage.account_id)
    for account_id in (stage.account_id, beside.id):
        assert accounts.keys.create(account_id, "other", test=True)[0].account_id == beside.id
    with pytest.raises(BadRequest, match="for test keys"):
        accounts.keys.create(beside.id, "live")
    assert len(accounts.list()) == 2


def test_a_test_key_is_rotated_and_revoked_like_others(stage: Stage) -> None:
    accounts, live = stage.accounts, stage.key
    assert stage.test.begins == stage.test_secret[:11]
    rotated, secret = accounts.keys.rotate(stage.test_secret[:11], overlap=60)
    assert secret.startswith("SG_test")
    assert rotated == replace(stage.test, hint=f"SG_{secret[7:11]}", old_until=rotated.old_until)
    with pytest.raises(NotFound):
        accounts.keys.revoke(f"SG_{secret[7:11]}")
    accounts.keys.revoke("SG_test")
    assert accounts.keys.authenticate(accounts.keys.create(stage.account_id, "new", test=True)[1]).test
    assert [key.id for key in accounts.keys.list() if key.revoked_at] == [stage.test.id]
    assert live in accounts.keys.list()


def test_an_empty_server_whose_first_key_is_a_test_key(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path}/empty.db")
    migrate(db)
    accounts = Accounts(db)
    secret = accounts.bootstrap("first", 5_000, "SG_test0123456789ab")
    assert secret is not None
    key = accounts.keys.authenticate(secret)
    assert (key.mode, accounts.remaining(key.account_id)) == ("test", 5_000)
    db.close()


def test_the_command_line(stage: Stage) -> None:
    run = CliRunner()
    made = run.invoke(tintype, ["keys", "create", "--test", "--name", "new", "--data", str(stage.folder)])
    assert stage.accounts.keys.authenticate(made.output.strip()).account_id == stage.test.account_id
    listed = run.invoke(tintype, ["keys", "list", "--json", "--data", str(stage.folder)]).output
    [new] = [row for row in json.loads(listed) if row["name"] == "new"]
    assert (new["key"], new["mode"]) == (f"{made.output[:11]}…", "test")
