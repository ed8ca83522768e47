"""`tintype backup`: a copy of the database while everything runs."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import click
from sqlalchemy import make_url

from tintype.cli.local import first_line
from tintype.cli.options import data_option, load_settings
from tintype.private import create, sync


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@data_option
def backup(file: Path, data: Path | None) -> None:
    """Copy the SQLite database to FILE, while the server runs or not.

    Pictures are not in it: copy `outputs`, `inputs` and `assets` of the data folder after it (docs/operations.md).

    \b
    Example:
      tintype backup /backups/tintype-monday.db
    """
    settings = load_settings(data=data)
    url = make_url(settings.database)
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
    """The database as it is at one moment, whole on disk before it has its name; writers don't wait for it."""
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    # It has webhooks' secrets in it, and everybody's prompts.
    os.close(create(part))
    try:
        with (
            closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as live,
            closing(sqlite3.connect(part)) as copy,
        ):
            live.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, with nothing beside it
            if (found := copy.execute("PRAGMA integrity_check").fetchone()[0]) != "ok":
                raise sqlite3.DatabaseError(f"the copy is damaged: {found}")
        sync(part)
        part.rename(file)
        sync(file.absolute().parent)
    finally:
        part.unlink(missing_ok=True)
