"""Wake-ups on both databases: of what is committed, never of what isn't; and what becomes of SQLite's sockets."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.acceptance.harness import until
from tests.databases import PostgresServer, SqliteFiles
from tests.stores import new_request, store_on

from tintype.errors import OutOfCredits
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.notify import Channel, Listener, can_wake, notify
from tintype.store.db.sockets import NEW, WakeSocket, wake_folder

#: A process that listens until it is killed.
LISTENING = """
import sys, time
from tintype.store.db.notify import Channel, Database, Listener

with Listener(Database(sys.argv[1]), {Channel.ENDED: lambda _: print("it listens")}):
    time.sleep(600)
"""


class Heard:
    """Listens to some channels, and keeps what it hears in order."""

    def __init__(self, db: Database, channels: Iterable[Channel] = Channel) -> None:
        self._said: queue.Queue[tuple[Channel, str]] = queue.Queue()
        self.listener = Listener(db, {one: self._hear(one) for one in channels})

    def _hear(self, channel: Channel) -> object:
        return lambda payload: self._said.put((channel, payload))

    def once(self, seconds: float = 60.0) -> tuple[Channel, str]:
        return self._said.get(timeout=seconds)

    def first(self) -> set[tuple[Channel, str]]:
        """That anything may have happened before it listened, on each channel."""
        return {self.once() for _ in self.listener._heard}

    def __enter__(self) -> Heard:
        self.listener.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.__exit__()


def key_with(db: Database, dollars: int, *, test: bool = False) -> Key:
    accounts = Accounts(db)
    return accounts.keys.create(accounts.create("one", dollars).id, "key", test=test)[0]


def test_it_rings_for_what_is_committed(db: Database) -> None:
    store = store_on(db, lease=15, retention=60)
    rich, poor, test = key_with(db, 1000), key_with(db, 0), key_with(db, 0, test=True)
    assert can_wake(db)
    with Heard(db) as heard:
        assert heard.first() == {(channel, "") for channel in Channel}
        store.queue.submit(new_request(rich, "sd3", {}, 10))
        assert heard.once() == (Channel.QUEUED, "")
        store.queue.submit(new_request(test, "sd3", {}, 0))
        assert heard.once() == (Channel.TEST_QUEUED, "")
        with pytest.raises(OutOfCredits):
            store.queue.submit(new_request(poor, "sd3", {}, 10))
        claimed = store.leases.claim("w", idle=True)
        assert claimed
        store.leases.hand_back(claimed.id, claimed.attempt)
        assert heard.once() == (Channel.QUEUED, ""), "neither a refusal nor a claim is news"
        store.queue.pause()
        store.queue.resume()
        assert {heard.once(), heard.once()} == {(Channel.QUEUED, ""), (Channel.TEST_QUEUED, "")}
        store.queue.cancel(claimed.id, claimed.account_id)
        assert heard.once() == (Channel.ENDED, claimed.id)
        store.ops.workers.heartbeat("w", "cpu", 0, 0)
        store.ops.preloads.ask("sd3", ["w"])
        assert heard.once() == (Channel.WORKERS, "")  # one at a time: repetitions that come together count once
        store.ops.workers.drain("w")
        store.ops.workers.drain("w")
        assert heard.once() == (Channel.WORKERS, ""), "what is drained already is no news"
        with pytest.raises(ZeroDivisionError), db.write() as tx:
            notify(tx, Channel.ENDED, "rolled back")
            raise ZeroDivisionError
        with db.write() as tx:
            notify(tx, Channel.ENDED, "committed")
        assert heard.once() == (Channel.ENDED, "committed")


def test_each_hears_its_own_channels(db: Database) -> None:
    with Heard(db, [Channel.ENDED]) as ended, Heard(db, [Channel.QUEUED]) as queued:
        ended.first(), queued.first()
        with db.write() as tx:
            for channel in (Channel.ENDED, Channel.QUEUED, Channel.TEST_QUEUED, Channel.ENDED):
                notify(tx, channel, f"of {channel}")
        assert queued.once() == (Channel.QUEUED, "of queued")
        assert ended.once() == (Channel.ENDED, "of ended")


class TestPostgres:
    """What SQLite's sockets can't have."""

    @pytest.fixture
    def databases(self, postgres: PostgresServer) -> PostgresServer:
        """Of this kind alone."""
        return postgres

    def test_it_rings_again_after_the_server_was_away(self, db: Database, postgres: PostgresServer) -> None:
        store, key = store_on(db, lease=15, retention=60), key_with(db, 1000)
        with Heard(db, [Channel.QUEUED]) as heard:
            heard.first()
            postgres.stop("immediate")
            postgres.start()
            assert heard.once() == (Channel.QUEUED, ""), "for what may have been queued meanwhile"
            store.queue.submit(new_request(key, "sd3", {}, 10))
            assert heard.once() == (Channel.QUEUED, "")


class TestSqlite:
    """Sockets in a folder."""

    @pytest.fixture
    def databases(self, sqlite_files: SqliteFiles) -> SqliteFiles:
        """Of this kind alone."""
        return sqlite_files

    @pytest.fixture
    def db(self, tmp_path: Path) -> Database:
        """In a folder of its own."""
        return at(tmp_path / "tintype.db")

    def test_a_killed_listener_s_socket_is_removed_by_the_next_sender(self, db: Database, tmp_path: Path) -> None:
        command = [sys.executable, "-uc", LISTENING, f"sqlite:///{db.file}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as listening:
            assert listening.stdout
            assert listening.stdout.readline() == "it listens\n"
            listening.kill()
        [dead] = (tmp_path / "wake").iterdir()
        other, file = dead.with_name("notes.txt"), dead.with_name(f"{dead.name}2")
        other.touch(), file.touch()
        with Heard(db) as heard:
            heard.first()
            send(db, "one")
            assert heard.once() == (Channel.ENDED, "one"), "the dead one costs others nothing"
            assert dead.exists(), "as new as this, it might be one that is being made"
            for path in (dead, other, file):
                os.utime(path, (0, 0))
            until(lambda: not sent(db).joinpath(dead.name).exists())
            assert other.exists()
            assert file.exists()
        assert {*(tmp_path / "wake").iterdir()} == {other, file}, "a listener that ends removes its own"

    def test_a_listener_that_is_stuck_delays_no_sender_and_learns_what_it_missed(self, db: Database) -> None:
        with WakeSocket(wake_folder(str(db.file)), [*Channel]) as stuck:
            for number in range(100):
                send(db, f"request {number}")
            heard = stuck.receive()
            assert {*heard} == {(channel, "") for channel in Channel}
            while stuck.receive():
                pass
            send(db, "one"), send(db, "one"), send(db, "two")
            assert stuck.receive() == [(Channel.ENDED, "one"), (Channel.ENDED, "two")]

    def test_a_path_longer_than_a_socket_s_address(self, tmp_path: Path) -> None:
        deep = tmp_path / ("long" * 25) / ("ö" * 60)
        db = at(deep / "tintype.db")
        assert can_wake(db)
        with Heard(db) as heard:
            heard.first()
            send(db, "one")
            assert heard.once() == (Channel.ENDED, "one")
        assert [*(deep / "wake").iterdir()] == []
        db.close()

    def test_databases_in_one_folder_and_one_database_by_two_names(self, db: Database, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path)
        other, same = at(tmp_path / "other.db"), at(tmp_path / "link" / "tintype.db")
        with Heard(db) as heard:
            heard.first()
            send(other, "of another")
            send(same, "of the same")
            assert heard.once() == (Channel.ENDED, "of the same")
        other.close(), same.close()

    def test_a_folder_that_is_removed_is_made_again(
        self, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tintype.store.db.notify.CHECK", 0.01)
        with Heard(db) as heard:
            heard.first()
            for path in (tmp_path / "wake").iterdir():
                path.unlink()
            (tmp_path / "wake").rmdir()
            assert heard.first() == {(channel, "") for channel in Channel}, "of what may have been missed"
            send(db, "one")
            assert heard.once() == (Channel.ENDED, "one")
        assert (tmp_path / "wake").stat().st_mode & 0o777 == 0o700

    def test_where_there_can_be_no_sockets(self, db: Database, tmp_path: Path) -> None:
        (tmp_path / "wake").touch()
        assert not can_wake(db)
        with Heard(db):
            send(db, "one")

    def test_listeners_that_come_are_found_although_the_folder_is_seldom_listed(self, db: Database) -> None:
        for number in range(20):
            with ExitStack() as closing:
                crowd = [closing.enter_context(Heard(db, [Channel.ENDED])) for _ in range(number % 4)]
                for heard in crowd:
                    heard.first()
                send(db, f"{number}")
                assert [heard.once() for heard in crowd] == [(Channel.ENDED, f"{number}")] * len(crowd)

    def test_a_folder_that_stays_as_it_is_is_listed_once(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        folder, listed = wake_folder(str(db.file)), []
        with WakeSocket(folder, [Channel.ENDED]):
            monkeypatch.setattr(folder, "_list", lambda own=folder._list: listed.append(1) or own())
            long_ago = time.time() - 2 * NEW
            os.utime(folder.path, (long_ago, long_ago))
            for _ in range(50):
                send(db, "one")
        assert len(listed) == 1

    def test_a_listener_sleeps(self, db: Database) -> None:
        with Heard(db) as heard:
            heard.first()
            thread = heard.listener._thread.native_id
            until(lambda: slept_through(thread))


def slept_through(thread: int | None) -> bool:
    """Whether a thread of this process has slept without a break for half a second."""
    before = switches(thread)
    threading.Event().wait(0.5)
    return switches(thread) == before


def at(path: Path) -> Database:
    """A database without tables, which wake-ups don't need."""
    return Database(f"sqlite:///{path}")


def send(db: Database, payload: str) -> None:
    with db.write() as tx:
        notify(tx, Channel.ENDED, payload)


def sent(db: Database) -> Path:
    """The sockets' folder, after another message."""
    send(db, "another")
    return wake_folder(str(db.file)).path


def switches(thread: int | None) -> int:
    """How many times a thread of this process has gone to sleep."""
    status = Path(f"/proc/self/task/{thread}/status").read_text()
    return int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
