"""Options that several commands share, and the settings that follow from them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tintype.settings import Settings
from tintype.store.database import Database
from tintype.store.migrations import migrate

data_option = click.option(
    "--data", type=click.Path(path_type=Path, file_okay=False), help="Folder for the database, pictures and weights."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def load_settings(**given: Any) -> Settings:
    """The settings of the environment, with the options that were given on top; raises UsageError."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        lines = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_url=False)]
        raise click.UsageError("settings: " + "; ".join(lines)) from None


@contextmanager
def drawing() -> Iterator[Callable[[int, int], None]]:
    """A progress bar for work of this process's own; yields what is told evaluations done and in all."""
    # Before torch is imported: threads that spin at OpenMP's barriers slow a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("loading", total=None)
        yield lambda done, total: progress.update(bar, description="drawing", completed=done, total=total)


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """The database, with its schema up to date."""
    db = Database(settings.database)
    try:
        migrate(db)
        yield db
    finally:
        db.close()
