"""Whether this process may use its storage and database: writable, private, the same as the other processes'.

Also `tintype storage`: which storage the database's images are in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

import click
import structlog
from sqlalchemy import Connection, make_url

from tintype.cli.database import open_database
from tintype.cli.options import InvalidSetting, data_option, json_option, load_settings, missing_extra
from tintype.cli.output import print_record
from tintype.errors import ConfigurationInvalid, StorageUnavailable
from tintype.media.storage_id import kind, place, read_storage_id, write_storage_id
from tintype.private import tighten
from tintype.settings import Settings
from tintype.store.db import facts
from tintype.store.db.audit import record
from tintype.store.db.conditions import ALIVE
from tintype.store.db.database import Database
from tintype.store.ops.processes import Servers, Workers

log = structlog.get_logger()

#: Where Amazon's tools, and the storage's library, look for keys that the settings leave empty.
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
ADOPT = "if the pictures were moved, say so with `tintype storage adopt`, with everything stopped"
#: What to do, by the kind of storage that the database has and the kind that was found.
HOW = {
    ("bucket", "folder"): "set TINTYPE_STORAGE_URL, and what goes with it, as the servers have them",
    ("bucket", "bucket"): "set TINTYPE_STORAGE_URL and TINTYPE_STORAGE_ENDPOINT as the servers have them",
    ("folder", "bucket"): "leave TINTYPE_STORAGE_URL out, as the servers do",
    ("folder", "folder"): "name the servers' own folder (--data or TINTYPE_DATA), on a disk that all machines share, or"
    " have all of them keep pictures in a bucket (TINTYPE_STORAGE_URL)",
}


def check_storage(settings: Settings, environment: MutableMapping[str, str] = os.environ) -> None:
    """Raise InvalidSetting, in the operator's terms, where a configured bucket can't be used.

    One that is unreachable is only logged: it may come back, as it may become unreachable later.
    """
    if not settings.storage.url:
        return
    try:
        from tintype.media.objects import TRIAL, open_bucket  # noqa: PLC0415 - an extra that most servers don't need
    except ImportError as error:
        raise InvalidSetting(missing_extra("TINTYPE_STORAGE_URL", "s3")) from error
    _check_environment(settings, environment)
    try:
        open_bucket(settings.storage, "trial", TRIAL, TRIAL).self_test()
    except ConfigurationInvalid as error:
        raise InvalidSetting(f"TINTYPE_STORAGE_URL: {error.message}") from error
    except StorageUnavailable as error:
        if error.refuses:
            words = f"TINTYPE_STORAGE_URL: {place(settings)} can't be used: {error.why}; {_advice(error)}"
            raise InvalidSetting(words) from error
        log.warning("the storage is away; starting all the same", cause=error.why)


def _advice(error: StorageUnavailable) -> str:
    if error.why.startswith("there is no key"):
        return "set TINTYPE_STORAGE_KEY_ID and TINTYPE_STORAGE_SECRET, or AWS_ACCESS_KEY_ID and its kind, or use a role"
    return "docs/operations.md, Object storage, says what the bucket, its region and the key's rights must be"


def _check_environment(settings: Settings, environment: MutableMapping[str, str]) -> None:
    """Unset empty AWS_… variables, as compose files leave them; raise InvalidSetting for half a pair of keys."""
    for name in [name for name, value in environment.items() if name.startswith("AWS_") and not value]:
        del environment[name]
    key, secret = (name in environment for name in KEYS)
    if key != secret and not settings.storage.key_id:
        raise InvalidSetting(f"{' and '.join(KEYS)} go together: set both, or neither")


def restrict_permissions(settings: Settings) -> None:
    """Close to other users of the machine what earlier versions left open, and log it."""
    if closed := tighten(_private(settings)):
        log.info("closed to other users of this machine", paths=[str(path) for path in closed])


def _private(settings: Settings) -> Iterator[Path]:
    """What contains prompts, secrets and images; closing a folder closes what is in it."""
    yield settings.data
    yield from (settings.inputs_folder, settings.outputs_folder, settings.assets_folder, settings.prepared_folder)
    yield from settings.data.glob("memory-*.json")
    url = make_url(settings.sqlalchemy_url)
    if url.get_backend_name() == "sqlite" and url.database:
        yield from (Path(url.database + suffix) for suffix in ("", "-wal", "-shm"))


def check_same_storage(db: Database, settings: Settings) -> None:
    """Raise ConfigurationInvalid unless this process's storage is the one that the database's images are in.

    A database that has no storage yet takes this one. An unreachable storage is compared by its name.
    """
    try:
        found = read_storage_id(settings)
        with db.read() as view:
            known = facts.read(view, facts.STORAGE)
        if known is None or found is None or found != known["id"]:
            # Under the lock: of two processes that start at the same time, the second finds the first one's marker.
            with db.write(no_timeout=True) as tx:
                _agree(tx, settings)
    except StorageUnavailable:
        known = _known_by_name(db, settings)
        if known["place"] != place(settings):
            away = "; it is away, so only the names can be compared"
            raise ConfigurationInvalid(_difference(known, settings) + away) from None


def _known_by_name(db: Database, settings: Settings) -> dict[str, Any]:
    """The database's storage; without one it takes this one, without an id, so that no other gets in."""
    with db.read() as view:
        known = facts.read(view, facts.STORAGE)
    if known is None:
        with db.write(no_timeout=True) as tx:
            if (known := facts.read(tx, facts.STORAGE)) is None:
                known = _remember(tx, settings, None)
    return known


def _agree(tx: Connection, settings: Settings) -> None:
    known, found = facts.read(tx, facts.STORAGE), read_storage_id(settings)
    # Without an id, it was unreachable for the first process: the next one that reaches it by that name sets its id.
    if known is None or (known["id"] is None and known["place"] == place(settings)):
        _remember(tx, settings, found or write_storage_id(settings))
        log.info("pictures are kept here from now on", storage=place(settings))
    elif found is None and known["kind"] == "folder" and _next_to_database(settings):
        write_storage_id(settings, known["id"])
        log.warning("the folder of pictures had no storage.json, as after a restore; it has one again")
    elif found is None or found != known["id"]:
        raise ConfigurationInvalid(_difference(known, settings))


def _remember(tx: Connection, settings: Settings, id: str | None) -> dict[str, Any]:
    known = {"id": id, "kind": kind(settings), "place": place(settings)}
    facts.write(tx, facts.STORAGE, **known)
    return known


def _next_to_database(settings: Settings) -> bool:
    """Whether the storage is a folder that also has the SQLite database: no other machine can mean another folder."""
    url = make_url(settings.sqlalchemy_url)
    own = url.get_backend_name() == "sqlite" and Path(url.database or "").resolve().parent == settings.data.resolve()
    return own and kind(settings) == "folder"


def _difference(known: Mapping[str, Any], settings: Settings) -> str:
    if known["place"] == place(settings):
        return (
            f"{known['place']} isn't the storage that the database was first used with: it was recreated, or"
            " is another one of the same name here; if it is the right one, say so with `tintype storage adopt`"
        )
    where = f"the database's pictures are in {known['place']}, and this process's would go to {place(settings)}"
    return f"{where}: {HOW[known['kind'], kind(settings)]}; {ADOPT}"


@click.group()
def storage() -> None:
    """The storage of the database's images: show it, or set it.

    \b
    Examples:
      tintype storage show
      tintype storage adopt
    """


@storage.command()
@data_option
@json_option
def show(data: Path | None, as_json: bool) -> None:
    """Show where the database's images are.

    And where those of a process with these settings would go.

    \b
    Example:
      tintype storage show
    """
    settings = load_settings(data=data)
    check_storage(settings)
    with open_database(settings) as db, db.read() as view:
        known = facts.read(view, facts.STORAGE) or {}
    same = known["id"] == read_storage_id(settings) if known.get("id") else None
    row = {"database's": known.get("place", "not known yet"), "these settings'": place(settings), "same": same}
    print_record(row, as_json)


@storage.command()
@data_option
def adopt(data: Path | None) -> None:
    """Make these settings' storage the database's from now on.

    This is for images that were moved or restored. Stop servers and workers first: those that run continue with the
    storage that they were started with.

    \b
    Examples:
      tintype storage adopt
      TINTYPE_STORAGE_URL=s3://new/tintype tintype storage adopt
    """
    settings = load_settings(data=data)
    check_storage(settings)
    with open_database(settings) as db:
        with db.write(no_timeout=True) as tx:
            known = facts.read(tx, facts.STORAGE) or {}
            _remember(tx, settings, id := read_storage_id(settings) or write_storage_id(settings))
            record(tx, "storage.adopt", place(settings), was=known.get("place"))
        running = [] if known.get("id") in (None, id) else _running(db)
    before = f"; until now, {known['place']}" if known else ""
    click.echo(f"the database's pictures are in {place(settings)}{before}")
    if running:
        click.echo(f"these were started with the other one, and have to be restarted: {', '.join(running)}", err=True)


def _running(db: Database) -> list[str]:
    moment, servers = Servers(db).shown()
    serving = [one.id for one in servers if one.state(moment) == "serving"]
    return serving + [one.id for one in Workers(db).alive(ALIVE)]
