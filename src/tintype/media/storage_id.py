"""Which storage it is: the storage's id, the same under every name by which machines reach it."""

from __future__ import annotations

import json
import secrets
import socket
from typing import Literal

from tintype.errors import ConfigurationInvalid
from tintype.private import make_folder, write_whole
from tintype.settings import Settings

#: File name of a folder's storage id, next to its folders of images, where no cleanup removes it.
ID_FILE = "storage.json"
ABOUT = "tintype knows this storage by it: keep it with the pictures"


def kind(settings: Settings) -> Literal["bucket", "folder"]:
    """Which kind of storage the operator configured."""
    return "bucket" if settings.storage.url else "folder"


def place(settings: Settings) -> str:
    """Where the storage is, in an operator's words."""
    if settings.storage.url:
        return f"{settings.storage.url.rstrip('/')} at {settings.storage.endpoint or 'Amazon'}"
    return f"the folder {settings.data.absolute()} on {socket.gethostname()}"


def read_storage_id(settings: Settings) -> str | None:
    """The storage's id, the same under every name by which machines reach it; None where it has none yet.

    Raises ConfigurationInvalid, and StorageUnavailable.
    """
    try:
        found = _read_id(settings)
        return None if found is None else str(json.loads(found)["id"])
    except OSError as error:
        raise ConfigurationInvalid(f"{settings.data / ID_FILE} can't be read: {error.strerror}") from error
    except (ValueError, LookupError, TypeError) as error:
        raise ConfigurationInvalid(f"what marks {place(settings)} as tintype's is damaged") from error


def write_storage_id(settings: Settings, id: str | None = None) -> str:
    """Give the storage this id, or a new one; raises as `read_storage_id` does."""
    id = id or secrets.token_hex(16)
    data = json.dumps({"id": id, "about": ABOUT}).encode()
    try:
        _write_id(settings, data)
    except OSError as error:
        raise ConfigurationInvalid(f"{settings.data / ID_FILE} can't be written: {error.strerror}") from error
    return id


def _read_id(settings: Settings) -> bytes | None:
    if settings.storage.url:
        from tintype.media.objects import read_id  # noqa: PLC0415 - an extra that most servers don't need

        return read_id(settings.storage)
    file = settings.data / ID_FILE
    return file.read_bytes() if file.exists() else None


def _write_id(settings: Settings, data: bytes) -> None:
    if settings.storage.url:
        from tintype.media.objects import write_id  # noqa: PLC0415 - as above

        write_id(settings.storage, data)
        return
    make_folder(settings.data)
    file = settings.data / ID_FILE
    write_whole(file, data, file.with_name(f"{ID_FILE}.{secrets.token_hex(4)}"))
