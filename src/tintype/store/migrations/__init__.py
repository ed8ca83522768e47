"""The schema's history; `migrate()` brings a database up to date."""

from __future__ import annotations

from alembic import command
from alembic.config import Config

from tintype.store.database import Database


def migrate(db: Database) -> None:
    """Run the migrations that the database has not had yet, all or none; two processes may start together.

    Raises StoreUnavailable.
    """
    config = Config()
    config.set_main_option("script_location", "tintype.store:migrations")
    with db.write(unhurried=True) as tx:
        config.attributes["connection"] = tx
        command.upgrade(config, "head")
