"""What the database knows of itself: where its pictures are, which version brought its schema, and of its Ray fleet."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, delete, insert, select

from tintype.store.db.tables import facts

#: `{"id": …, "place": …}`: the id that the storage has of its own, and where it was, for people.
STORAGE = "storage"
#: `{"version": …}`: the tintype that the last migration was part of.
SCHEMA = "schema"
#: `{"id": …}`: what tells the actors of this database's fleet from another's on the same cluster.
FLEET = "fleet"
#: `{"why": …}`: why workers of that fleet get no machine; empty where they do.
WAITS = "waits"


def read(view: Connection, name: str) -> dict[str, Any] | None:
    """What is known under that name, or None."""
    found: dict[str, Any] | None = view.scalar(select(facts.c.value).where(facts.c.name == name))
    return found


def write(tx: Connection, name: str, **value: Any) -> None:
    """Know this from now on; within a writing transaction."""
    tx.execute(delete(facts).where(facts.c.name == name))
    tx.execute(insert(facts).values(name=name, value=value))
