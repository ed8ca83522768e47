"""The schema's history; `migrate()` brings a database up to date."""

from __future__ import annotations

from pkgutil import iter_modules

from sqlalchemy import Connection, inspect, text

from tintype.store.audit import record
from tintype.store.database import Database
from tintype.store.migrations import versions


def migrate(db: Database) -> None:
    """Run the migrations that the database has not had yet, all or none; two processes may start together.

    Raises StoreUnavailable.
    """
    if version(db) == newest():
        return  # as at nearly every start, which alembic would make half a second longer
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "tintype.store:migrations")
    with db.write(unhurried=True) as tx:
        before = _version(tx)  # two may have come this far together
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
        if before != newest():
            record(tx, "database.migrate", newest(), was=before)


def newest() -> str:
    """The revision that this code needs: the number that its file's name begins with."""
    return max(module.name.partition("_")[0] for module in iter_modules(versions.__path__))


def version(db: Database) -> str | None:
    """The revision that the database is at; None for one without tables. Raises StoreUnavailable."""
    with db.read() as view:
        return _version(view)


def _version(view: Connection) -> str | None:
    if not inspect(view).has_table("alembic_version"):
        return None
    found: str | None = view.scalar(text("SELECT version_num FROM alembic_version"))
    return found
