"""The database as commands open it, its errors in an operator's terms; `tintype migrate` and `tintype backup`."""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import click
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tintype.cli.options import data_option, first_line, load_settings, missing_extra
from tintype.errors import ConfigurationInvalid, PerhapsDone, StoreUnavailable
from tintype.private import create, sync
from tintype.settings import Settings
from tintype.settings.values import URLS
from tintype.store.db import migrations
from tintype.store.db.database import Database, shown_url
from tintype.store.store import Store, rules

#: For a command that only reads or changes an existing database.
NO_DATABASE = (
    "there is no database of tintype's in {place}: name the server's folder (--data, TINTYPE_DATA) or database"
    " (TINTYPE_DATABASE_URL); `tintype serve` or `tintype migrate` makes a new one"
)
#: PostgreSQL's codes for what a role may not do, as in the schema `public` of another's database, and for a copy.
NOT_ALLOWED, READ_ONLY = "42501", "25006"
#: Patterns of libpq's texts, which have no code before a connection is made, and what to do then. In another language
#: they match nothing, and no advice is given.
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


@contextmanager
def open_database(
    settings: Settings, *, migrating: bool = False, making: bool = False, process: str = "command", quiet: bool = True
) -> Iterator[Database]:
    """The database; errors name the cause and the place, since the operator reads them.

    migrating: whether an older schema is upgraded and an empty database gets one; else both are refused.
    making: whether an empty database gets a schema, but no older one is upgraded: as with the first key.
    process: as PostgreSQL lists its connections.
    quiet: whether its outages are not logged, as in a command that ends with the first.
    """
    url = make_url(settings.sqlalchemy_url)
    place = shown_url(settings.sqlalchemy_url) if settings.database.url else f"{settings.data.absolute()}/"
    new = migrating or making
    if not new and is_missing(url):  # opening it would create it
        raise ConfigurationInvalid(NO_DATABASE.format(place=place))
    try:
        db = Database(settings.sqlalchemy_url, timeout=settings.database.timeout, process=process, quiet=quiet)
    except (OSError, ImportError, ValueError, ArgumentError) as error:
        raise click.ClickException(f"the database can't be opened: {_why_not_opened(error)}") from error
    try:
        if not new and migrations.version(db) is None:
            raise ConfigurationInvalid(NO_DATABASE.format(place=place))
        (migrations.migrate if migrating else migrations.check)(db)
        if process == "command" and sys.stderr.isatty():
            click.echo(f"database: {place}", err=True)
        yield db
    except StoreUnavailable as error:
        cause = getattr(error.__cause__, "orig", None) or error.__cause__
        perhaps = f". {error.message} {error.advice}" if isinstance(error, PerhapsDone) else ""
        raise type(error)(f"{first_line(cause)} in {place}{_advice(cause, url)}{perhaps}") from error
    except DBAPIError as error:
        if words := explain_refusal(error, url):
            raise ConfigurationInvalid(f"{words} ({place})") from error
        raise
    finally:
        db.close()


@contextmanager
def open_store(
    settings: Settings, *, migrating: bool = False, making: bool = False, process: str = "command", quiet: bool = True
) -> Iterator[Store]:
    """The store on that database; the options are those of `open_database`."""
    with open_database(settings, migrating=migrating, making=making, process=process, quiet=quiet) as db:
        yield Store(db, settings, rules(settings))


def is_missing(url: URL) -> bool:
    """Whether it is SQLite's, and its file is missing or empty."""
    try:
        return url.get_backend_name() == "sqlite" and not Path(url.database or "").stat().st_size
    except FileNotFoundError:
        return True
    except OSError:  # opening it says what is wrong
        return False


def _why_not_opened(error: Exception) -> str:
    """Without the text of what parses URLs, which may quote a part of a password."""
    if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
        return missing_extra("PostgreSQL", "postgres")
    return first_line(error) if isinstance(error, OSError) else f"TINTYPE_DATABASE_URL is written like {URLS}"


def _advice(cause: BaseException | None, url: URL) -> str:
    """What to do about a database that can't be reached, to be appended to the cause; or nothing."""
    if getattr(cause, "sqlstate", None) == READ_ONLY:
        return ": it is a copy; name the one that is written to, or add target_session_attrs=read-write"
    if getattr(cause, "sqlite_errorname", "").startswith("SQLITE_READONLY"):
        return ": the folder and the files in it have to be writable for the user that runs tintype"
    if getattr(cause, "sqlite_errorname", ""):
        return ""
    found = next((advice for pattern, advice in ADVICE if re.search(pattern, str(cause or ""))), "")
    return f": {found.format(user=url.username or 'USER', database=url.database)}" if found else ""


def explain_refusal(error: DBAPIError, url: URL) -> str:
    """The text for an operator's mistake; empty for a bug of ours."""
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


@click.command()
@data_option
def migrate(data: Path | None) -> None:
    """Bring the database's schema up to date.

    `serve` and `worker` do it too, when they start.

    \b
    Example:
      tintype migrate --data /var/lib/tintype
    """
    with open_database(load_settings(data=data), migrating=True):
        click.echo("the database is up to date")


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_option
def backup(file: Path, data: Path | None) -> None:
    """Copy the SQLite database to FILE, while the server runs or not.

    Images are not in it: copy `outputs`, `inputs` and `assets` of the data folder after it (docs/operations.md).

    \b
    Example:
      tintype backup /backups/tintype-monday.db
    """
    settings = load_settings(data=data)
    url = make_url(settings.sqlalchemy_url)
    if url.get_backend_name() != "sqlite":
        place = url.set(drivername="postgresql").render_as_string()
        raise click.ClickException(
            f"this database is PostgreSQL's; its own program copies it: pg_dump --format=custom --file={file} '{place}'"
        )
    source = Path(url.database or "")
    if not source.is_file():
        raise click.ClickException(f"there is no database at {source}; --data names the folder that it lies in")
    if file.exists():
        raise click.ClickException(f"{file} exists, and an earlier copy is never written over: name another file")
    try:
        _copy(source, file)
    except (OSError, sqlite3.Error) as error:
        raise click.ClickException(f"the copy failed: {first_line(error)}") from error
    click.echo(f"{file.stat().st_size:,} bytes copied and checked: {file}")


def _copy(source: Path, file: Path) -> None:
    """A consistent snapshot, synced to disk before it gets its name; writers aren't blocked."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    # It contains webhooks' secrets, and all prompts.
    os.close(create(part))
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(part)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # a single file, without a write-ahead log
            if (found := copy.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
        sync(part)
        part.rename(file)
        sync(file.absolute().parent)
    finally:
        part.unlink(missing_ok=True)
