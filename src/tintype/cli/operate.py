"""`tintype queue`, `workers` and `processes`: what an operator sees and controls, also while no server runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tintype.cli.database import open_database
from tintype.cli.options import data_option, json_option, load_settings
from tintype.cli.output import print_rows, shown_time
from tintype.store.db.database import Database
from tintype.store.ops.autoscaler import leading, waits
from tintype.store.ops.servers import Servers
from tintype.store.ops.workers import WorkerRow, Workers
from tintype.store.queue.control import Controls
from tintype.store.queue.requests import Requests


@click.group()
def queue() -> None:
    """The queue: pause it, resume it, show its state.

    \b
    Examples:
      tintype queue status
      tintype queue pause
      tintype queue resume
    """


@queue.command()
@data_option
def pause(data: Path | None) -> None:
    """Have workers claim nothing more: running requests continue, new ones wait, also after restarts.

    \b
    Example:
      tintype queue pause
    """
    with open_database(load_settings(data=data)) as db:
        since = Controls(db).pause()
    click.echo(f"paused since {shown_time(since)}; `tintype queue resume` ends the pause")


@queue.command()
@data_option
def resume(data: Path | None) -> None:
    """Have workers claim requests again.

    \b
    Example:
      tintype queue resume
    """
    with open_database(load_settings(data=data)) as db:
        Controls(db).resume()
    click.echo("the queue is open")


@queue.command()
@data_option
@json_option
def status(data: Path | None, as_json: bool) -> None:
    """Show whether the queue is paused, and how many requests wait and run.

    \b
    Example:
      tintype queue status --json
    """
    settings = load_settings(data=data)
    with open_database(settings) as db:
        row = _queue_row(db, Requests(db, lease=settings.lease, retention=settings.retention))
    if as_json:
        click.echo(json.dumps(row, indent=2))
    else:
        print_rows([row], as_json=False)


@click.group()
def workers() -> None:
    """The workers: list them, drain them, replace drained ones.

    \b
    Examples:
      tintype workers list
      tintype workers drain myhost-1a2b3c4d
      tintype workers recall 1a2b3c4d
    """


@workers.command("list")
@data_option
@json_option
def list_workers(data: Path | None, as_json: bool) -> None:
    """List the workers that are alive, stopped reporting lately, or were drained.

    \b
    Example:
      tintype workers list
    """
    with open_database(load_settings(data=data)) as db:
        moment, known = Workers(db).shown()
    print_rows([_worker_row(worker, moment) for worker in known], as_json)


@workers.command()
@click.argument("worker")
@data_option
def drain(worker: str, data: Path | None) -> None:
    """Have a worker claim nothing more, finish its requests, and stop; the beginning or end of its id is enough.

    \b
    Example:
      tintype workers drain 1a2b3c4d
    """
    with open_database(load_settings(data=data)) as db:
        drained = Workers(db).drain(worker).id
    click.echo(f"{drained} claims nothing more; `tintype workers recall {drained}` starts another in its place")


@workers.command()
@click.argument("worker")
@data_option
def recall(worker: str, data: Path | None) -> None:
    """Start another worker in the place of a drained one; one that was started by hand must be started by hand.

    \b
    Example:
      tintype workers recall 1a2b3c4d
    """
    with open_database(load_settings(data=data)) as db:
        drained = Workers(db).recall(worker)
    click.echo(f"the server that started {drained} starts another in its place")


@click.command()
@data_option
@json_option
def processes(data: Path | None, as_json: bool) -> None:
    """List the servers, the workers and a Ray fleet's leading autoscaler (`keeper`), with the version of each.

    \b
    Examples:
      tintype processes
      tintype processes --json
    """
    with open_database(load_settings(data=data)) as db:
        print_rows([*_process_rows(db)], as_json)


def _queue_row(db: Database, requests: Requests) -> dict[str, Any]:
    since = Controls(db).paused_since()
    queued, running, oldest = requests.depth()
    state = "open" if since is None else f"paused since {shown_time(since)}"
    waited = None if oldest is None else round(oldest, 1)
    return {"queue": state, "queued": queued, "running": running, "oldest waits (s)": waited}


def _worker_row(worker: WorkerRow, moment: float) -> dict[str, Any]:
    about = worker.about or {}
    lately, memory = about.get("lately", {}), about.get("memory", {})
    runs = [f"{task['model']} {task['step']}/{task['steps']}" for task in about.get("tasks", [])]
    return {
        "id": worker.id,
        "version": worker.version,
        "device": worker.device,
        "state": worker.state(moment),
        "paused": worker.paused or "",
        "runs": ", ".join(runs),
        "rows per pass": f"{lately['rows']:.1f} of {worker.max_rows}" if "rows" in lately else "",
        "ms per step": f"{1000 * lately['step_seconds']:.0f}" if "step_seconds" in lately else "",
        "memory (MiB)": sum(memory.get(name, 0) for name in ("process", "reserved")) // 2**20,
        "models": ", ".join(about.get("models", [])),
        "cold starts": worker.cold_starts,
        "started": shown_time(worker.started_at),
    }


def _process_rows(db: Database) -> Iterator[dict[str, Any]]:
    moment, servers = Servers(db).shown()
    for one in servers:
        yield _process_row("server", one.id, one.version, one.state(moment), one.started_at)
    with db.read() as view:
        leader, why = leading(view), waits(view)
    if leader:
        yield _process_row("keeper", *leader, f"leading; no node has room for {why}" if why else "leading", None)
    for worker in Workers(db).shown()[1]:
        yield _process_row("worker", worker.id, worker.version, worker.state(moment), worker.started_at)


def _process_row(kind: str, id: str, version: str, state: str, started: float | None) -> dict[str, Any]:
    """version: empty where the process is of a version that didn't store it."""
    return {"process": kind, "id": id, "version": version or "unknown", "state": state, "started": shown_time(started)}
