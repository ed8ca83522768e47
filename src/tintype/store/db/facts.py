"""Facts about the database as a whole: its storage of images, its schema's version, its Ray fleet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select

from tintype.store.db.tables import facts

#: `{"id": …, "place": …}`: the storage's own id, and where it was, for people.
STORAGE = "storage"
#: `{"version": …}`: the tintype that the last migration was part of.
SCHEMA = "schema"
#: `{"id": …}`: distinguishes the actors of this database's fleet from another's on the same cluster.
FLEET = "fleet"
#: `{"why": …}`: why workers of that fleet get no machine; empty where they do.
WAITS = "waits"

#: `{"tag": …, "secret": …}`, in hex: of 2 bytes, which marks of images name this server by, and of 32 bytes.
IDENTITY = "identity"

#: `{"since": …, "begun": …, "listed_at": …}`: images of requests that ended before the first are gone, unless they are
#: kept; before the second, by an earlier version's cleanup; and when all images were last listed.
IMAGES = "images"


def read(view: Connection, name: str) -> dict[str, Any] | None:
    """The fact of that name, or None."""
    found: dict[str, Any] | None = view.scalar(select(facts.c.value).where(facts.c.name == name))
    return found


def write(tx: Connection, name: str, **value: Any) -> None:
    """Replace a fact; within a writing transaction."""
    tx.execute(delete(facts).where(facts.c.name == name))
    tx.execute(insert(facts).values(name=name, value=value))
