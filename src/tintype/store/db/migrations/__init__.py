"""The schema's history; `migrate()` brings a database up to date, `check()` leaves it as it is."""

from __future__ import annotations

from pkgutil import iter_modules

from sqlalchemy import Connection, inspect, text

from tintype import __version__
from tintype.errors import ConfigurationInvalid
from tintype.store.db import facts
from tintype.store.db.audit import record
from tintype.store.db.database import Database
from tintype.store.db.migrations import versions


def migrate(db: Database) -> None:
    """Run the migrations that the database lacks, all or none; several processes may start together.

    Raises ConfigurationInvalid for a schema of a newer tintype, and StoreUnavailable.
    """
    if version(db) == newest():
        return  # nearly always: alembic would take half a second
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "tintype.store.db:migrations")
    with db.write(no_timeout=True) as tx:
        _refuse_newer(tx)
        before = _version(tx)
        if before != newest():  # unless another process has migrated it meanwhile
            config.attributes["connection"] = tx
            command.upgrade(config, "head")
            facts.write(tx, facts.SCHEMA, version=__version__)
            record(tx, "database.migrate", newest(), was=before)


def check(db: Database) -> None:
    """Raise ConfigurationInvalid unless the schema is this version's; a database without tables gets them.

    For commands that read, or change a row: one of a new version must not lock out the old processes.
    Raises StoreUnavailable.
    """
    with db.read() as view:
        found, by = _version(view), _migrated_by(view)
        _refuse_newer(view)
    if found is None:
        migrate(db)
    elif found != newest():
        raise ConfigurationInvalid(
            f"the database's schema is {found}{by}, and this tintype {__version__} needs {newest()}: use the version"
            " that its servers run, or upgrade it with `tintype migrate`, after which older versions can't start on it"
        )


def newest() -> str:
    """The revision that this code needs: the number that its file's name begins with."""
    return max(_known())


def version(db: Database) -> str | None:
    """The revision that the database is at; None for one without tables. Raises StoreUnavailable."""
    with db.read() as view:
        return _version(view)


def _known() -> set[str]:
    return {module.name.partition("_")[0] for module in iter_modules(versions.__path__)}


def _version(view: Connection) -> str | None:
    if not inspect(view).has_table("alembic_version"):
        return None
    found: str | None = view.scalar(text("SELECT version_num FROM alembic_version"))
    return found


def _refuse_newer(view: Connection) -> None:
    found = _version(view)
    if found is not None and found not in _known():
        raise ConfigurationInvalid(
            f"the database's schema is {found}{_migrated_by(view)}, newer than this tintype {__version__} knows"
            f" ({newest()}): install that version here; there is no way back but a back-up"
        )


def _migrated_by(view: Connection) -> str:
    """Which version migrated the schema, in words, where that was noted."""
    known = facts.read(view, facts.SCHEMA) if inspect(view).has_table("facts") else None
    return f" (brought by tintype {known['version']})" if known else ""
