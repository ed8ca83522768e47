"""Stores for tests: on a database, with the queue's rules as a test wants them; and what is submitted and made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from tintype.core import Result
from tintype.settings import Settings
from tintype.store.accounts.keys import Key
from tintype.store.db.database import Database
from tintype.store.db.records import RequestMetadata
from tintype.store.queue.lifecycle import Rules
from tintype.store.queue.submit import NewRequest
from tintype.store.store import Store

#: Seconds that a worker may have a request, and that an ended one's record is kept, unless a test says otherwise.
LEASE, RETENTION = 15, 3600
METADATA = [one.name for one in fields(RequestMetadata)]


def store_on(db: Database, **rules: Any) -> Store:
    """A store on this database; rules: fields of `Rules`."""
    return Store(db, Settings(), Rules(**{"lease": LEASE, "retention": RETENTION, **rules}))


def new_request(
    key: Key, slug: str, params: Mapping[str, Any], price: int, priority: int = 0, steps: int = 0, **about: Any
) -> NewRequest:
    """A request to submit; `about` may have metadata too."""
    metadata = RequestMetadata(**{name: about.pop(name) for name in METADATA if name in about})
    return NewRequest(key, slug, params, price, priority=priority, steps=steps, metadata=metadata, **about)


def a_result(**said: Any) -> Result:
    """A result, as a worker would store it in JSON; what isn't said is of no matter."""
    pictures = [{"size": 0, **one} for one in said.pop("pictures", ())]
    defaults = {"format": "png", "seed": 7, "inference_time": 0.0}
    return Result.from_json({**defaults, **said, "pictures": pictures})
