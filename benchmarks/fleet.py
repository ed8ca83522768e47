"""A fleet without models, at growing load: where it bends, and what gives out: `python -m benchmarks.fleet`.

200 workers and 5,000 clients in a few processes, on PostgreSQL; a small fleet on SQLite. They call the store as workers
and web processes do (`simulated.py`): all of the control plane but HTTP. Workers claim when they are woken and by their
poll, hold a request for 0.5 to 1.5 seconds, send heartbeats; clients submit, poll each second until the end, and think.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.databases import PostgresServer

from benchmarks.sides import NOW, Inside, Version, baseline, postgres, spent

#: Requests a second that clients want, level by level; seconds of each until it is counted, and counted.
LEVELS = (5, 10, 20, 40, 80, 160, 320, 640)
SETTLE, COUNTED = 2.5, 4.0
#: It bends where less than this share of what is wanted is completed, beyond what chance explains, or where half of the
#: requests wait longer for a worker, in seconds.
SHARE, WAIT = 0.9, 1.0
#: Of all cores: from there on they are what limits.
BUSY = 0.85
#: Changes under way at a time: with fewer, nothing waits for the lock.
IDLE = 0.5
OWN = ("submit", "claim", "complete")
WAITED = "wait for a worker"
#: In the plot.
STYLES = {"submit": "-", "claim": "--", WAITED: ":"}
#: Processes by what they simulate.
PROCESSES = ("ClientProcess", "WorkerProcess")


class Fleet(NamedTuple):
    """How many there are, and in how many processes of each kind."""

    database: str
    workers: int
    clients: int
    processes: int


#: A process has one interpreter lock: more cores are used by more processes.
LARGE = Fleet("PostgreSQL", 200, 5_000, max(2, (os.cpu_count() or 1) // 2))
SMALL = Fleet("SQLite", 20, 500, 2)


@dataclass(frozen=True)
class Kind:
    """Calls of one kind: for each completed request how many, their statements, their callers' processor seconds."""

    count: float
    statements: float
    processor: float
    #: Seconds of a call.
    median: float
    late: float


@dataclass(frozen=True)
class Level:
    """What came of one load, a second; processor seconds are of one completed request, in all processes."""

    wanted: float
    completed: float
    kinds: dict[str, Kind]
    clients: float
    workers: float
    database: float
    #: Cores in use, and changes that are under way at a time, on average: they wait for the disk, or for others.
    cores: float
    writing: float
    queued: int

    def statements(self, kinds: Collection[str] | None = None) -> float:
        """Of one completed request: of these kinds of calls, or with all heartbeats, polls and claims of nothing."""
        return sum(one.statements for name, one in self.kinds.items() if kinds is None or name in kinds)

    @property
    def processor(self) -> float:
        """Seconds of one completed request."""
        return self.clients + self.workers + self.database

    @property
    def bends(self) -> bool:
        """Whether it is too much."""
        waited, chance = self.kinds.get(WAITED), 2 * (self.wanted / COUNTED) ** 0.5
        return self.completed < SHARE * self.wanted - chance or waited is None or waited.median > WAIT

    @property
    def limit(self) -> str:
        """What gives out."""
        first, second, *_ = sorted(self.kinds, key=lambda name: -self.kinds[name].processor)
        found = f"{self.cores:.2f} of {os.cpu_count()} cores are in use, most for {first} and {second}"
        if self.cores > BUSY * (os.cpu_count() or 1):
            return f"the processors: {found}"
        if self.queued and self.writing < IDLE:
            return f"the workers, whose hands are full: {found}"
        return f"the lock and the disk: {self.writing:.1f} changes are under way at a time, while {found}"


def measure(version: Version, fleet: Fleet, url: str, server: PostgresServer | None = None) -> list[Level]:
    """Level after level, up to the first that is too much."""
    levels: list[Level] = []
    about = (url, fleet.workers, fleet.clients, fleet.processes)
    with Inside(version, "simulated", *about) as inside:
        for wanted in track(LEVELS, description=f"fleet, {fleet.database}, {version.name}", transient=True):
            levels.append(_level(wanted, *_run(inside, server, wanted)))
            if levels[-1].bends:
                break
    return levels


def _run(inside: Inside, server: PostgresServer | None, rate: float) -> tuple[dict[str, Any], float]:
    """What the processes tell of one level, and the processor seconds of the database's own meanwhile."""
    since = time.monotonic() + SETTLE
    with ThreadPoolExecutor(1) as pool:
        told = pool.submit(inside.ask, rate=rate, since=since, until=since + COUNTED)
        time.sleep(SETTLE)
        before = _spent(server)
        time.sleep(COUNTED)
        after = _spent(server)
        return told.result(), sum(seconds - before.get(process, 0.0) for process, seconds in after.items())


def _spent(server: PostgresServer | None) -> dict[int, float]:
    seconds = {}
    for one in server.processes if server else ():
        with suppress(OSError):  # a backend that has ended meanwhile
            seconds[one.pid] = spent(one.pid)
    return seconds


def _level(wanted: float, answer: dict[str, Any], database: float) -> Level:
    calls: dict[str, list[tuple[float, float, int]]] = {}
    for one in answer["told"]:
        for kind, found in one["calls"].items():
            calls.setdefault(kind, []).extend(found)
    completed = len(calls.get("complete", ())) or 1
    own = {kind: sum(one["spent"] for one in answer["told"] if one["kind"] == kind) for kind in PROCESSES}
    whole = sum(own.values()) + database
    return Level(
        wanted=wanted,
        completed=len(calls.get("complete", ())) / COUNTED,
        kinds={kind: _kind(found, completed) for kind, found in calls.items()},
        clients=own["ClientProcess"] / completed,
        workers=own["WorkerProcess"] / completed,
        database=database / completed,
        cores=whole / COUNTED,
        writing=sum(one["writing"] for one in answer["told"]) / COUNTED,
        queued=answer["queued"],
    )


def _kind(found: Sequence[tuple[float, float, int]], completed: int) -> Kind:
    seconds = sorted(one[0] for one in found)
    late = seconds[min(len(seconds) - 1, int(0.99 * len(seconds)))]
    spent_, statements = sum(one[1] for one in found), sum(one[2] for one in found)
    return Kind(len(found) / completed, statements / completed, spent_ / completed, seconds[len(seconds) // 2], late)


NOTE = """\
Latencies: median and 99 %. For one completed request: statements of its own submit, claim and complete, or with all
heartbeats, polls and claims of nothing; processor time with those. Writing: changes under way at a time."""


def tables(fleet: Fleet, levels: Sequence[Level], name: str) -> list[Table | str]:
    """By load; of the last level, by kind of call; and what gives out."""
    title = f"{fleet.workers} workers, {fleet.clients:,} clients, {fleet.database}, {name}: a second"
    loads = Table("wanted", "completed", "queued", "submit ms", "claim ms", "wait ms", title=title)
    for column in ("statements, own", "all", "processor ms", "of it the database", "cores", "writing"):
        loads.add_column(column)
    for one in levels:
        latencies = [_both(one.kinds.get(kind)) for kind in ("submit", "claim", WAITED)]
        asked = f"{one.statements(OWN):.1f}", f"{one.statements():.0f}"
        spent_ = _ms(one.processor), _ms(one.database), f"{one.cores:.2f}", f"{one.writing:.2f}"
        loads.add_row(f"{one.wanted:g}", f"{one.completed:.1f}", str(one.queued), *latencies, *asked, *spent_)
    loads.caption, loads.caption_justify = NOTE, "left"
    last = levels[-1]
    kinds = Table("at the last load", "per request", "statements", "processor ms", "median, 99 % ms")
    for name_, one_ in last.kinds.items():
        kinds.add_row(name_, f"{one_.count:.2f}", f"{one_.statements:.1f}", _ms(one_.processor), _both(one_))
    said = f"bends at {last.wanted:g} a second: {last.limit}" if last.bends else "does not bend at these loads"
    return [loads, kinds, f"{fleet.database}, {name}: {said}"]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f}"


def _both(kind: Kind | None) -> str:
    return f"{_ms(kind.median)}, {_ms(kind.late)}" if kind else ""


def plot(runs: dict[str, list[Level]], target: Path) -> None:
    """Completed by wanted, latencies, and processor time, as an image; the file's name says in which format."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that only who asks for a plot should pay

    figure = Figure(figsize=(13, 4), layout="constrained")
    completed, latencies, prices = figure.subplots(1, 3)
    top = max(one.wanted for levels in runs.values() for one in levels)
    completed.plot([1, top], [1, top], color="lightgray")
    for number, (name, levels) in enumerate(runs.items()):
        loads, colour = [one.wanted for one in levels], f"C{number}"
        completed.plot(loads, [one.completed for one in levels], "o-", color=colour, label=name)
        for kind, style in STYLES.items():
            late = [1000 * one.kinds[kind].late if kind in one.kinds else float("nan") for one in levels]
            latencies.plot(loads, late, f".{style}", color=colour, label=f"{kind}" if not number else None)
        prices.plot(loads, [1000 * one.processor for one in levels], "o-", color=colour, label=name)
    for axes, title in (
        (completed, "completed a second"),
        (latencies, "99 %, ms"),
        (prices, "processor ms of a request"),
    ):
        axes.set(xscale="log", yscale="log", xlabel="wanted a second", title=title)
        axes.legend(fontsize="small", framealpha=0.3)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)


def fleets(versions: Sequence[Version]) -> dict[str, tuple[Fleet, list[Level]]]:
    """The large fleet where PostgreSQL's programs are, and the small one, of each version: by name."""
    found = {}
    with tempfile.TemporaryDirectory(prefix="tintype-fleet-") as name, postgres(Path(name)) as server:
        for version in versions:
            if server:
                found[f"PostgreSQL, {version.name}"] = LARGE, measure(version, LARGE, server.empty(), server)
            folder = Path(name) / version.name
            folder.mkdir()
            url = f"sqlite:///{folder / 'tintype.db'}"
            found[f"SQLite, {version.name}"] = SMALL, measure(version, SMALL, url)
    return found


def show(found: dict[str, tuple[Fleet, list[Level]]]) -> None:
    """Print every table."""
    for name, (fleet, levels) in found.items():
        for shown in tables(fleet, levels, name.partition(", ")[2]):
            Console().print(shown)


def as_json(found: dict[str, tuple[Fleet, list[Level]]]) -> dict[str, Any]:
    """Everything, with the verdict."""
    return {
        name: {
            **fleet._asdict(),
            "bends": levels[-1].limit if levels[-1].bends else "",
            "levels": [asdict(one) for one in levels],
        }
        for name, (fleet, levels) in found.items()
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--before", action="store_true", help="also the commit before issue 18")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-fleet.json"))
    given = parser.parse_args()
    with ExitStack() as stack:
        versions = [stack.enter_context(baseline()), NOW] if given.before else [NOW]
        found = fleets(versions)
    show(found)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(as_json(found), indent=2) + "\n")
    plot({name: levels for name, (_, levels) in found.items()}, given.output.with_suffix(".png"))
    Console().print(f"written to {given.output}, and plotted next to it")


if __name__ == "__main__":
    main()
