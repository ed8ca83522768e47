"""`tintype queue`, `workers` and `processes`: what an operator sees and controls, also while no server runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from tintype.cli.database import open_store
from tintype.cli.options import data_option, json_option, load_settings, wide_option
from tintype.cli.output import print_record, print_rows, shown_time
from tintype.store.ops.autoscaler import leading, waits
from tintype.store.ops.processes import WorkerRow
from tintype.store.queue.queue import Queue
from tintype.store.store import Store


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
    """Have workers claim nothing more.

    Running requests continue, new ones wait, also after restarts.

    \b
    Example:
      tintype queue pause
    """
    with open_store(load_settings(data=data)) as store:
        since = store.queue.pause()
    click.echo(f"paused since {shown_time(since)}; `tintype queue resume` ends the pause")


@queue.command()
@data_option
def resume(data: Path | None) -> None:
    """Have workers claim requests again.

    \b
    Example:
      tintype queue resume
    """
    with open_store(load_settings(data=data)) as store:
        store.queue.resume()
    click.echo("the queue is open")


@queue.command()
@data_option
@json_option
def status(data: Path | None, as_json: bool) -> None:
    """Show whether it is paused, and how many requests wait and run.

    \b
    Example:
      tintype queue status --json
    """
    with open_store(load_settings(data=data)) as store:
        print_record(_queue_row(store.queue), as_json)


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
@wide_option
def list_workers(data: Path | None, as_json: bool, wide: bool) -> None:
    """List the workers: alive, silent for minutes, or drained.

    \b
    Example:
      tintype workers list
    """
    with open_store(load_settings(data=data)) as store:
        moment, known = store.ops.workers.shown()
    print_rows([_worker_row(worker, moment) for worker in known], as_json, wide=wide, keep=3)


@workers.command()
@click.argument("worker")
@data_option
def drain(worker: str, data: Path | None) -> None:
    """Have a worker finish its requests, and stop.

    It claims nothing more, and none is started in its place. WORKER is its id, or the beginning or end of it.

    \b
    Example:
      tintype workers drain 1a2b3c4d
    """
    with open_store(load_settings(data=data)) as store:
        drained = store.ops.workers.drain(worker).id
    click.echo(f"{drained} claims nothing more; `tintype workers recall {drained}` starts another in its place")


@workers.command()
@click.argument("worker")
@data_option
def recall(worker: str, data: Path | None) -> None:
    """Start another worker in the place of a drained one.

    One that was started by hand must be started by hand.

    \b
    Example:
      tintype workers recall 1a2b3c4d
    """
    with open_store(load_settings(data=data)) as store:
        drained = store.ops.workers.recall(worker)
    click.echo(f"the server that started {drained} starts another in its place")


@click.command()
@data_option
@json_option
@wide_option
def processes(data: Path | None, as_json: bool, wide: bool) -> None:
    """List servers, workers and autoscalers, each with its version.

    Of a Ray fleet's autoscalers it is the leading one (`keeper`).

    \b
    Examples:
      tintype processes
      tintype processes --json
    """
    with open_store(load_settings(data=data)) as store:
        print_rows([*_process_rows(store)], as_json, wide=wide, keep=4)


def _queue_row(queue: Queue) -> dict[str, Any]:
    since = queue.paused_since()
    queued, running, oldest = queue.depth()
    state = "open" if since is None else f"paused since {shown_time(since)}"
    waited = None if oldest is None else round(oldest, 1)
    return {"queue": state, "queued": queued, "running": running, "oldest waits (s)": waited}


def _worker_row(worker: WorkerRow, moment: float) -> dict[str, Any]:
    report = worker.report
    runs = [f"{one.model} {one.step}/{one.steps}" for one in report.running]
    return {
        "id": worker.id,
        "device": worker.device,
        "state": worker.state(moment),
        "paused": worker.paused or "",
        "runs": ", ".join(runs),
        "memory (MiB)": sum(report.memory.get(name, 0) for name in ("process", "reserved")) // 2**20,
        "models": ", ".join(report.models),
        "rows per pass": "" if report.rows is None else f"{report.rows:.1f} of {worker.max_rows}",
        "ms per step": "" if report.step_seconds is None else f"{1000 * report.step_seconds:.0f}",
        "cold starts": worker.cold_starts,
        "started": shown_time(worker.started_at),
        "version": worker.version,
    }


def _process_rows(store: Store) -> Iterator[dict[str, Any]]:
    moment, servers = store.ops.servers.shown()
    for one in servers:
        yield _process_row("server", one.id, one.version, one.state(moment), one.started_at)
    with store.db.read() as view:
        leader, why = leading(view), waits(view)
    if leader:
        yield _process_row("keeper", *leader, f"leading; no node has room for {why}" if why else "leading", None)
    for worker in store.ops.workers.shown()[1]:
        yield _process_row("worker", worker.id, worker.version, worker.state(moment), worker.started_at)


def _process_row(kind: str, id: str, version: str, state: str, started: float | None) -> dict[str, Any]:
    """version: empty where the process is of a version that didn't store it."""
    return {"process": kind, "id": id, "version": version or "unknown", "state": state, "started": shown_time(started)}
