"""Stored images: in a local folder, or in an object storage that several machines share; its outages and breaker."""

from __future__ import annotations

import errno
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple, Protocol

import structlog

from tintype.errors import NotFound, StorageUnavailable
from tintype.private import make_folder, write_new
from tintype.settings.groups import StorageSettings
from tintype.telemetry.logs import Outage

log = structlog.get_logger()

#: 128 random bits and a suffix: knowing the name is the permission to read it.
NAME = re.compile(r"[0-9a-f]{32}\.[a-z0-9]{1,5}")
SUFFIX = re.compile(r"[a-z0-9]{1,5}")
#: Suffix of files that are being written; never served.
PART = ".part"
#: Seconds after which an unfinished file is a crash's: no write takes that long.
PART_TTL = 600.0
#: Bytes written to find out whether a disk takes any: an empty file fits on a full one.
BLOCK = 4096
#: Bytes that a disk of images should have free, and the part of a small disk.
FREE, FREE_PART = 2**30, 0.05
#: Suffix of what callers send, which is stored as it came, in no image format, and never served.
UNREAD = "in"
GONE = "no such file, or it has expired"
#: What an operator is told of a disk that takes nothing, in words that say what to do.
DISK = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk's quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "this user may not do that on the disk",
    errno.EPERM: "this user may not do that on the disk",
}
#: Seconds between two tests whether the storage works again; the last one repeats.
PAUSES = (2.5, 5.0, 10.0, 15.0)


class Stored(NamedTuple):
    """A stored image: its moment in unix seconds, its bytes, its name."""

    written: float
    size: int
    name: str


#: Says which of all stored images to remove.
Choice = Callable[[Iterator[Stored]], Collection[str]]


class Storage(Protocol):
    """Images under unguessable names, each with a TTL from its writing.

    Every method raises StorageUnavailable where the storage is away, refuses, or has no room, and logs the outage.
    """

    def put(self, data: bytes, suffix: str) -> str:
        """Store an image; its name, `<32 hex digits>.<suffix>`. It is stored, whole, once this returns."""

    def get(self, name: str) -> bytes:
        """An image's bytes; raises NotFound."""

    def size(self, name: str) -> int:
        """How many bytes an image has; raises NotFound when it is unknown or expired."""

    @property
    def chunk(self) -> int:
        """Bytes to read at a time for a client that may read slowly."""

    def read_range(self, name: str, begin: int, end: int) -> bytes:
        """The bytes from `begin` to `end` of an image, even if it expired since `size`; raises NotFound."""

    def signed_url(self, name: str, seconds: float) -> str | None:
        """The storage's own address of an image, valid that long; None where the server must serve it itself."""

    def remove(self, name: str) -> None:
        """Remove an image before it expires, if it is there."""

    def discard(self, name: str) -> None:
        """`remove` without waiting or raising: what can't be removed expires."""

    def probe(self) -> None:
        """Find out cheaply whether images can be stored at the moment; raises StorageUnavailable."""

    def remove_all(self, names: Collection[str]) -> None:
        """`remove` of several, in few calls to the storage."""

    def expire(self, keep: Collection[str] = ()) -> int:
        """Remove what has expired, except the names in `keep`; how many that were."""

    def thin(self, choose: Choice) -> None:
        """List all images, expired ones too, and remove those that `choose` names."""

    def missing_space(self) -> int:
        """Bytes that the disk should have free and hasn't; 0 for a storage that doesn't tell."""

    def self_test(self) -> None:
        """Write, read and remove test data; gives up after some seconds. Raises StorageUnavailable."""


def open_storage(storage: StorageSettings, folder: Path, ttl: float, timeout: float | None = None) -> Storage:
    """The storage for one kind of images, as the operator configured it; in a bucket, the folder's name is a prefix.

    timeout: max seconds for which calls to a bucket that is away are retried, where callers wait.
    """
    if not storage.url:
        return Files(folder, ttl)
    from tintype.media.objects import open_bucket  # noqa: PLC0415 - an extra that most servers don't need

    return open_bucket(storage, folder.name, ttl, timeout)


class StorageOutages:
    """Logs one storage's outages, separately by operation: a full disk can still be read."""

    def __init__(self, kind: str) -> None:
        done = {"write": "written", "read": "read", "list": "listed", "remove": "removed"}
        self._of = {to: Outage(f"{kind} can't be {what}", f"{kind} can be {what} again") for to, what in done.items()}

    def lasts(self, to: str) -> bool:
        """Whether this operation has failed lately, without success since."""
        return self._of[to].lasts

    @contextmanager
    def watching(self, to: str) -> Iterator[None]:
        """Record whether an operation succeeds."""
        try:
            yield
        except StorageUnavailable as error:
            # Not its cause, which names the image: the name is the permission to read it.
            self._of[to].failed(error.why)
            raise
        self._of[to].succeeded()


class Files:
    """Images in `folder` (made if missing), each for `ttl` seconds from its writing, which may be infinite."""

    #: Small: opening the file for each chunk costs little.
    chunk = 3 * 2**15

    def __init__(self, folder: Path, ttl: float) -> None:
        self._folder = folder
        self._ttl = ttl
        self._outages = StorageOutages(folder.name)
        #: Bytes of the last image for which there was no room: with less room than that, the disk is still full.
        self._refused = BLOCK
        make_folder(folder)

    def put(self, data: bytes, suffix: str) -> str:
        """See Storage; it is on the disk, synced, once this returns."""
        name = new_name(suffix)
        try:
            with self._outages.watching("write"), _on_disk():
                write_new(self._folder / name, data, self._folder / (name + PART))
        except StorageUnavailable:
            self._refused = max(BLOCK, len(data))
            raise
        return name

    def path(self, name: str) -> Path:
        """An image's path; raises NotFound when it is unknown or expired, or `name` is none of ours."""
        path = self._folder / name
        if not NAME.fullmatch(name) or not _younger(path, self._ttl):
            raise NotFound(GONE)
        return path

    def size(self, name: str) -> int:
        """See Storage."""
        with self._outages.watching("read"), _on_disk(missing=GONE):
            return self.path(name).stat().st_size

    def read_range(self, name: str, begin: int, end: int) -> bytes:
        """See Storage; no file stays open while a client reads slowly."""
        if not NAME.fullmatch(name):
            raise NotFound(GONE)
        with (
            self._outages.watching("read"),
            _on_disk(missing=GONE),
            (self._folder / name).open("rb", buffering=0) as file,
        ):
            data = os.pread(file.fileno(), end - begin, begin)
        if len(data) < end - begin:
            raise NotFound(GONE)  # it was truncated meanwhile
        return data

    def signed_url(self, _name: str, _seconds: float) -> None:
        """None: a folder has no addresses of its own."""

    def get(self, name: str) -> bytes:
        """See Storage."""
        with self._outages.watching("read"), _on_disk(missing=GONE):
            return self.path(name).read_bytes()

    def remove(self, name: str) -> None:
        """See Storage."""
        self.remove_all([name])

    def remove_all(self, names: Collection[str]) -> None:
        """See Storage."""
        self._unlink(name for name in names if NAME.fullmatch(name))

    def discard(self, name: str) -> None:
        """See Storage."""
        with suppress(StorageUnavailable):
            self.remove(name)

    def probe(self) -> None:
        """See Storage: on a disk, `self_test` is cheap."""
        self.self_test()

    def expire(self, keep: Collection[str] = ()) -> int:
        """See Storage; removes a crash's unfinished files too.

        Only a reader with a longer TTL of its own reads kept files that have expired.
        """
        moment, unfinished = time.time(), list[str]()
        stored = self._stored(unfinished)
        old = [one.name for one in stored if one.name not in keep and moment - one.written >= self._ttl]
        self._unlink([*old, *unfinished])
        return len(old) + len(unfinished)

    def thin(self, choose: Choice) -> None:
        """See Storage; removes a crash's unfinished files too."""
        unfinished = list[str]()
        self._unlink([*choose(self._stored(unfinished)), *unfinished])

    def missing_space(self) -> int:
        """See Storage."""
        with self._outages.watching("list"), _on_disk():
            disk = disk_usage(self._folder)
        return max(0, round(min(FREE, FREE_PART * disk.total)) - disk.free)

    def _stored(self, unfinished: list[str]) -> Iterator[Stored]:
        """All images; a crash's unfinished files are named in the list."""
        with self._outages.watching("list"), _on_disk(), os.scandir(self._folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # removed meanwhile
                    if NAME.fullmatch(entry.name):
                        about = entry.stat()
                        yield Stored(about.st_mtime, about.st_size, entry.name)
                    elif NAME.fullmatch(entry.name.removesuffix(PART)) and not _younger(Path(entry.path), PART_TTL):
                        unfinished.append(entry.name)

    def _unlink(self, names: Iterable[str]) -> None:
        with self._outages.watching("remove"), _on_disk():
            for name in names:
                (self._folder / name).unlink(missing_ok=True)

    def self_test(self) -> None:
        """Write as many bytes as the last image had that could not be written, and remove them."""
        name = new_name(UNREAD)
        with _on_disk():
            write_new(self._folder / name, os.urandom(self._refused), self._folder / (name + PART))
            (self._folder / name).unlink()


def new_name(suffix: str) -> str:
    """An unguessable name; raises ValueError for an invalid suffix."""
    if not SUFFIX.fullmatch(suffix):
        raise ValueError(f"{suffix!r} is not a suffix like 'jpeg'")
    return f"{secrets.token_hex(16)}.{suffix}"


@contextmanager
def _on_disk(missing: str = "") -> Iterator[None]:
    """Raises NotFound with the words `missing` for a missing file, StorageUnavailable for any other error.

    The system's own words name folders.
    """
    try:
        yield
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise NotFound(missing) from error
        why = DISK.get(error.errno or 0, error.strerror or type(error).__name__)
        raise StorageUnavailable.because(why) from error


def _younger(path: Path, seconds: float) -> bool:
    """Whether a file is there and was written less than that many seconds ago."""
    try:
        return time.time() - path.stat().st_mtime < seconds
    except FileNotFoundError:
        return False


class StorageBreaker:
    """Opens when a call and the storage's own test fail; a call that fails alone doesn't open it. Closes by itself.

    on_recovery: called each time it closes.
    """

    def __init__(
        self, storage: Storage, on_recovery: Callable[[], None] = lambda: None, pauses: Sequence[float] = PAUSES
    ) -> None:
        self.on_recovery = on_recovery
        self._storage = storage
        self._pauses = pauses
        self._error: StorageUnavailable | None = None
        self._outage = Outage(
            "paused: the storage of pictures can't be used", "the storage of pictures can be used; work goes on"
        )
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    @property
    def open(self) -> str:
        """Why it is open, for the operator; empty while it is closed, so that calls go through."""
        return self._error.why if self._error else ""

    @contextmanager
    def guarding(self) -> Iterator[None]:
        """Around calls to the storage; raises StorageUnavailable, immediately while it is open.

        If an error opens it, which takes some seconds, it is open before that error is raised.
        """
        if error := self._error:
            raise StorageUnavailable.because(error.why) from error
        try:
            yield
        except StorageUnavailable:
            self._test_after_failure()
            raise

    def stop(self) -> None:
        """Stop testing."""
        self._stopped.set()

    def _test_after_failure(self) -> None:
        with self._lock:
            if not self._error and not self._works():
                threading.Thread(target=self._test_until_it_works, name="breaker", daemon=True).start()

    def _test_until_it_works(self) -> None:
        for pause in chain(self._pauses, repeat(self._pauses[-1])):
            if self._stopped.wait(pause):
                return
            try:
                if self._works():
                    self.on_recovery()
                    return
            except Exception as error:  # an unexpected one must not leave it open for good
                log.exception("the storage of pictures could not be tried", error=type(error).__name__)

    def _works(self) -> bool:
        try:
            self._storage.self_test()
        except StorageUnavailable as error:
            self._error = error
            self._outage.failed(error.why)
            return False
        self._error = None
        self._outage.succeeded()
        return True
