"""A database that is away, or takes no changes: told from mistakes of ours, and logged once per outage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tintype.errors import StoreUnavailable
from tintype.telemetry.logs import Outage

#: Two of PostgreSQL's codes, and what is in the statement that waits for the one lock.
LOCKED, TOO_SLOW, LOCKS = "55P03", "57014", "pg_advisory_xact_lock"
#: What keeps a database from being changed while it can be read, by PostgreSQL's codes and by SQLite's.
READ_ONLY = {
    "53100": "its disk is full",
    "25006": "it only reads, as a copy does",
    LOCKED: "its lock is taken",
    sqlite3.SQLITE_FULL: "its disk is full",
    sqlite3.SQLITE_READONLY: "it only reads",
    sqlite3.SQLITE_BUSY: "its lock is taken",
}
#: What else has a name; all other causes are that it is away.
NAMED = READ_ONLY | {
    TOO_SLOW: "it is too slow",
    "53300": "it takes no more connections",
    sqlite3.SQLITE_CANTOPEN: "its file can't be opened",
    sqlite3.SQLITE_IOERR: "its disk fails",
}


class Outages:
    """Watches every transaction: whether the database is there at all, and whether it can be changed.

    Two states, since reads may succeed for hours while writes don't. quiet: whether nothing is logged.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._away = Outage("database unavailable", "database available again")
        self._read_only = Outage("database can't be changed", "database can be changed again")

    @property
    def read_only(self) -> bool:
        """Whether the last change was refused."""
        return self._read_only.lasts

    @contextmanager
    def watched(self, *, changes: bool = False) -> Iterator[None]:
        """Raise StoreUnavailable for what is temporary; sqlite3 has one exception class for that and for bugs of ours.

        changes: whether success shows that the database can be changed.
        """
        try:
            yield
        except StoreUnavailable as error:
            self._failed(error.__cause__)
            raise
        except PoolTimeout as error:
            self._failed(error)
            raise StoreUnavailable from error
        except (OperationalError, InterfaceError, InternalError) as error:
            # On Postgres: the server is away, full or too slow; the connection broke; this server is a replica. All of
            # them are temporary.
            if getattr(error.orig, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
                raise
            self._failed(error)
            raise StoreUnavailable from error
        self._away.succeeded()
        if changes:
            self._read_only.succeeded()

    def _failed(self, error: BaseException | None) -> None:
        if self._quiet:
            return
        changes_only = isinstance(error, TimeoutError) or _code(error) in READ_ONLY
        (self._read_only if changes_only else self._away).failed(cause(error))


def cause(error: BaseException | None) -> str:
    """Why it failed, in the driver's own words, one line: no statement, parameters or password."""
    if isinstance(error, PoolTimeout):
        return "all connections that this process may have were in use for too long"
    own = error.orig if isinstance(error, DBAPIError) else error
    words = next(iter(str(own).strip().splitlines()), "") or type(own).__name__
    known = NAMED.get(_code(error) or "")
    return f"{known}: {words}" if known else words


def _code(error: BaseException | None) -> str | int | None:
    """PostgreSQL's or, without its extension, SQLite's."""
    own = error.orig if isinstance(error, DBAPIError) else error
    if (extended := getattr(own, "sqlite_errorcode", None)) is not None:
        return int(extended & 0xFF)
    code: str | None = getattr(own, "sqlstate", None)
    # Of two limits that are the same, PostgreSQL names the statement's, whatever it waited for.
    waited = code == TOO_SLOW and isinstance(error, DBAPIError) and LOCKS in (error.statement or "")
    return LOCKED if waited else code
