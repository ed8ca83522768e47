"""Images in an object storage that speaks S3's API, which several machines share."""

from __future__ import annotations

import math
import queue
import re
import threading
import time
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
from tintype.media.storage import GONE, NAME, UNREAD, Choice, StorageOutages, Stored, new_name
from tintype.settings.groups import StorageSettings

if TYPE_CHECKING:
    from obstore import ObjectMeta  # only in its stub

log = structlog.get_logger()

#: A prefix without objects: listing it is the cheapest call.
NOTHING = "nothing"
#: Timeout in seconds of tests: at start, and now and then while the storage refuses.
TRIAL = 5.0
#: The test object. Small: a storage that refuses only large images passes.
TEST_DATA = bytes(1024)
#: Max and min timeout in seconds of one of several tries, each of which may send a whole image on a slow line.
MAX_TRY, MIN_TRY = 30.0, 1.0
#: Max seconds between two tries.
MAX_BACKOFF = 2.0
#: Max names that wait to be removed; more are left to the cleanup.
MAX_DISCARDED = 10_000
#: The library's error where there are no keys to sign with, and what an operator is told then.
NO_KEYS = {
    "/latest/api/token": "there is no key for it, and this machine's metadata service gives none",
    "/latest/meta-data": "there is no key for it, and this machine has no role",
    "169.254.170.2": "there is no key for it, and the container's credentials service gives none",
    "token file": "there is no key for it, and the web identity's token can't be read",
}
#: The same for errors that retrying doesn't fix,
MISTAKES = {
    "incorrectly configured region": "the bucket is in another region",
    "InvalidCertificate": "its certificate is not trusted on this machine",
}
#: for a storage that is away,
AWAY = {
    "ConnectionRefused": "it refuses connections",
    "dns error": "its name has no address",
    "TimedOut": "it does not answer in time",
    "kind: Interrupted": "it breaks connections off",
}
#: and for answers of something else, such as a proxy's own page.
STRANGE = "it answers what no storage does"
NO_STORAGE = dict.fromkeys(("Got invalid", "Unable to extract metadata", "non-partial response"), STRANGE)
#: What an operator is told of a missing test object.
LOST = "what was just written isn't there"
#: And of a storage that is full, or an account over its quota, whatever the status: by S3's error code.
NO_ROOM, FULL = "there is no room", re.compile(".*QuotaExceeded|InsufficientStorage|.*StorageFull")
STATUS = re.compile(r"status code: (\d{3})")
#: S3's error code, in its answer's body.
CODE = re.compile(r"<Code>(\w+)</Code>")
#: Statuses below 500 of transient errors.
TRANSIENT = {408, 429}


class Objects:
    """Images under one prefix of a bucket, each for `ttl` seconds from its writing; see Storage.

    trial: another prefix, for tests, with a short timeout. once: the same as `store` without retries, for callers who
    wait while it is known to be away. kind: the name of these images in the log.
    """

    #: Each chunk is a request to the storage.
    chunk = 3 * 2**17

    def __init__(self, store: S3Store, trial: S3Store, once: S3Store | None, ttl: float, kind: str) -> None:
        self._store = store
        self._once = once or store
        self._trial = trial
        #: Always the same, so that at most one is left where it can't be removed.
        self._test_name = new_name(UNREAD)
        #: As many bytes as the last image for which there was no room: with less room than that, it is still full.
        self._test_data = TEST_DATA
        self._ttl = timedelta.max if math.isinf(ttl) else timedelta(seconds=ttl)
        self._outages = StorageOutages(kind)
        self._discarded: queue.Queue[str] = queue.Queue(MAX_DISCARDED)
        self._lock = threading.Lock()
        self._remover: threading.Thread | None = None

    def put(self, data: bytes, suffix: str) -> str:
        """See Storage."""
        name = new_name(suffix)
        kind = "application/octet-stream" if suffix == UNREAD else f"image/{suffix}"
        try:
            with self._operation("write"):
                obstore.put(self._for("write"), name, data, attributes={"Content-Type": kind})
        except StorageUnavailable as error:
            self._test_data = TEST_DATA.ljust(len(data), b"\0") if error.why.startswith(NO_ROOM) else TEST_DATA
            raise
        return name

    def get(self, name: str) -> bytes:
        """See Storage."""
        _check(name)
        with self._operation("read"):
            found = obstore.get(self._for("read"), name)
            self._check_meta(found.meta)
            return bytes(found.bytes())

    def size(self, name: str) -> int:
        """See Storage."""
        _check(name)
        with self._operation("read"):
            found = obstore.head(self._for("read"), name)
            self._check_meta(found)
            return int(found["size"])

    def read_range(self, name: str, begin: int, end: int) -> bytes:
        """See Storage."""
        _check(name)
        with self._operation("read"):
            return bytes(obstore.get_range(self._for("read"), name, start=begin, end=end))

    def signed_url(self, name: str, seconds: float) -> str:
        """A presigned URL (AWS Signature Version 4); raises NotFound."""
        self.size(name)
        with self._operation("read"):  # of the keys, which may be a role's
            return obstore.sign(self._store, "GET", name, timedelta(seconds=seconds))

    def remove(self, name: str) -> None:
        """See Storage."""
        if NAME.fullmatch(name):
            with self._operation("remove"):
                obstore.delete(self._store, name)

    def remove_all(self, names: Collection[str]) -> None:
        """See Storage."""
        if names:
            with self._operation("remove"):
                obstore.delete(self._store, [name for name in names if NAME.fullmatch(name)])

    def discard(self, name: str) -> None:
        """See Storage: removes on a thread of its own, since a storage that is away would block."""
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
            with suppress(StorageUnavailable):  # a later cleanup removes it
                self.remove(self._discarded.get())
            self._discarded.task_done()

    def probe(self) -> None:
        """See Storage: lists nothing, which fails where the storage is away, refuses the key or has no such bucket.

        It writes nothing: in a bucket with versions, that would never be removed.
        """
        with _storage_errors("list"):
            next(iter(obstore.list(self._store, prefix=NOTHING)), None)

    def expire(self, keep: Collection[str] = ()) -> int:
        """See Storage."""
        moment, ttl = time.time(), self._ttl.total_seconds()
        old = [one.name for one in self._stored() if one.name not in keep and moment - one.written >= ttl]
        self.remove_all(old)
        return len(old)

    def thin(self, choose: Choice) -> None:
        """See Storage."""
        self.remove_all(choose(self._stored()))

    def missing_space(self) -> int:
        """See Storage."""
        return 0

    def _stored(self) -> Iterator[Stored]:
        with self._operation("list"):
            for batch in obstore.list(self._store):
                for one in batch:
                    if NAME.fullmatch(one["path"]):
                        yield Stored(one["last_modified"].timestamp(), one["size"], one["path"])

    def self_test(self) -> None:
        """See Storage: writes, reads, lists and removes a small object; fails after TRIAL seconds if it is away.

        Without the right to list, missing objects would look forbidden, and none would ever expire.
        """
        content = self._test_data
        with _storage_errors("write"):
            obstore.put(self._trial, self._test_name, content)
        with _storage_errors("read"):
            found = bytes(obstore.get(self._trial, self._test_name).bytes())
        if found != content:
            raise StorageUnavailable.because(STRANGE, refuses=False)
        with _storage_errors("list"):
            next(iter(obstore.list(self._trial)), None)
        with _storage_errors("remove"):
            obstore.delete(self._trial, self._test_name)

    @contextmanager
    def _operation(self, to: str) -> Iterator[None]:
        with self._outages.watching(to), _storage_errors(to, missing=NotFound(GONE) if to == "read" else None):
            yield

    def _for(self, to: str) -> S3Store:
        return self._once if self._outages.lasts(to) else self._store

    def _check_meta(self, found: ObjectMeta) -> None:
        """Raise NotFound for an expired object, StorageUnavailable for an undated or empty one: no storage's."""
        if not found["size"] or not found["last_modified"].timestamp():
            raise StorageUnavailable.because(STRANGE, refuses=False)
        if not self._young(found["last_modified"]):
            raise NotFound(GONE)

    def _young(self, written: datetime) -> bool:
        return datetime.now(UTC) - written < self._ttl


def open_bucket(storage: StorageSettings, kind: str, ttl: float, timeout: float | None = None) -> Objects:
    """One kind of images in the operator's bucket; calls are retried for as long as the settings say.

    timeout: max seconds for that, where callers wait. Raises ConfigurationInvalid, in the library's words.
    """
    limit = min(storage.timeout, timeout or math.inf)
    once = bucket(storage, kind, limit, retries=0) if timeout else None
    return Objects(bucket(storage, kind, limit), bucket(storage, "trial", TRIAL), once, ttl, kind)


def bucket(storage: StorageSettings, kind: str, timeout: float, retries: int = 2**31) -> S3Store:
    """The operator's bucket (`s3://name/prefix`), below a prefix for one kind of images.

    Empty settings are left out: the library reads AWS_… by itself, and looks for a role.
    """
    place = urlsplit(storage.url)
    try:
        return S3Store(
            place.netloc,
            prefix="/".join(part for part in (place.path.strip("/"), kind) if part),
            **_options(storage),
            client_options={
                "allow_http": True,
                "timeout": timedelta(seconds=min(MAX_TRY, max(MIN_TRY, timeout / 2))),
            },
            retry_config={
                "max_retries": retries,  # more than the timeout allows
                "retry_timeout": timedelta(seconds=timeout),
                "backoff": {
                    "init_backoff": timedelta(seconds=0.1),
                    "max_backoff": timedelta(seconds=MAX_BACKOFF),
                    "base": 2,
                },
            },
        )
    except BaseError as error:
        raise ConfigurationInvalid(f"the storage of pictures can't be used: {_first_line(error)}") from error


def _options(storage: StorageSettings) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if storage.endpoint:
        # Under both names: AWS_ENDPOINT_URL_S3 would win over the first.
        options |= dict.fromkeys(("endpoint", "aws_endpoint_url_s3"), storage.endpoint)
    if storage.region:
        options["region"] = storage.region
    if storage.key_id:
        keys = {
            "access_key_id": storage.key_id,
            "secret_access_key": storage.secret.get_secret_value(),
        }
        # Instead of plain keys, with which an unrelated AWS_SESSION_TOKEN would be sent.
        options["credential_provider"] = lambda: {**keys, "token": None, "expires_at": None}
    return options


def _check(name: str) -> None:
    if not NAME.fullmatch(name):
        raise NotFound(GONE)


@contextmanager
def _storage_errors(to: str, missing: TintypeError | None = None) -> Iterator[None]:
    """Raise `missing` for a missing object, else StorageUnavailable; the library's words name hosts and buckets."""
    try:
        yield
    except (BaseError, OSError, ValueError) as error:
        if missing and isinstance(error, FileNotFoundError) and "NoSuchBucket" not in str(error):
            raise missing from error
        raise _unavailable(error, to) from error


def _unavailable(error: Exception, to: str) -> StorageUnavailable:
    """The library's error in an operator's words."""
    words = str(error)
    found, code = STATUS.search(words), CODE.search(words)
    status, name = int(found[1]) if found else 0, f" ({code[1]})" if code else ""
    if why := _match(words, NO_KEYS | MISTAKES):
        return StorageUnavailable.because(why)
    if FULL.fullmatch(code[1] if code else "") or status == 507:
        return StorageUnavailable.because(f"{NO_ROOM}: it answers {status}{name}", refuses=False)
    if status in (401, 403) or isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return StorageUnavailable.because(f"the key is wrong, or may not {to} there{name}")
    if status == 404 or isinstance(error, FileNotFoundError):
        return StorageUnavailable.because(LOST if "NoSuchKey" in name else "there is no such bucket")
    if status:
        refuses = status < 500 and status not in TRANSIENT
        return StorageUnavailable.because(f"it answers {status}{name}", refuses=refuses)
    return StorageUnavailable.because(_match(words, AWAY | NO_STORAGE) or StorageUnavailable.why, refuses=False)


def _match(words: str, signs: Mapping[str, str]) -> str | None:
    return next((why for sign, why in signs.items() if sign in words), None)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


#: Name of the object with the storage's id (`media/storage.py`), next to the prefixes of images.
ID_OBJECT = "tintype.json"


def read_id(storage: StorageSettings) -> bytes | None:
    """The id's object, None where there is none; raises ConfigurationInvalid, StorageUnavailable."""
    with _id_store(storage, "read") as store:
        try:
            return bytes(obstore.get(store, ID_OBJECT).bytes())
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise
            return None


def write_id(storage: StorageSettings, data: bytes) -> None:
    """Write the id's object; raises as `read_id` does."""
    with _id_store(storage, "write") as store:
        obstore.put(store, ID_OBJECT, data, attributes={"Content-Type": "application/json"})


@contextmanager
def _id_store(storage: StorageSettings, to: str) -> Iterator[S3Store]:
    try:
        with _storage_errors(to):
            yield bucket(storage, "", min(TRIAL, storage.timeout))
    except StorageUnavailable as error:
        if not error.refuses:
            raise
        said = f"TINTYPE_STORAGE_URL: {ID_OBJECT} in {storage.url}: {error.why}"
        raise ConfigurationInvalid(said) from error
