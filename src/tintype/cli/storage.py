"""Whether the storage of pictures takes what is written to it: tried at start, not when the first picture is done."""

from __future__ import annotations

import click
import structlog

from tintype.errors import StorageUnavailable
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
        raise click.UsageError("TINTYPE_STORAGE_URL: this needs an extra: pip install 'tintype[s3]'") from error
    try:
        refusal = try_bucket(settings)
    except StorageUnavailable as error:
        log.warning("the storage is away; starting all the same", cause=str(error.__cause__))
    else:
        if refusal:
            place = f"{settings.storage_url} at {settings.storage_endpoint or 'Amazon'}"
            raise click.UsageError(f"TINTYPE_STORAGE_URL: {place} can't be used: {refusal}")
