"""`tintype queue` and `tintype workers`: the operator's levers, also while no server runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tintype.cli.options import data_option, json_option, load_settings, open_store
from tintype.cli.rows import print_rows, shown_time
from tintype.store.ops.processes import WorkerRow
from tintype.store.queue.queue import Queue


@click.group()
def queue() -> None:
    """The queue: pause it, let it go on, see how it stands.

    \b
    Examples:
      tintype queue status
      tintype queue pause
      tintype queue resume
    """


@queue.command()
@data_option
def pause(data: Path | None) -> None:
    """Have workers take nothing more; what runs goes on, what is asked waits, also over restarts.

    \b
    Example:
      tintype queue pause
    """
    with open_store(load_settings(data=data)) as store:
        since = store.queue.pause()
    click.echo(f"paused since {shown_time(since)}; `tintype queue resume` lets it go on")


@queue.command()
@data_option
def resume(data: Path | None) -> None:
    """Have workers take requests again.

    \b
    Example:
      tintype queue resume
    """
    with open_store(load_settings(data=data)) as store:
        store.queue.resume()
    click.echo("the queue goes on")


@queue.command()
@data_option
@json_option
def status(data: Path | None, as_json: bool) -> None:
    """Show whether the queue is paused, and how many requests wait and run.

    \b
    Example:
      tintype queue status --json
    """
    with open_store(load_settings(data=data)) as store:
        row = _queue_row(store.queue)
    if as_json:
        click.echo(json.dumps(row, indent=2))
    else:
        print_rows([row], as_json=False)


@click.group()
def workers() -> None:
    """The workers: see what they do, drain them.

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
    """List the workers that are alive, fell silent lately, or were drained.

    \b
    Example:
      tintype workers list
    """
    with open_store(load_settings(data=data)) as store:
        moment, known = store.ops.workers.shown()
    print_rows([_worker_row(worker, moment) for worker in known], as_json)


@workers.command()
@click.argument("worker")
@data_option
def drain(worker: str, data: Path | None) -> None:
    """Have a worker take nothing more, end what it has, and leave; how its id begins or ends is enough.

    \b
    Example:
      tintype workers drain 1a2b3c4d
    """
    with open_store(load_settings(data=data)) as store:
        drained = store.ops.workers.drain(worker).id
    click.echo(f"{drained} takes nothing more; `tintype workers recall {drained}` fills its place again")


@workers.command()
@click.argument("worker")
@data_option
def recall(worker: str, data: Path | None) -> None:
    """Fill the place of a drained worker with a fresh one; one that was started by hand must be again.

    \b
    Example:
      tintype workers recall 1a2b3c4d
    """
    with open_store(load_settings(data=data)) as store:
        drained = store.ops.workers.recall(worker)
    click.echo(f"the server that started {drained} starts another in its place")


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
        "version": worker.version,
        "device": worker.device,
        "state": worker.state(moment),
        "paused": worker.paused or "",
        "runs": ", ".join(runs),
        "rows per pass": "" if report.rows is None else f"{report.rows:.1f} of {worker.max_rows}",
        "ms per step": "" if report.step_seconds is None else f"{1000 * report.step_seconds:.0f}",
        "memory (MiB)": sum(report.memory.get(name, 0) for name in ("process", "reserved")) // 2**20,
        "models": ", ".join(report.models),
        "cold starts": worker.cold_starts,
        "started": shown_time(worker.started_at),
    }
