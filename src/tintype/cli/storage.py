"""Where pictures and the database lie: whether it takes what is written to it, and that others can't read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import structlog
from sqlalchemy import make_url

from tintype.cli.local import lacking
from tintype.errors import StorageUnavailable
from tintype.private import tighten
from tintype.settings import Settings

log = structlog.get_logger()


def check_storage(settings: Settings) -> None:
    """Raise UsageError, in the operator's terms, where a bucket is configured that can't be used.

    A storage that is away is no reason not to start: it may come back, as it may go away later.
    """
    if not settings.storage_url:
        return
    try:
        from tintype.media.objects import try_bucket  # noqa: PLC0415 - an extra that most servers don't need
    except ImportError as error:
        raise click.UsageError(lacking("TINTYPE_STORAGE_URL", "s3")) from error
    try:
        refusal = try_bucket(settings)
    except StorageUnavailable as error:
        log.warning("the storage is away; starting all the same", cause=str(error.__cause__))
    else:
        if refusal:
            place = f"{settings.storage_url} at {settings.storage_endpoint or 'Amazon'}"
            raise click.UsageError(f"TINTYPE_STORAGE_URL: {place} can't be used: {refusal}")


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
