"""Statements of the hot paths: each is written out once, and run by the driver itself.

What SQLAlchemy does at each execution of a statement takes several times as long as SQLite takes for most of ours, and
all who wait for the lock wait for it: it looks up the compiled form, merges options, wraps cursor and rows.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Dialect, Select
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import TypeEngine

T = TypeVar("T")
Convert = Callable[[Any], Any]


class Statement:
    """A statement of SQLAlchemy's, executed again and again with other values of the same names.

    Its rows are named tuples of what it selects or returns; errors are SQLAlchemy's own. One with `expanding`
    parameters, whose text depends on them, is left to SQLAlchemy.
    """

    def __init__(self, core: Select[*tuple[Any, ...]] | UpdateBase) -> None:
        self._core = core
        self._written: dict[str, Written | None] = {}

    def run(self, tx: Connection, values: Mapping[str, Any]) -> None:
        """Execute it where it returns nothing."""
        self.all(tx, values)

    def one(self, tx: Connection, values: Mapping[str, Any]) -> Any:
        """Its only row; raises InvalidRequestError where there is none."""
        row = self.first(tx, values)
        if row is None:
            raise InvalidRequestError("one row was expected, and none was found")
        return row

    def first(self, tx: Connection, values: Mapping[str, Any]) -> Any:
        """Its only row; None where there is none."""
        rows = self.all(tx, values)
        if len(rows) > 1:
            raise InvalidRequestError(f"one row at most was expected, and {len(rows)} were found")
        return rows[0] if rows else None

    def later(self, tx: Connection, values: Mapping[str, Any]) -> None:
        """Execute it, where it returns nothing, before the transaction's next statement or its end: see `LATER`."""
        written = self._write_out(tx.dialect, values)
        if written is None or tx.dialect.name == "sqlite":
            self.all(tx, values)
            return
        if any(one is written for one, _ in tx.info[LATER]):  # in one message, neither would see what the other changes
            execute_waiting(tx)
        tx.info[LATER].append((written, values))

    def one_with_waiting(self, tx: Connection, values: Mapping[str, Any]) -> Any:
        """Its only row. What `later` has left goes with it, in one message to a server."""
        written = self._write_out(tx.dialect, values)
        if written is None:
            return self.one(tx, values)
        waiting, tx.info[LATER] = tx.info[LATER], []
        (row,) = _rows(tx, [*waiting, (written, values)])
        return row

    def all(self, tx: Connection, values: Mapping[str, Any]) -> list[Any]:
        """Its rows."""
        written = self._write_out(tx.dialect, values)
        return [*tx.execute(self._core, values)] if written is None else _rows(tx, [(written, values)])

    def _write_out(self, dialect: Dialect, values: Mapping[str, Any]) -> Written | None:
        """It in a database's own words; None where they depend on values."""
        try:
            return self._written[dialect.name]
        except KeyError:
            written = self._written[dialect.name] = Written.of(self._core, dialect, [*values])
            return written


#: In a connection's `info`: statements that wait for others, where each message to the database's server and its answer
#: cost as much as the work. They are sent as one statement, so they mustn't change the same row, or read what another
#: one changes.
LATER = "later"


def execute_waiting(tx: Connection) -> None:
    """Execute what `later` has left."""
    if waiting := tx.info[LATER]:
        tx.info[LATER] = []
        _rows(tx, waiting)


def _rows(tx: Connection, parts: Sequence[tuple[Written, Mapping[str, Any]]]) -> list[Any]:
    """The rows of a statement, or of the last of several that are sent as one."""
    last, values = parts[-1]
    text, given = last.text, last.parameters(values)
    if len(parts) > 1:
        text = _as_one(tuple(part.text for part, _ in parts))
        given = {
            f"part{number}_{name}": value
            for number, (part, values) in enumerate(parts)
            for name, value in part.parameters(values).items()
        }
    with executed(tx, text, given) as cursor:
        return last.rows(tx.dialect, cursor)


@lru_cache(64)
def _as_one(texts: tuple[str, ...]) -> str:
    """Statements as one of PostgreSQL's, each with names of its own."""
    *first, last = [text.replace("%(", f"%(part{number}_") for number, text in enumerate(texts)]
    return f"WITH {', '.join(f'part{number} AS ({one})' for number, one in enumerate(first))} {last}"


@contextmanager
def executed(tx: Connection, text: str, parameters: Any = ()) -> Iterator[DBAPICursor]:
    """The driver's cursor after a statement in the database's own words; raises SQLAlchemy's errors."""
    cursor = tx.connection.cursor()
    try:
        # As before all other statements: what rejects texts, moves the clock, counts.
        for listener in tx.dispatch.before_cursor_execute:
            text, parameters = listener(tx, cursor, text, parameters, None, False)
        cursor.execute(text, parameters)
        yield cursor
    except tx.dialect.loaded_dbapi.Error as error:
        # Raises SQLAlchemy's own, after all that it does where a connection is broken. It has no public name.
        tx._handle_dbapi_exception(error, text, None, cursor, None)
    finally:
        cursor.close()


def execute(tx: Connection, text: str, parameters: Any = ()) -> None:
    """Execute a statement in the database's own words; raises SQLAlchemy's errors."""
    with executed(tx, text, parameters):
        pass


@dataclass(slots=True)
class Written:
    """A statement in one database's words."""

    text: str
    #: The values that never change, by the names in the text, and how others are converted.
    constants: Mapping[str, Any]
    converted: Sequence[tuple[str, Convert]]
    #: What picks the values where the text has places, not names.
    pick: Callable[[Mapping[str, Any]], Any] | None
    #: Of its rows; and how some of their values are converted, which depends on the types that the database names.
    columns: Sequence[ColumnElement[Any]]
    make: Callable[[Sequence[Any]], Any]
    read: Sequence[tuple[int, Convert]] | None = None

    @classmethod
    def of(cls, core: Select[*tuple[Any, ...]] | UpdateBase, dialect: Dialect, keys: list[str]) -> Written | None:
        """Have SQLAlchemy write it; None where its text depends on values. keys: the names that they have."""
        compiled: Any = core.compile(dialect=dialect, column_keys=keys)
        if compiled.post_compile_params or compiled.literal_execute_params:
            return None
        binds = [(name, bind) for bind, name in compiled.bind_names.items()]
        columns = [*core.exported_columns]
        names = [column.key or "" for column in columns]
        row: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]
        return cls(
            text=compiled.string,
            constants={name: bind.effective_value for name, bind in binds if not bind.required},
            converted=_conversions((name, _type(bind, dialect).bind_processor(dialect)) for name, bind in binds),
            pick=_picker(compiled.positiontup) if compiled.positional else None,
            columns=columns,
            make=row._make,
        )

    def parameters(self, values: Mapping[str, Any]) -> Any:
        """The values as the driver takes them."""
        given = {**self.constants, **values}
        for name, convert in self.converted:
            given[name] = convert(given[name])
        return self.pick(given) if self.pick else given

    def rows(self, dialect: Dialect, cursor: DBAPICursor) -> list[Any]:
        """What the driver has to read; none where the statement returns nothing."""
        if not self.columns:
            return []
        if self.read is None:
            described = zip(self.columns, cursor.description, strict=True)
            processors = [_type(column, dialect).result_processor(dialect, about[1]) for column, about in described]
            self.read = _conversions(enumerate(processors))
        return [self._row(values) for values in cursor.fetchall()]

    def _row(self, values: Sequence[Any]) -> Any:
        if self.read:
            values = [*values]
            for index, convert in self.read:
                values[index] = convert(values[index])
        return self.make(values)


def _type(column: ColumnElement[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Its type as a database has it."""
    return column.type.dialect_impl(dialect)


def _conversions(found: Iterable[tuple[T, Convert | None]]) -> list[tuple[T, Convert]]:
    return [(where, convert) for where, convert in found if convert is not None]


def _picker(names: Sequence[str]) -> Callable[[Mapping[str, Any]], Any]:
    if len(names) > 1:
        return itemgetter(*names)
    return lambda given: tuple(given[name] for name in names)  # itemgetter makes no tuple of one
