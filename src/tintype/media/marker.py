"""The id that a storage has of its own, by which it is known under whatever name a machine reaches it.

A small file beside the folders of pictures, or a small object above their prefixes: no sweep looks there.
"""

from __future__ import annotations

import json
import secrets
import socket
from typing import Literal

from tintype.errors import ConfigurationInvalid
from tintype.private import make_folder, write_whole
from tintype.settings import Settings

#: Its name in a folder; in a bucket, media/objects.py has it.
FILE = "storage.json"
WORDS = "tintype knows this storage by it: keep it with the pictures"


def kind(settings: Settings) -> Literal["bucket", "folder"]:
    """Which kind of storage the operator configured."""
    return "bucket" if settings.storage_url else "folder"


def place(settings: Settings) -> str:
    """Where it is, as an operator knows it."""
    if settings.storage_url:
        return f"{settings.storage_url.rstrip('/')} at {settings.storage_endpoint or 'Amazon'}"
    return f"the folder {settings.data.absolute()} on {socket.gethostname()}"


def read_marker(settings: Settings) -> str | None:
    """The storage's id, or None where it has none yet; raises ConfigurationInvalid, and StorageUnavailable."""
    try:
        found = _read(settings)
        return None if found is None else str(json.loads(found)["id"])
    except OSError as error:
        raise ConfigurationInvalid(f"{settings.data / FILE} can't be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigurationInvalid(f"what marks {place(settings)} as tintype's is damaged") from error


def write_marker(settings: Settings, id: str | None = None) -> str:
    """Give the storage this id, or a new one; raises as `read_marker` does."""
    id = id or secrets.token_hex(16)
    data = json.dumps({"id": id, "about": WORDS}).encode()
    try:
        _write(settings, data)
    except OSError as error:
        raise ConfigurationInvalid(f"{settings.data / FILE} can't be written: {error.strerror}") from error
    return id


def _read(settings: Settings) -> bytes | None:
    if settings.storage_url:
        from tintype.media.objects import read_mark  # noqa: PLC0415 - an extra that most servers don't need

        return read_mark(settings)
    file = settings.data / FILE
    return file.read_bytes() if file.exists() else None


def _write(settings: Settings, data: bytes) -> None:
    if settings.storage_url:
        from tintype.media.objects import write_mark  # noqa: PLC0415 - as above

        write_mark(settings, data)
        return
    make_folder(settings.data)
    file = settings.data / FILE
    write_whole(file, data, file.with_name(f"{FILE}.{secrets.token_hex(4)}"))
