"""`tintype processes`: who is at the database, and of which version."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tintype.cli.options import data_option, json_option, load_settings, open_store
from tintype.cli.rows import print_rows, shown_time
from tintype.store.ops.autoscaler import leading, waits
from tintype.store.store import Store


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
    with open_store(load_settings(data=data)) as store:
        print_rows([*_rows(store)], as_json)


def _rows(store: Store) -> Iterator[dict[str, Any]]:
    moment, servers = store.ops.servers.shown()
    for one in servers:
        yield _row("server", one.id, one.version, one.state(moment), one.started_at)
    with store.db.read() as view:
        keeper, why = leading(view), waits(view)
    if keeper:
        yield _row("keeper", *keeper, f"leading; no node has room for {why}" if why else "leading", None)
    for worker in store.ops.workers.shown()[1]:
        yield _row("worker", worker.id, worker.version, worker.state(moment), worker.started_at)


def _row(kind: str, id: str, version: str, state: str, started: float | None) -> dict[str, Any]:
    """version: empty where the process is older than its being noted."""
    return {"process": kind, "id": id, "version": version or "unknown", "state": state, "started": shown_time(started)}
