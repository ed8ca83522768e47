"""What a setting or a database refuses, in an operator's words: what it was, and what can be done about it."""

from __future__ import annotations

import re
from typing import IO, Any

import click
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from tintype.cli.local import first_line, lacking

WRITTEN = (
    "TINTYPE_DATABASE_URL is written like postgresql+psycopg://user:password@host/database (with / and @ in a password"
    " as %2F and %40), or sqlite:////folder/tintype.db"
)
#: PostgreSQL's codes for what a role may not do, as in the schema `public` of another's database, and for a copy.
NOT_ALLOWED, READ_ONLY = "42501", "25006"
#: Parts of libpq's words, which have no code where no connection came about, and what to do then. Where they come in
#: another language, they stand by themselves.
ADVICE = (
    ("password authentication failed", "the password in TINTYPE_DATABASE_URL isn't that of {user}"),
    ("no password supplied", "TINTYPE_DATABASE_URL has none: postgresql+psycopg://{user}:password@host/{database}"),
    ("no pg_hba.conf entry", "its pg_hba.conf doesn't let {user} in from here"),
    (r'database ".*" does not exist', "`createdb -O {user} {database}`, as PostgreSQL's superuser, makes it"),
    (r'role ".*" does not exist', "`createuser --pwprompt {user}`, as PostgreSQL's superuser, makes it"),
    ("permission denied for database", "GRANT CONNECT ON DATABASE {database} TO {user}, as its owner, lets it in"),
    ("is not permitted to log in", "ALTER ROLE {user} LOGIN, as PostgreSQL's superuser, lets it"),
    ("too many (clients|connections)|connection slots", "raise max_connections, or the role's CONNECTION LIMIT"),
    ("Connection refused", "nothing listens there: is it running, and does it listen for this machine?"),
    ("resolve host", "no such name is known here (an @ or / in a password is written %40 or %2F)"),
    ("does not support SSL", "it offers no TLS, for which sslmode asks"),
    ("certificate", "sslmode and sslrootcert don't go with its certificate"),
)


class Misset(click.UsageError):
    """A setting that can't be meant: one line, as nothing is wrong with how the command was typed."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Without the command's usage."""
        click.ClickException.show(self, file)


def opening(error: Exception) -> str:
    """Why a URL leads to no database; what parses URLs may quote a part of a password."""
    if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
        return lacking("PostgreSQL", "postgres")
    return first_line(error) if isinstance(error, OSError) else WRITTEN


def advice(cause: BaseException | None, url: URL) -> str:
    """What to do about a database that can't be reached, to be put behind the cause; or nothing."""
    words = str(cause or "")
    if getattr(cause, "sqlstate", None) == READ_ONLY:
        return ": it is a copy; name the one that is written to, or add target_session_attrs=read-write"
    if getattr(cause, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
        return ": the folder and the files in it have to be writable for the user that runs tintype"
    if getattr(cause, "sqlite_errorname", ""):
        return ""
    found = next((said for pattern, said in ADVICE if re.search(pattern, words)), "")
    return f": {found.format(user=url.username or 'USER', database=url.database)}" if found else ""


def refusal(error: DBAPIError, url: URL) -> str:
    """The words for an operator's mistake; nothing for a mistake of ours."""
    cause = error.orig
    if getattr(cause, "sqlstate", None) == NOT_ALLOWED:
        role, database = url.username or "USER", url.database or "DATABASE"
        how = f"ALTER DATABASE {database} OWNER TO {role}; `createdb -O {role} {database}` makes it so from the start"
        return f"{first_line(cause)}: have {role} own the database; as PostgreSQL's superuser, {how}"
    if getattr(cause, "sqlite_errorname", "") in ("SQLITE_NOTADB", "SQLITE_CORRUPT"):
        return f"{first_line(cause)}: put a back-up in its place, or name another one"
    if error.statement is None and getattr(cause, "sqlstate", "") is None:  # libpq or psycopg, before they connect
        return f"{first_line(cause)}: after its ? TINTYPE_DATABASE_URL has libpq's options, such as sslmode=verify-full"
    return ""
