"""Put, get and expire in an object storage that speaks S3's API, for several machines that share their pictures."""

from __future__ import annotations

import math
import queue
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from tintype.errors import ConfigurationInvalid, NotFound, StorageUnavailable, TintypeError
from tintype.media.outputs import GONE, NAME, UNREAD, Troubles, new_name
from tintype.settings import Settings

if TYPE_CHECKING:
    from obstore import ObjectMeta  # a stub's alone

log = structlog.get_logger()

#: A prefix that nothing has: to list it is the smallest question.
NOTHING = "nothing"
#: Seconds that a storage may be away while it is only tried: at start, and now and then while it refuses.
TRIAL = 5.0
#: What is written then. Small: a storage that takes no large pictures refuses those alone.
SCRAP = bytes(1024)
#: Seconds for one of several tries, which may be a whole picture on a slow line; and at least, on a slow machine.
LONGEST_TRY, SHORTEST_TRY = 30.0, 1.0
#: Seconds between two tries at most: who comes back is found soon.
LONGEST_PAUSE = 2.0
#: Names that may wait to be removed; what is beyond is left to the sweep.
MOST_DISCARDED = 10_000
#: What the storage's library says where there are no keys to sign with, and what an operator is told then.
NO_KEYS = {
    "/latest/api/token": "there is no key for it, and this machine's metadata service gives none",
    "/latest/meta-data": "there is no key for it, and this machine has no role",
    "169.254.170.2": "there is no key for it, and the container's credentials service gives none",
    "token file": "there is no key for it, and the web identity's token can't be read",
}
#: What it says of mistakes that time doesn't mend.
MISTAKES = {
    "incorrectly configured region": "the bucket is in another region",
    "InvalidCertificate": "its certificate is not trusted on this machine",
}
#: And of a storage that is away.
AWAY = {
    "ConnectionRefused": "it refuses connections",
    "dns error": "its name has no address",
    "TimedOut": "it does not answer in time",
    "kind: Interrupted": "it breaks connections off",
}
#: And of what something else has answered, a proxy's page of its own say.
STRANGE = "it answers what no storage does"
NO_STORAGE = dict.fromkeys(("Got invalid", "Unable to extract metadata", "non-partial response"), STRANGE)
#: What is told of a trial's object that isn't there.
LOST = "what was just written isn't there"
#: And of a storage that is full, or an account that may keep no more, whatever the status is: by S3's name for it.
NO_ROOM, FULL = "there is no room", re.compile(".*QuotaExceeded|InsufficientStorage|.*StorageFull")
STATUS = re.compile(r"status code: (\d{3})")
#: S3's own name for what is wrong, in its answer's body.
CODE = re.compile(r"<Code>(\w+)</Code>")
#: Answers by which a storage says that it is not itself at the moment.
PASSING = {408, 429}


class Objects:
    """Pictures under one prefix of a bucket, each kept `life` seconds from being written; as `Files`.

    trial: another prefix of it, asked for a few seconds only. once: the same as `store`, without repetitions, for those
    who wait while it is known to be away. kind: what a log calls these pictures.
    """

    #: Bytes of a part: each is a request to the storage.
    piece = 3 * 2**17

    def __init__(self, store: S3Store, trial: S3Store, once: S3Store | None, life: float, kind: str) -> None:
        self._store = store
        self._once = once or store
        self._trial = trial
        #: The same every time: where it can't be removed, it is one.
        self._scrap = new_name(UNREAD)
        #: As many bytes as the last picture that there was no room for: with less room than that, it is full still.
        self._content = SCRAP
        self._life = timedelta.max if math.isinf(life) else timedelta(seconds=life)
        self._troubles = Troubles(kind)
        self._discarded: queue.Queue[str] = queue.Queue(MOST_DISCARDED)
        self._lock = threading.Lock()
        self._remover: threading.Thread | None = None

    def put(self, data: bytes, suffix: str) -> str:
        """Keep a picture; its name. It is stored, whole, once this returns. Raises StorageUnavailable."""
        name = new_name(suffix)
        kind = "application/octet-stream" if suffix == UNREAD else f"image/{suffix}"
        try:
            with self._asking("write"):
                obstore.put(self._for("write"), name, data, attributes={"Content-Type": kind})
        except StorageUnavailable as error:
            self._content = SCRAP.ljust(len(data), b"\0") if error.why.startswith(NO_ROOM) else SCRAP
            raise
        return name

    def get(self, name: str) -> bytes:
        """A picture's bytes; raises NotFound and StorageUnavailable."""
        _check(name)
        with self._asking("read"):
            found = obstore.get(self._for("read"), name)
            self._check_meta(found.meta)
            return bytes(found.bytes())

    def find(self, name: str) -> int:
        """How many bytes a picture has; raises NotFound when it is unknown or past its life, or `name` is none of ours.

        Raises StorageUnavailable.
        """
        _check(name)
        with self._asking("read"):
            found = obstore.head(self._for("read"), name)
            self._check_meta(found)
            return int(found["size"])

    def part(self, name: str, begin: int, end: int) -> bytes:
        """Bytes of a picture that was found; raises NotFound and StorageUnavailable."""
        _check(name)
        with self._asking("read"):
            return bytes(obstore.get_range(self._for("read"), name, start=begin, end=end))

    def address(self, name: str, seconds: float) -> str:
        """An address under which anybody can read it for so long, signed (AWS Signature Version 4); raises NotFound."""
        self.find(name)
        with self._asking("read"):  # for the keys, which may be a role's
            return obstore.sign(self._store, "GET", name, timedelta(seconds=seconds))

    def remove(self, name: str) -> None:
        """Forget a picture before its time, if it is there; raises StorageUnavailable."""
        if NAME.fullmatch(name):
            with self._asking("remove"):
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
            with suppress(StorageUnavailable):  # a later sweep will
                self.remove(self._discarded.get())
            self._discarded.task_done()

    def probe(self) -> None:
        """List nothing; raises StorageUnavailable when the storage is away, refuses the key or has no such bucket.

        Nothing is written: with versions kept in the bucket, it would stay for ever.
        """
        with _told("list"):
            next(iter(obstore.list(self._store, prefix=NOTHING)), None)

    def expire(self, keep: Collection[str] = ()) -> int:
        """Remove what is past its life and not to be kept; how many objects that were. Raises StorageUnavailable."""
        with self._asking("list"):
            old = [
                found["path"]
                for batch in obstore.list(self._store)
                for found in batch
                if NAME.fullmatch(path := found["path"])
                and path not in keep
                and not self._young(found["last_modified"])
            ]
        if old:
            with self._asking("remove"):
                obstore.delete(self._store, old)
        return len(old)

    def prove(self) -> None:
        """Write, read, list and remove something small; raises StorageUnavailable, if it is away after a few seconds.

        A key that may not list is told of what isn't there that this is forbidden, and nothing would ever expire.
        """
        content = self._content
        with _told("write"):
            obstore.put(self._trial, self._scrap, content)
        with _told("read"):
            found = bytes(obstore.get(self._trial, self._scrap).bytes())
        if found != content:
            raise StorageUnavailable.because(STRANGE, refuses=False)
        with _told("list"):
            next(iter(obstore.list(self._trial)), None)
        with _told("remove"):
            obstore.delete(self._trial, self._scrap)

    @contextmanager
    def _asking(self, to: str) -> Iterator[None]:
        with self._troubles.asking(to), _told(to, missing=NotFound(GONE) if to == "read" else None):
            yield

    def _for(self, to: str) -> S3Store:
        return self._once if self._troubles.lasts(to) else self._store

    def _check_meta(self, found: ObjectMeta) -> None:
        """Raise NotFound for what is past its life, StorageUnavailable for what no storage has: undated, or empty."""
        if not found["size"] or not found["last_modified"].timestamp():
            raise StorageUnavailable.because(STRANGE, refuses=False)
        if not self._young(found["last_modified"]):
            raise NotFound(GONE)

    def _young(self, written: datetime) -> bool:
        return datetime.now(UTC) - written < self._life


def open_bucket(settings: Settings, kind: str, life: float, patience: float | None = None) -> Objects:
    """One kind of pictures in the operator's bucket; one that is away is asked again for as long as the settings say.

    patience: seconds for that at most, where callers wait. Raises ConfigurationInvalid, in the library's words.
    """
    most = min(settings.storage_patience, patience or math.inf)
    once = bucket(settings, kind, most, retries=0) if patience else None
    return Objects(bucket(settings, kind, most), bucket(settings, "trial", TRIAL), once, life, kind)


def bucket(settings: Settings, kind: str, patience: float, retries: int = 2**31) -> S3Store:
    """The operator's bucket (`s3://name/prefix`), below a prefix for one kind of pictures.

    What the settings leave empty is left out: the storage's library looks into AWS_… by itself, and for a role.
    """
    place = urlsplit(settings.storage_url)
    try:
        return S3Store(
            place.netloc,
            prefix="/".join(part for part in (place.path.strip("/"), kind) if part),
            **_given(settings),
            client_options={
                "allow_http": True,
                "timeout": timedelta(seconds=min(LONGEST_TRY, max(SHORTEST_TRY, patience / 2))),
            },
            retry_config={
                "max_retries": retries,  # so many that the time decides
                "retry_timeout": timedelta(seconds=patience),
                "backoff": {
                    "init_backoff": timedelta(seconds=0.1),
                    "max_backoff": timedelta(seconds=LONGEST_PAUSE),
                    "base": 2,
                },
            },
        )
    except BaseError as error:
        raise ConfigurationInvalid(f"the storage of pictures can't be used: {_first_line(error)}") from error


def _given(settings: Settings) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if settings.storage_endpoint:
        # Under both names: AWS_ENDPOINT_URL_S3 would win over the first.
        given |= dict.fromkeys(("endpoint", "aws_endpoint_url_s3"), settings.storage_endpoint)
    if settings.storage_region:
        given["region"] = settings.storage_region
    if settings.storage_key_id:
        keys = {
            "access_key_id": settings.storage_key_id,
            "secret_access_key": settings.storage_secret.get_secret_value(),
        }
        # In place of plain keys, with which AWS_SESSION_TOKEN would be sent, whosever that is.
        given["credential_provider"] = lambda: {**keys, "token": None, "expires_at": None}
    return given


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise NotFound(GONE)


@contextmanager
def _told(to: str, missing: TintypeError | None = None) -> Iterator[None]:
    """Tell what is not there from a storage that is away or refuses, whose own words name hosts and buckets."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if missing and isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
            raise missing from error
        raise _trouble(error, to) from error


def _trouble(error: Exception, to: str) -> StorageUnavailable:
    """What an operator is told of it."""
    words = str(error)
    found, code = STATUS.search(words), CODE.search(words)
    status, name = int(found[1]) if found else 0, f" ({code[1]})" if code else ""
    if why := _said(words, NO_KEYS | MISTAKES):
        return StorageUnavailable.because(why)
    if FULL.fullmatch(code[1] if code else "") or status == 507:
        return StorageUnavailable.because(f"{NO_ROOM}: it answers {status}{name}", refuses=False)
    if status in (401, 403) or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return StorageUnavailable.because(f"the key is wrong, or may not {to} there{name}")
    if status == 404 or isinstance(error, FileNotFoundError):
        return StorageUnavailable.because(LOST if "NoSuchKey" in name else "there is no such bucket")
    if status:
        refuses = status < 500 and status not in PASSING
        return StorageUnavailable.because(f"it answers {status}{name}", refuses=refuses)
    return StorageUnavailable.because(_said(words, AWAY | NO_STORAGE) or StorageUnavailable.why, refuses=False)


def _said(words: str, signs: Mapping[str, str]) -> str | None:
    return next((why for sign, why in signs.items() if sign in words), None)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


#: What marks the operator's place in the bucket, beside the prefixes of pictures: `media/marker.py` knows its content.
MARK = "tintype.json"


def read_mark(settings: Settings) -> bytes | None:
    """What marks the place, None where nothing does; raises ConfigurationInvalid, StorageUnavailable."""
    with _marking(settings, "read") as store:
        try:
            return bytes(obstore.get(store, MARK).bytes())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise
            return None


def write_mark(settings: Settings, data: bytes) -> None:
    """Mark the place; raises as `read_mark` does."""
    with _marking(settings, "write") as store:
        obstore.put(store, MARK, data, attributes={"Content-Type": "application/json"})


@contextmanager
def _marking(settings: Settings, to: str) -> Iterator[S3Store]:
    try:
        with _told(to):
            yield bucket(settings, "", min(TRIAL, settings.storage_patience))
    except StorageUnavailable as error:
        if not error.refuses:
            raise
        said = f"TINTYPE_STORAGE_URL: {MARK} in {settings.storage_url}: {error.why}"
        raise ConfigurationInvalid(said) from error
