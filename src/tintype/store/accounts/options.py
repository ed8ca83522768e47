"""What clients of A1111's API set for a key: each key has its own, where that program has one set for all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from sqlalchemy import bindparam, select

from tintype.store.db.database import Database
from tintype.store.db.measurements import INSERT
from tintype.store.db.statements import Statement
from tintype.store.db.tables import key_options

columns = key_options.c
OWN = Statement(
    select(columns.checkpoint, columns.samples_format, columns.jpeg_quality).where(columns.key_id == bindparam("own"))
)


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """None where nothing was set."""

    #: A model's name: a slug or an alias.
    checkpoint: str | None = None
    #: A file format, a name of `catalog.formats`.
    samples_format: str | None = None
    #: Of a lossy format.
    jpeg_quality: int | None = None


class Options:
    """The options of keys."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def of(self, key_id: str) -> KeyOptions:
        """A key's."""
        rows = self._db.ask(OWN, {"own": key_id})
        return KeyOptions(*rows[0]) if rows else KeyOptions()

    def set(self, key_id: str, changes: KeyOptions) -> None:
        """Set those that aren't None."""
        values = {name: value for name, value in asdict(changes).items() if value is not None}
        if values:
            with self._db.write() as tx:
                tx.execute(_put(tx.dialect.name, tuple(values)), {"key_id": key_id, **values})


@cache
def _put(dialect: str, names: tuple[str, ...]) -> Any:
    row = INSERT[dialect](key_options)
    return row.on_conflict_do_update(index_elements=[columns.key_id], set_={name: row.excluded[name] for name in names})
