"""SQLite's wake-ups: each listener has a Unix datagram socket in the folder `wake` next to the database's file.

A sender never waits: a listener whose socket is full misses a message, and learns of that. A process that is killed
leaves its socket behind, which the next sender removes.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Self
from zlib import crc32

from tintype.private import FILE, make_folder

#: How many messages a socket holds, at least; where the system doesn't say, others may be lost after each.
CAPACITY = Path("/proc/sys/net/unix/max_dgram_qlen")
#: Bytes of a message at most: a channel and a request's id.
MAX_MESSAGE = 256
#: Bytes of a socket's path on every system.
MAX_PATH = 100
#: Nanoseconds after which a folder's time has changed if its entries have: the kernel's clock for files is coarse.
COARSE = 50_000_000
#: Seconds for which a socket without a listener may be one that is being made.
NEW = 60.0


@lru_cache(16)
def wake_folder(database: str) -> WakeFolder:
    """A SQLite file's, by the file's path."""
    return WakeFolder(Path(database).resolve())


class WakeFolder:
    """The sockets of those who listen, by name: the database's mark, the channels, and a token of the listener's."""

    def __init__(self, database: Path) -> None:
        self.path = database.parent / "wake"
        #: Several databases may be in one folder.
        self._mark = f"{crc32(os.fsencode(database.name)):08x}"
        self._is_short = len(os.fsencode(self.path / self.name(["x" * 24]))) <= MAX_PATH
        #: The folder's inode and time when it was last listed, and the sockets by channel: threads share it.
        self._listed: tuple[tuple[int, int] | None, Mapping[str, Sequence[str]]] = (None, {})

    def works(self) -> bool:
        """Whether processes here can be woken: not on every file system, nor in every user's folder."""
        try:
            with WakeSocket(self, ["probe"]) as probe:
                self.send("probe", "works")
                return bool(probe.receive())
        except OSError:
            return False

    def send(self, channel: str, payload: str) -> None:
        """Wake all who listen to a channel, as far as that can be done without waiting; never raises."""
        message = f"{channel} {payload}".encode()
        with suppress(OSError):  # there is no folder yet, as there was no listener
            if names := self._listeners(channel):
                with self.reached() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.setblocking(False)
                    for name in names:
                        self._send(sender, message, f"{folder}/{name}")

    def name(self, channels: Collection[str]) -> str:
        """A new socket's."""
        return f"{self._mark}.{'+'.join(channels)}.{secrets.token_hex(6)}"

    @contextmanager
    def reached(self) -> Iterator[str]:
        """The folder's path, or a shorter one that leads to it: a socket's address takes 108 bytes at most."""
        if self._is_short:
            yield str(self.path)
            return
        folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield f"/proc/self/fd/{folder}"
        finally:
            os.close(folder)

    def _listeners(self, channel: str) -> Sequence[str]:
        """The sockets of a channel's; the folder is listed only when its entries have changed."""
        about = self.path.stat()
        now, (then, names) = (about.st_ino, about.st_mtime_ns), self._listed
        if now != then:
            names = self._list()
            self._listed = now if time.time_ns() - about.st_mtime_ns > COARSE else None, names
        return names.get(channel, ())

    def _list(self) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for path in self.path.iterdir():
            mark, _, rest = path.name.partition(".")
            for channel in rest.partition(".")[0].split("+") if mark == self._mark else ():
                found.setdefault(channel, []).append(path.name)
        return found

    def _send(self, sender: socket.socket, message: bytes, path: str) -> None:
        try:
            sender.sendto(message, path)
        except ConnectionRefusedError:
            self._remove(self.path / Path(path).name)
        except OSError:
            pass  # its queue is full, so it wakes; or it has just gone; or it is another user's

    def _remove(self, path: Path) -> None:
        """A socket without a listener; not a file of another kind, nor a socket that is being made."""
        with suppress(OSError):
            about = path.lstat()
            if stat.S_ISSOCK(about.st_mode) and about.st_mtime < time.time() - NEW:
                path.unlink()


class WakeSocket:
    """A listener's socket, until it is closed; raises OSError where there can be none."""

    def __init__(self, folder: WakeFolder, channels: Collection[str]) -> None:
        self._channels = channels
        self._capacity = _capacity()
        make_folder(folder.path)
        self._path = folder.path / folder.name(channels)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            with folder.reached() as short:
                self._socket.bind(f"{short}/{self._path.name}")
            self._path.chmod(FILE)  # the folder may be older, and open to others
            self._inode = self._path.lstat().st_ino
        except OSError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def fileno(self) -> int:
        """For those who wait for it."""
        return self._socket.fileno()

    @property
    def stands(self) -> bool:
        """Whether senders still find it: a clean-up of the folder, say, may have removed it."""
        try:
            return self._path.lstat().st_ino == self._inode
        except OSError:
            return False

    def receive(self) -> list[tuple[str, str]]:
        """The messages that are there, each a channel and a payload, without waiting; repetitions count once.

        If the socket may have been full: for each channel one with the payload "".
        """
        heard: dict[tuple[str, str], None] = {}
        for _ in range(self._capacity):
            try:
                channel, _, payload = self._socket.recv(MAX_MESSAGE).decode(errors="replace").partition(" ")
            except BlockingIOError:
                return [*heard]
            if channel in self._channels:
                heard[channel, payload] = None
        return [(channel, "") for channel in self._channels]

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()
        with suppress(OSError):
            self._path.unlink()


def _capacity() -> int:
    try:
        return max(1, int(CAPACITY.read_text()))
    except (OSError, ValueError):
        return 1
