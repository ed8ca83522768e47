"""Whether a process belongs to the database that it is at: the same storage, the same models, a version that fits."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import structlog
from sqlalchemy import Connection, make_url

from tintype import __version__
from tintype.cli.options import data_option, is_missing, json_option, load_settings, open_database
from tintype.cli.rows import print_rows
from tintype.cli.storage import check_storage
from tintype.errors import ConfigurationInvalid, StorageUnavailable
from tintype.hub.registry import Registry
from tintype.media.storage import kind, place, read_storage_id, write_storage_id
from tintype.settings import Settings
from tintype.store.db import facts
from tintype.store.db.audit import record
from tintype.store.db.database import Database
from tintype.store.ops.servers import ServerRow, Servers
from tintype.store.ops.workers import Workers
from tintype.store.queue.eta import ALIVE

log = structlog.get_logger()

ADOPT = "if the pictures were moved, say so with `tintype storage adopt`, with everything stopped"
#: What to do, by the kind of storage that the database knows and the one that was found.
HOW = {
    ("bucket", "folder"): "set TINTYPE_STORAGE_URL, and what goes with it, as the servers have them",
    ("bucket", "bucket"): "set TINTYPE_STORAGE_URL and TINTYPE_STORAGE_ENDPOINT as the servers have them",
    ("folder", "bucket"): "leave TINTYPE_STORAGE_URL out, as the servers do",
    ("folder", "folder"): "name the servers' own folder (--data or TINTYPE_DATA), on a disk that all machines share, or"
    " have all of them keep pictures in a bucket (TINTYPE_STORAGE_URL)",
}


def refuse_nothing(settings: Settings) -> None:
    """Raise ConfigurationInvalid where a worker's SQLite database isn't there: no server queues in one of its own."""
    url = make_url(settings.database)
    if is_missing(url):
        raise ConfigurationInvalid(
            f"there is no database at {url.database}, so no server queues anything there: start `tintype serve` on this"
            " folder first, or name the servers' database (TINTYPE_DATABASE_URL) or folder (--data)"
        )


def check_place(db: Database, settings: Settings) -> None:
    """Raise ConfigurationInvalid unless the pictures of this process go where the database's are.

    A database that knows of no storage yet remembers this one. One that is away is believed, and known, by its name.
    """
    try:
        found = read_storage_id(settings)
        with db.read() as view:
            known = facts.read(view, facts.STORAGE)
        if known is None or found is None or found != known["id"]:
            with db.write(unhurried=True) as tx:  # under the lock: of two that start together, the other finds a marker
                _agree(tx, settings)
    except StorageUnavailable:
        known = _known_by_name(db, settings)
        if known["place"] != place(settings):
            away = "; it is away, so only the names can be compared"
            raise ConfigurationInvalid(_differ(known, settings) + away) from None


def _known_by_name(db: Database, settings: Settings) -> dict[str, Any]:
    """The storage that the database knows; this one, without an id, where it knows none, so that no other gets in."""
    with db.read() as view:
        known = facts.read(view, facts.STORAGE)
    if known is None:
        with db.write(unhurried=True) as tx:
            if (known := facts.read(tx, facts.STORAGE)) is None:
                known = _remember(tx, settings, None)
    return known


def _agree(tx: Connection, settings: Settings) -> None:
    known, found = facts.read(tx, facts.STORAGE), read_storage_id(settings)
    # Whoever came first may have found it away: then the next who reaches it under that name gives it its id.
    if known is None or (known["id"] is None and known["place"] == place(settings)):
        _remember(tx, settings, found or write_storage_id(settings))
        log.info("pictures are kept here from now on", storage=place(settings))
    elif found is None and known["kind"] == "folder" and _beside(settings):
        write_storage_id(settings, known["id"])
        log.warning("the folder of pictures had no storage.json, as after a restore; it has one again")
    elif found is None or found != known["id"]:
        raise ConfigurationInvalid(_differ(known, settings))


def _remember(tx: Connection, settings: Settings, id: str | None) -> dict[str, Any]:
    known = {"id": id, "kind": kind(settings), "place": place(settings)}
    facts.write(tx, facts.STORAGE, **known)
    return known


def _beside(settings: Settings) -> bool:
    """Whether folder and database lie together, so that no other machine can mean another folder."""
    url = make_url(settings.database)
    own = url.get_backend_name() == "sqlite" and Path(url.database or "").resolve().parent == settings.data.resolve()
    return own and kind(settings) == "folder"


def _differ(known: Mapping[str, Any], settings: Settings) -> str:
    if known["place"] == place(settings):
        return (
            f"{known['place']} isn't the storage that it was when the database came to know it: it was made anew, or"
            " is another one of the same name here; if it is the right one, say so with `tintype storage adopt`"
        )
    where = f"the database's pictures are in {known['place']}, and this process's would go to {place(settings)}"
    return f"{where}: {HOW[known['kind'], kind(settings)]}; {ADOPT}"


def check_models(db: Database, registry: Registry) -> None:
    """Raise ConfigurationInvalid where a worker lacks models that the servers offer; logs what else differs."""
    servers = Servers(db).alive()
    lacking = sorted({slug for one in servers for slug in one.models} - registry.catalogue.keys())
    if lacking:
        raise ConfigurationInvalid(
            f"the servers offer models that this worker doesn't know: {', '.join(lacking)}; give it their models file"
            " (models.toml in its data folder, or TINTYPE_MODELS), and the weights"
        )
    _warn(servers, registry)


def note_server(db: Database, registry: Registry, id: str) -> None:
    """Have the database know this web process and what it offers; logs where other ones differ."""
    servers = Servers(db)
    servers.start(id, registry.identities)
    _warn([one for one in servers.alive() if one.id != id], registry)


def _warn(servers: list[ServerRow], registry: Registry) -> None:
    own = registry.identities
    for one in servers:
        if one.version != __version__:
            log.warning("a server is of another version", server=one.id, its=one.version, ours=__version__)
        same = own.keys() & one.models.keys() if one.version == __version__ else ()
        about = {
            "only_here": sorted(own.keys() - one.models.keys()),
            "only_there": sorted(one.models.keys() - own.keys()),
            "differing": sorted(slug for slug in same if own[slug] != one.models[slug]),
        }
        if any(about.values()):
            log.warning("a server's models are not the same as here", server=one.id, **about)


@click.group()
def storage() -> None:
    """The storage of pictures that the database knows: see it, say that it is another one.

    \b
    Examples:
      tintype storage show
      tintype storage adopt
    """


@storage.command()
@data_option
@json_option
def show(data: Path | None, as_json: bool) -> None:
    """Show where the database's pictures are, and where those of a process with these settings would go.

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
    click.echo(json.dumps(row, indent=2)) if as_json else print_rows([row], as_json)


@storage.command()
@data_option
def adopt(data: Path | None) -> None:
    """Say that these settings' storage is the database's from now on, after pictures were moved or restored.

    Stop servers and workers first: those that run go on with the storage that they were started with.

    \b
    Examples:
      tintype storage adopt
      TINTYPE_STORAGE_URL=s3://new/tintype tintype storage adopt
    """
    settings = load_settings(data=data)
    check_storage(settings)
    with open_database(settings) as db:
        with db.write(unhurried=True) as tx:
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
