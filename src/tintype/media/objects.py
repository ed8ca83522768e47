"""Put, get and expire in an object storage that speaks S3's API, for several machines that share their pictures."""

from __future__ import annotations

import math
import queue
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from tintype.errors import NotFound, StorageUnavailable, TintypeError
from tintype.media.outputs import GONE, NAME, UNREAD, new_name
from tintype.settings import Settings

log = structlog.get_logger()

#: A prefix that nothing has: to list it is the smallest question.
NOTHING = "nothing"
#: Seconds that a storage may be away while it is tried at start.
TRIAL = 5.0
#: Names that may wait to be removed; what is beyond is left to the sweep.
MOST_DISCARDED = 10_000


class Objects:
    """Pictures under one prefix of a bucket, each kept `life` seconds from being written; as `Files`."""

    #: Bytes of a part: each is a request to the storage.
    piece = 3 * 2**17

    def __init__(self, store: S3Store, life: float) -> None:
        self._store = store
        self._life = timedelta.max if math.isinf(life) else timedelta(seconds=life)
        self._discarded: queue.Queue[str] = queue.Queue(MOST_DISCARDED)
        self._lock = threading.Lock()
        self._remover: threading.Thread | None = None

    def put(self, data: bytes, suffix: str) -> str:
        """Keep a picture; its name. It is stored, whole, once this returns. Raises StorageUnavailable."""
        name = new_name(suffix)
        kind = "application/octet-stream" if suffix == UNREAD else f"image/{suffix}"
        with _reachable(missing=StorageUnavailable()):  # what is missing then is the bucket
            obstore.put(self._store, name, data, attributes={"Content-Type": kind})
        return name

    def get(self, name: str) -> bytes:
        """A picture's bytes; raises NotFound and StorageUnavailable."""
        _check(name)
        with _reachable():
            found = obstore.get(self._store, name)
            self._check_age(found.meta["last_modified"])
            return bytes(found.bytes())

    def find(self, name: str) -> int:
        """How many bytes a picture has; raises NotFound when it is unknown or past its life, or `name` is none of ours.

        Raises StorageUnavailable.
        """
        _check(name)
        with _reachable():
            found = obstore.head(self._store, name)
            self._check_age(found["last_modified"])
            return int(found["size"])

    def part(self, name: str, begin: int, end: int) -> bytes:
        """Bytes of a picture that was found; raises NotFound and StorageUnavailable."""
        _check(name)
        with _reachable():
            return bytes(obstore.get_range(self._store, name, start=begin, end=end))

    def address(self, name: str, seconds: float) -> str:
        """An address under which anybody can read it for so long, signed (AWS Signature Version 4); raises NotFound."""
        self.find(name)
        return obstore.sign(self._store, "GET", name, timedelta(seconds=seconds))

    def remove(self, name: str) -> None:
        """Forget a picture before its time, if it is there; raises StorageUnavailable."""
        if NAME.fullmatch(name):
            with _reachable():
                obstore.delete(self._store, name)

    def discard(self, name: str) -> None:
        """The same on a thread of its own: a storage that is away holds nobody up."""
        with self._lock:
            if self._remover is None:
                self._remover = threading.Thread(target=self._remove_discarded, name="discard", daemon=True)
                self._remover.start()
        try:
            self._discarded.put_nowait(name)
        except queue.Full:
            log.warning("too many objects wait to be removed; a later sweep will")

    def _remove_discarded(self) -> None:
        while True:
            try:
                self.remove(self._discarded.get())
            except StorageUnavailable as error:
                log.warning("an object was not removed; a later sweep will", cause=type(error.__cause__).__name__)
            finally:
                self._discarded.task_done()

    def probe(self) -> None:
        """List nothing; raises StorageUnavailable when the storage is away, refuses the key or has no such bucket.

        Nothing is written: with versions kept in the bucket, it would stay for ever.
        """
        with _reachable(missing=StorageUnavailable()):
            for _ in obstore.list(self._store, prefix=NOTHING):
                break

    def expire(self, keep: Collection[str] = ()) -> int:
        """Remove what is past its life and not to be kept; how many objects that were. Raises StorageUnavailable."""
        with _reachable(missing=StorageUnavailable()):
            old = [
                found["path"]
                for batch in obstore.list(self._store)
                for found in batch
                if NAME.fullmatch(path := found["path"])
                and path not in keep
                and not self._young(found["last_modified"])
            ]
            obstore.delete(self._store, old)
        return len(old)

    def _check_age(self, written: datetime) -> None:
        if not self._young(written):
            raise NotFound(GONE)

    def _young(self, written: datetime) -> bool:
        return datetime.now(UTC) - written < self._life


def bucket(settings: Settings, kind: str) -> S3Store:
    """The operator's bucket (`s3://name/prefix`), below a prefix for one kind of pictures."""
    place = urlsplit(settings.storage_url)
    return S3Store(
        place.netloc,
        prefix="/".join(part for part in (place.path.strip("/"), kind) if part),
        # What is None is taken from the environment, where the storage's library looks by itself.
        endpoint=settings.storage_endpoint or None,
        access_key_id=settings.storage_key_id or None,
        secret_access_key=settings.storage_secret.get_secret_value() or None,
        region=settings.storage_region,
        client_options={"allow_http": True},
        retry_config={"max_retries": 20, "retry_timeout": timedelta(seconds=settings.storage_patience)},
    )


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise NotFound(GONE)


def try_bucket(settings: Settings) -> str | None:
    """Write something small into the operator's bucket and remove it: why that is refused, for the operator, or None.

    Raises StorageUnavailable when the storage is away, after a few seconds.
    """
    objects = Objects(bucket(settings.model_copy(update={"storage_patience": TRIAL}), "trial"), TRIAL)
    try:
        objects.remove(objects.put(b"", UNREAD))
    except StorageUnavailable as error:
        match error.__cause__:
            case FileNotFoundError():
                return "there is no such bucket"
            case PermissionDeniedError() | UnauthenticatedError():
                return "the key and its secret are wrong, or may not write and delete there"
        raise
    return None


@contextmanager
def _reachable(missing: TintypeError | None = None) -> Iterator[None]:
    """Tell what is not there from a storage that is away, whose own words name hosts and buckets."""
    try:
        yield
    except FileNotFoundError as error:
        raise missing or NotFound(GONE) from error
    except (BaseError, OSError, ValueError) as error:
        raise StorageUnavailable from error
