"""Wake-ups of processes on the same database: best effort; polling remains the source of truth.

PostgreSQL has NOTIFY and LISTEN; SQLite, whose processes are on one machine, is given the sockets of `sockets.py`.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import structlog
from sqlalchemy import Connection

from tintype.errors import StoreUnavailable
from tintype.store.db.database import Database, after, group_of
from tintype.store.db.sockets import WakeFolder, WakeSocket, wake_folder

log = structlog.get_logger()

#: Seconds between a listener's attempts to listen, and between its checks that it still can be found.
PAUSE, CHECK = 1.0, 10.0


class Channel(StrEnum):
    """What processes are woken for."""

    #: A live request is claimable, or a test key's is.
    QUEUED = "queued"
    TEST_QUEUED = "test_queued"
    #: A request has ended; the payload is its id.
    ENDED = "ended"
    #: A worker is to leave, or a model to be loaded.
    WORKERS = "workers"

    @classmethod
    def claimable(cls, *, test: bool) -> Channel:
        """The channel of a claimable request."""
        return cls.TEST_QUEUED if test else cls.QUEUED


def notify(tx: Connection, channel: Channel, payload: str = "") -> None:
    """Wake who listens to a channel when this transaction commits, and not at all if it doesn't."""
    if tx.dialect.name == "postgresql":
        group_of(tx).notices.append((f"tintype_{channel}", payload))
    elif tx.engine.url.database:
        after(tx, _Wake(wake_folder(tx.engine.url.database), channel, payload))


@dataclass(frozen=True, slots=True)
class _Wake:
    """Wakes who listens to a channel; equal ones of changes that are committed together are one."""

    folder: WakeFolder
    channel: Channel
    payload: str

    def __call__(self) -> None:
        self.folder.send(self.channel, self.payload)


def can_wake(db: Database) -> bool:
    """Whether processes can be woken here; where they can't, they have to poll more often."""
    if db.file is None:
        return True
    folder = wake_folder(db.file)
    if folder.works():
        return True
    log.warning("processes can't be woken here: they poll more often", folder=str(folder.path))
    return False


class Source(Protocol):
    """What a listener waits for."""

    def fileno(self) -> int:
        """Readable when there is something to receive."""
        ...

    @property
    def stands(self) -> bool:
        """Whether anything can still come."""
        ...

    def receive(self) -> list[tuple[str, str]]:
        """Channels and payloads, without waiting."""
        ...


class Listener:
    """Hears the wake-ups of some channels on a thread of its own, from `start` to `stop` or while a `with` block lasts.

    heard: by channel, what is called with each payload; with "" when others may have been missed. It mustn't raise or
    take long.
    """

    def __init__(self, db: Database, heard: Mapping[Channel, Callable[[str], None]]) -> None:
        self._db = db
        self._heard = heard
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="notify", daemon=True)

    def __enter__(self) -> Listener:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Begin to listen."""
        #: Readable once the listener is to end.
        self._told, self._tells = socket.socketpair()
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; waits for what is being called, or for a connection."""
        self._done.set()
        self._tells.close()
        self._thread.join()
        self._told.close()

    def _listen(self) -> None:
        while not self._done.is_set():
            try:
                with self._opened() as source:
                    for heard in self._heard.values():
                        heard("")  # what happened before it listened
                    self._hear(source)
            except (StoreUnavailable, OSError):
                self._done.wait(PAUSE)  # polling goes on

    @contextmanager
    def _opened(self) -> Iterator[Source]:
        if self._db.file is None:
            with self._db.listening(self._heard) as source:
                yield source
        else:
            with WakeSocket(wake_folder(self._db.file), self._heard) as source:
                yield source

    def _hear(self, source: Source) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(source, selectors.EVENT_READ)
            ready.register(self._told, selectors.EVENT_READ)
            while not self._done.is_set() and source.stands:
                if ready.select(CHECK):
                    for channel, payload in source.receive():
                        self._heard[Channel(channel)](payload)
