"""Where pictures and the database lie: whether it takes what is written to it, and that others can't read it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path

import structlog
from sqlalchemy import make_url

from tintype.cli.local import lacking
from tintype.cli.refusals import Misset
from tintype.errors import ConfigurationInvalid, StorageUnavailable
from tintype.media.storage import place
from tintype.private import tighten
from tintype.settings import Settings

log = structlog.get_logger()

#: Where Amazon's tools, and the storage's library, look for what the settings leave empty; of addresses, the first.
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")


def located(settings: Settings, environment: Mapping[str, str] = os.environ) -> Settings:
    """With the storage's address in them, also where only the environment has it; raises Misset for what is none.

    By it the storage is told from others: at start in the log, in the database, and while it is away.
    """
    name = next((name for name in ENDPOINTS if environment.get(name)), None)
    if name is None or settings.storage_endpoint or not settings.storage_url:
        return settings
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", environment[name]):
        raise Misset(f"{name} is no address: it is written like https://storage.example")
    return settings.model_copy(update={"storage_endpoint": environment[name].rstrip("/")})


def check_storage(settings: Settings, environment: MutableMapping[str, str] = os.environ) -> None:
    """Raise Misset, in the operator's terms, where a bucket is configured that can't be used.

    A storage that is away is no reason not to start: it may come back, as it may go away later.
    """
    if not settings.storage_url:
        return
    try:
        from tintype.media.objects import TRIAL, open_bucket  # noqa: PLC0415 - an extra that most servers don't need
    except ImportError as error:
        raise Misset(lacking("TINTYPE_STORAGE_URL", "s3")) from error
    _check_environment(settings, environment)
    try:
        open_bucket(settings, "trial", TRIAL, TRIAL).self_test()
    except ConfigurationInvalid as error:
        raise Misset(f"TINTYPE_STORAGE_URL: {error.message}") from error
    except StorageUnavailable as error:
        if error.refuses:
            words = f"TINTYPE_STORAGE_URL: {place(settings)} can't be used: {error.why}; {_advice(error)}"
            raise Misset(words) from error
        log.warning("the storage is away; starting all the same", cause=error.why)


def _advice(error: StorageUnavailable) -> str:
    if error.why.startswith("there is no key"):
        return "set TINTYPE_STORAGE_KEY_ID and TINTYPE_STORAGE_SECRET, or AWS_ACCESS_KEY_ID and its kind, or use a role"
    return "docs/operations.md, Object storage, says what the bucket, its region and the key's rights must be"


def _check_environment(settings: Settings, environment: MutableMapping[str, str]) -> None:
    """Refuse AWS_… variables that can't be meant; what is empty there, as compose files leave it, counts as not set."""
    for name in [name for name, value in environment.items() if name.startswith("AWS_") and not value]:
        del environment[name]
    key, secret = (name in environment for name in KEYS)
    if key != secret and not settings.storage_key_id:
        raise Misset(f"{' and '.join(KEYS)} go together: set both, or neither")


def close_to_others(settings: Settings) -> None:
    """Have what an earlier version left open to other users of the machine be the owner's alone, and say so."""
    if closed := tighten(_private(settings)):
        log.info("closed to other users of this machine", paths=[str(path) for path in closed])


def _private(settings: Settings) -> Iterator[Path]:
    """What has prompts, secrets and pictures in it; what lies in a folder is closed with that."""
    yield settings.data
    yield from (settings.inputs_folder, settings.outputs_folder, settings.assets_folder, settings.prepared_folder)
    yield from settings.data.glob("memory-*.json")
    url = make_url(settings.database)
    if url.get_backend_name() == "sqlite" and url.database:
        yield from (Path(url.database + suffix) for suffix in ("", "-wal", "-shm"))
