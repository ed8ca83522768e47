"""`tintype processes`: who is at the database, and of which version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tintype.cli.options import data_option, json_option, load_settings, open_database
from tintype.cli.rows import print_rows, shown_time
from tintype.store.db.database import Database
from tintype.store.ops.autoscaler import leading, waits
from tintype.store.ops.servers import Servers
from tintype.store.ops.workers import Workers


@click.command()
@data_option
@json_option
def processes(data: Path | None, as_json: bool) -> None:
    """List the servers, the workers and a fleet's leading keeper, with the version of each.

    \b
    Examples:
      tintype processes
      tintype processes --json
    """
    with open_database(load_settings(data=data)) as db:
        print_rows([*_rows(db)], as_json)


def _rows(db: Database) -> Iterator[dict[str, Any]]:
    moment, servers = Servers(db).shown()
    for one in servers:
        yield _row("server", one.id, one.version, one.state(moment), one.started_at)
    with db.read() as view:
        keeper, why = leading(view), waits(view)
    if keeper:
        yield _row("keeper", *keeper, f"leading; no node has room for {why}" if why else "leading", None)
    for worker in Workers(db).shown()[1]:
        yield _row("worker", worker.id, worker.version, worker.state(moment), worker.started_at)


def _row(kind: str, id: str, version: str, state: str, started: float | None) -> dict[str, Any]:
    """version: empty where the process is older than its being noted."""
    return {"process": kind, "id": id, "version": version or "unknown", "state": state, "started": shown_time(started)}
