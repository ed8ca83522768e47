"""Options that several commands share, and the settings that follow from them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from tintype.cli.local import first_line, lacking
from tintype.cli.refusals import WRITTEN, Misset, advice, opening, refusal
from tintype.cli.storage import located
from tintype.errors import ConfigurationInvalid, PerhapsDone, StoreUnavailable
from tintype.settings import Settings
from tintype.store.db.database import Database, shown_url
from tintype.store.db.migrations import check, migrate, version
from tintype.store.store import Store, rules
from tintype.telemetry.traces import exporters

PREFIX = "TINTYPE_"
#: Settings of earlier versions: what to do instead.
REPLACED = {"KEY_STREAMS": "TINTYPE_ACCOUNT_WAITS bounds an account's event streams, together with its v1 calls"}

data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Folder for the database and pictures."
)
#: Where a command that looks, or changes what is there, finds nothing.
NOTHING = (
    "there is no database of tintype's in {place}: name the server's folder (--data, TINTYPE_DATA) or database"
    " (TINTYPE_DATABASE_URL); `tintype serve` or `tintype migrate` makes a new one"
)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")


def load_settings(**given: Any) -> Settings:
    """The settings of the environment, with the options that were given on top; raises Misset."""
    _refuse_unknown(os.environ)
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except SettingsError as error:  # of pydantic's own words, only the field's name is of use
        name = PREFIX + str(error).partition('"')[2].partition('"')[0].upper()
        raise Misset(f"""{name}: not JSON; it is written {{"sd1.5-img2img": "/models/sd15"}}""") from None
    except ValidationError as error:
        raise Misset("; ".join(_mistake(**one) for one in error.errors(include_url=False))) from None
    try:
        make_url(settings.database)
    except (ArgumentError, ValueError):  # whose words may quote a part of the password
        raise Misset(WRITTEN) from None
    if settings.traces:
        _check_exporter(settings.traces)
    return located(settings)


def _mistake(loc: Sequence[str | int], msg: str, **_: Any) -> str:
    """One of pydantic's errors with the variable's name; what was set isn't told, since it may be a password."""
    name, *inside = map(str, loc)
    return ": ".join((PREFIX + name.upper(), *filter(None, [".".join(inside)]), msg.removeprefix("Value error, ")))


def _refuse_unknown(environment: Iterable[str]) -> None:
    """Raise Misset for a variable that looks like a setting, but is none: a typing mistake would go unnoticed."""
    known = [field.upper() for field in Settings.model_fields]
    for name in environment:
        own = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and own not in known:
            if own in REPLACED:
                raise Misset(f"{name} is no setting any more: {REPLACED[own]}")
            [closest] = difflib.get_close_matches(own, known, n=1, cutoff=0)
            raise Misset(f"{name} is not a setting; the closest is {PREFIX}{closest}")


def _check_exporter(name: str) -> None:
    known = exporters()
    if not known:
        raise Misset(lacking(f"{PREFIX}TRACES", "otel"))
    if name not in known:
        raise Misset(f"{PREFIX}TRACES: no exporter {name} is installed; there are: {', '.join(known)}")


def require_ray() -> None:
    """Raise Misset where the extra is missing."""
    if find_spec("ray") is None:
        raise Misset(lacking("a Ray fleet", "ray"))


@contextmanager
def open_database(
    settings: Settings, *, migrating: bool = False, making: bool = False, process: str = "command", quiet: bool = True
) -> Iterator[Database]:
    """The database; an error names the cause and the place, since the operator reads it.

    migrating: whether an older schema is brought up to date, and an empty database gets one; else both are refused.
    making: whether an empty one, alone, gets a schema: as with the first key.
    process: as PostgreSQL lists its connections.
    quiet: whether that is all that is said of it, as of a command that ends with it.
    """
    url = make_url(settings.database)
    place = shown_url(settings.database) if settings.database_url else f"{settings.data}/"
    new = migrating or making
    if not new and is_missing(url):  # to open it would make it
        raise ConfigurationInvalid(NOTHING.format(place=place))
    try:
        db = Database(settings.database, timeout=settings.database_patience, process=process, quiet=quiet)
    except (OSError, ImportError, ValueError, ArgumentError) as error:
        raise click.ClickException(f"the database can't be opened: {opening(error)}") from error
    try:
        if not new and version(db) is None:
            raise ConfigurationInvalid(NOTHING.format(place=place))
        (migrate if migrating else check)(db)
        yield db
    except StoreUnavailable as error:
        cause = getattr(error.__cause__, "orig", None) or error.__cause__
        perhaps = f". {error.message} {error.advice}" if isinstance(error, PerhapsDone) else ""
        raise type(error)(f"{first_line(cause)} in {place}{advice(cause, url)}{perhaps}") from error
    except DBAPIError as error:
        if words := refusal(error, url):
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
    """Whether this is SQLite's, and no file, or an empty one."""
    try:
        return url.get_backend_name() == "sqlite" and not Path(url.database or "").stat().st_size
    except FileNotFoundError:
        return True
    except OSError:  # opening it says what is in the way
        return False
