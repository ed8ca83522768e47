"""Put, get and expire in an object storage that speaks S3's API, for several machines that share their pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from mimetypes import types_map
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tintype.errors import NotFound, StorageUnavailable
from tintype.media.outputs import GONE, NAME, new_name
from tintype.settings import Settings

#: What a name ends in → its content type, where the interpreter's own table may lack it.
TYPES = types_map | {".webp": "image/webp", ".jpeg": "image/jpeg"}
#: Of what callers send as an input, which only workers read: it is kept as it came, whatever picture it is.
UNTOLD = "application/octet-stream"


class Objects:
    """Pictures under one prefix of a bucket, each kept `life` seconds from being written; as `Files`."""

    def __init__(self, store: S3Store, life: float) -> None:
        self._store = store
        self._life = timedelta(seconds=life)

    def put(self, data: bytes, suffix: str) -> str:
        """Keep a picture; its name. It is stored, whole, once this returns. Raises StorageUnavailable."""
        name = new_name(suffix)
        with _reachable():
            obstore.put(self._store, name, data, attributes={"Content-Type": TYPES.get(f".{suffix}", UNTOLD)})
        return name

    def get(self, name: str) -> bytes:
        """A picture's bytes; raises NotFound and StorageUnavailable."""
        self.find(name)
        with _reachable():
            return bytes(obstore.get(self._store, name).bytes())

    def find(self, name: str) -> None:
        """Raise NotFound when a picture is unknown or past its life, or `name` is none of ours."""
        if not NAME.fullmatch(name):
            raise NotFound(GONE)
        with _reachable():
            if not self._young(obstore.head(self._store, name)["last_modified"]):
                raise NotFound(GONE)

    def address(self, name: str, seconds: float) -> str:
        """An address under which anybody can read it for so long, signed (AWS Signature Version 4); raises NotFound."""
        self.find(name)
        return obstore.sign(self._store, "GET", name, timedelta(seconds=seconds))

    def remove(self, name: str) -> None:
        """Forget a picture before its time, if it is there; raises StorageUnavailable."""
        if NAME.fullmatch(name):
            with _reachable():
                obstore.delete(self._store, name)

    def expire(self) -> int:
        """Remove what is past its life; how many objects that were. Raises StorageUnavailable."""
        with _reachable():
            old = [
                found["path"]
                for batch in obstore.list(self._store)
                for found in batch
                if NAME.fullmatch(found["path"]) and not self._young(found["last_modified"])
            ]
            obstore.delete(self._store, old)
        return len(old)

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


@contextmanager
def _reachable() -> Iterator[None]:
    """Tell what is not there from a storage that is away, whose own words name hosts and buckets."""
    try:
        yield
    except FileNotFoundError as error:
        raise NotFound(GONE) from error
    except (BaseError, OSError, ValueError) as error:
        raise StorageUnavailable from error
