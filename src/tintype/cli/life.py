"""What the line at a process's start says of it, so that a log tells what it was started with."""

from __future__ import annotations

from typing import Any

from tintype.media.storage import place
from tintype.settings import Settings
from tintype.store.db.database import shown_url

#: The settings that bound what callers may take of a web process, of the queue, and of a worker.
CALLERS = (
    *("key_rpm", "key_concurrency", "key_max_queued", "queue", "queue_share", "account_keys", "account_keys_daily"),
    *("account_waits", "waits", "connections", "peer_connections", "max_body", "account_bodies", "bodies"),
    *("max_picture_bytes", "max_picture_pixels", "input_quota", "asset_quota"),
)
WORK = ("max_rows", "max_pictures", "memory", "memory_share", "decoders", "max_picture_bytes", "max_picture_pixels")
FLEET = ("fleet_min", "fleet_max", "ray_gpus", "ray_cpus")


def about(settings: Settings, limits: tuple[str, ...]) -> dict[str, Any]:
    """Where its database and pictures are, and its limits, without any secret."""
    return {
        "database": shown_url(settings.database),
        "storage": place(settings),
        "limits": {name: getattr(settings, name) for name in limits},
    }
