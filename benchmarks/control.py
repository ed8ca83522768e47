"""The control plane before and after issue 18, as ratios in one run: `python -m benchmarks.run --control`.

Each row is measured of the baseline's commit and of this tree in turn; some are of themselves ratios to the bare
framework. Where git lacks the commit, as in a shallow clone, this tree is measured alone.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.acceptance.harness import KEY
from tests.databases import PostgresServer

from benchmarks import latency, waits
from benchmarks.latency import Breakdown
from benchmarks.sides import BASELINE, NOW, Inside, Served, Version, baseline, postgres, spent
from benchmarks.submits import CALLERS, PATH, SUBMIT, Call, Side, bare, serving
from benchmarks.waits import Waits

#: Requests that wait behind those that are measured.
QUEUED = 5_000
#: Seconds of one measurement of requests, and of an idle server; and until a server that has started is idle.
SECONDS, IDLE, SETTLE = 2.0, 30.0, 8.0
#: Queued requests whose status is polled.
POLLED = 100
BODY = {"prompt": "a fox in the snow", "width": 256, "height": 256, "steps": 4, "seed": 1}
#: Web processes, callers in each, workers: the usual load, and that of several servers.
ONE, SEVERAL = (1, 16, 4), (4, 4, 8)


@dataclass(frozen=True)
class Goal:
    """At least or at most this; of the figure, or of what it is by now compared with before."""

    number: float
    at_least: bool = True
    of_gain: bool = False

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.number:g}{' ×' if self.of_gain else ''}"


@dataclass
class Row:
    """One figure, in its unit: by version's name, what each round measured."""

    what: str
    unit: str
    goal: Goal | None = None
    rounds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, version: str, number: float) -> None:
        """What one round measured."""
        self.rounds.setdefault(version, []).append(number)

    def middle(self, version: str) -> float | None:
        """The median of the rounds; None where it wasn't measured."""
        found = self.rounds.get(version)
        return median(found) if found else None

    @property
    def gain(self) -> float | None:
        """By how much it is now what it was before: the median of the rounds' own ratios."""
        pairs = [*zip(self.rounds.get("now", ()), self.rounds.get("before", ()), strict=False)]
        return median(now / before for now, before in pairs) if pairs and all(before for _, before in pairs) else None

    @property
    def held(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or it isn't known."""
        number = self.gain if self.goal and self.goal.of_gain else self.middle("now")
        if self.goal is None or number is None:
            return None
        return number >= self.goal.number if self.goal.at_least else number <= self.goal.number

    def as_json(self) -> dict[str, Any]:
        """Everything, with the verdict."""
        figures = {"before": self.middle("before"), "now": self.middle("now"), "now ÷ before": self.gain}
        about = {"what": self.what, "unit": self.unit, "goal": str(self.goal or ""), "held": self.held}
        return {**about, **figures, "rounds": self.rounds}


class Sheet(dict[str, Row]):
    """Rows by what they are, in the order of their first figure."""

    def row(self, what: str, unit: str, goal: Goal | None = None) -> Row:
        """The row, made if it is new."""
        return self.setdefault(what, Row(what, unit, goal))


def measure(rounds: int, only: Sequence[str] = ()) -> tuple[list[Row], dict[str, Breakdown]]:
    """Every row, or the named `SECTIONS`'; and where the time of a request goes, by shape and version."""
    sheet, parts = Sheet(), dict[str, Breakdown]()
    with TemporaryDirectory(prefix="tintype-control-") as name, postgres(Path(name)) as server, versions() as sides:
        folder = Path(name)
        sections: dict[str, Callable[[], dict[str, Breakdown] | None]] = {
            "http": partial(http, sheet, sides, folder / "http", rounds),
            "requests": partial(requests, sheet, sides, folder / "requests", server, rounds),
            "waits": partial(waiting, sheet, sides, folder / "waits", server),
            "idle": partial(idle, sheet, sides, folder / "idle", server, rounds),
        }
        for section, run in sections.items():
            if not only or section in only:
                (folder / section).mkdir()
                parts |= run() or {}
    return [*sheet.values()], parts


#: The parts of a run, which can be run alone.
SECTIONS = ("http", "requests", "waits", "idle")


@contextmanager
def versions() -> Iterator[list[Version]]:
    """The baseline, where git has it, and this tree."""
    with ExitStack() as stack:
        try:
            before = [stack.enter_context(baseline())]
        except (OSError, subprocess.CalledProcessError):
            Console(stderr=True).print(f"git has no commit {BASELINE} here: nothing is measured of it")
            before = []
        yield [*before, NOW]


def turns(sides: Sequence[Version], rounds: int, what: str) -> Iterator[Version]:
    """Each round's versions, each first in turn: the machine's own pace changes within a round."""
    order = [one for number in range(rounds) for one in (sides if number % 2 else sides[::-1])]
    yield from track(order, description=what, transient=True)


# Over HTTP, against the bare framework


def http(sheet: Sheet, sides: Sequence[Version], folder: Path, rounds: int) -> None:
    """Polls of a queued and of a completed request, then submits; SQLite, a server without a worker."""
    with ExitStack() as stack:
        frame = stack.enter_context(bare())
        servers = {one: stack.enter_context(serving(one, folder / one.name)).wait_for("/health") for one in sides}
        queued, completed = (
            {one: polls(served, test=test) for one, served in servers.items()} for test in (False, True)
        )
        # Submits last: they make the queue long.
        asked: dict[str, tuple[dict[Version, list[Call]], Goal, Goal | None]] = {
            "status poll of a completed request": (completed, Goal(0.5), None),
            "status poll of a queued request": (queued, Goal(0.5), None),
            "durable authenticated submit": ({one: [SUBMIT] for one in sides}, Goal(0.4), Goal(3, at_least=False)),
        }
        for what, (calls, speed, price) in asked.items():
            speeds = sheet.row(f"{what} over HTTP, per second ÷ the bare framework's, {CALLERS} callers", "÷", speed)
            prices = sheet.row(f"{what} over HTTP, processor time ÷ the bare framework's", "÷", price)
            own = {one: Side(served.address, served.process.pid) for one, served in servers.items()}
            for version, side in own.items():
                side.run(CALLERS, calls[version]), frame.run(CALLERS, calls[version])
            for version in turns(sides, rounds, f"HTTP: {what}"):
                mine, theirs = own[version].run(CALLERS, calls[version]), frame.run(CALLERS, calls[version])
                speeds.add(version.name, mine.per_second / theirs.per_second)
                prices.add(version.name, mine.processor / theirs.processor)


def polls(served: Served, *, test: bool = False) -> list[Call]:
    """Polls of queued requests; or of completed ones, which are a test key's: they end without a worker."""
    key = served.post("/v2/keys", {"name": "polled", "test": True})["secret"] if test else KEY
    ids = [served.post(PATH, BODY, key)["request_id"] for _ in range(POLLED)]
    served.wait_for(f"/v2/requests/{ids[-1]}/status", key, '"COMPLETED"' if test else '"QUEUED"')
    return [Call("GET", f"/v2/requests/{id}/status", key=key) for id in ids]


# The store


def requests(sheet: Sheet, sides: Sequence[Version], folder: Path, server: PostgresServer | None, rounds: int) -> None:
    """Requests a second through the store, by length of queue; with several web processes and workers too."""
    for database, goal in (("SQLite", 5), ("PostgreSQL", 7)):
        if database == "SQLite" or server:
            urls = [server.empty() if server and database != "SQLite" else _file(folder, one) for one in sides]
            with ExitStack() as stack:
                loads = {
                    one: stack.enter_context(Inside(one, "inside", "load", url, *ONE))
                    for one, url in zip(sides, urls, strict=True)
                }
                by_length(sheet, database, goal, loads, rounds)
    if server:
        with ExitStack() as stack:
            loads = {one: stack.enter_context(Inside(one, "inside", "load", server.empty(), *SEVERAL)) for one in sides}
            row = sheet.row("requests/s, 4 web processes of 4 submitters, 8 workers: PostgreSQL", "/s")
            for version in turns([*loads], rounds, "PostgreSQL: several servers"):
                row.add(version.name, loads[version].ask(queued=0, seconds=SECONDS)["per_second"])


def by_length(sheet: Sheet, database: str, goal: int, loads: dict[Version, Inside], rounds: int) -> None:
    """With nothing else in the queue, and with a long one."""
    what = f"requests/s (submit, claim, complete), 16 submitters, 4 workers: {database}"
    speeds = sheet.row(what, "/s", Goal(goal, of_gain=True))
    long = sheet.row(f"the same with {QUEUED:,} queued: {database}", "/s")
    shares = sheet.row(f"with {QUEUED:,} queued ÷ with none: {database}", "÷", Goal(0.8))
    for queued, row in ((0, speeds), (QUEUED, long)):
        for load in loads.values():
            load.ask(queued=queued, seconds=0.2)
        for version in turns([*loads], rounds, f"{database}: requests with {queued:,} queued"):
            told = loads[version].ask(queued=queued, seconds=SECONDS)
            row.add(version.name, told["per_second"])
    for version in loads:
        pairs = zip(long.rounds[version.name], speeds.rounds[version.name], strict=True)
        for slow, quick in pairs:
            shares.add(version.name, slow / quick if quick else 0.0)


def _file(folder: Path, version: Version) -> str:
    own = folder / version.name
    own.mkdir(exist_ok=True)
    return f"sqlite:///{own / 'tintype.db'}"


# Waiting calls


def waiting(sheet: Sheet, sides: Sequence[Version], folder: Path, server: PostgresServer | None) -> None:
    """1,000 calls that wait: once each, since a thousand are measured."""
    if lacking := waits.files_needed():
        Console(stderr=True).print(lacking)
        return
    for database in ("SQLite", "PostgreSQL") if server else ("SQLite",):
        for version in track(sides, description=f"{database}: {waits.CALLS:,} waiting calls", transient=True):
            url = server.empty() if server and database != "SQLite" else ""
            _wait_rows(sheet, database, version, waits.measure(version, folder / f"{database}-{version.name}", url))


def _wait_rows(sheet: Sheet, database: str, version: Version, found: Waits) -> None:
    about = f"{waits.CALLS:,} waiting v1 calls, {database}"
    share = sheet.row(f"{about}: the web process", "% of a core", Goal(5, at_least=False))
    share.add(version.name, 100 * found.processor)
    sheet.row(f"{about}: end to answer, median", "ms").add(version.name, 1000 * found.median)
    late = sheet.row(f"{about}: end to answer, 99 %", "ms", Goal(20, at_least=False))
    late.add(version.name, 1000 * found.late)


# An idle server


def idle(
    sheet: Sheet, sides: Sequence[Version], folder: Path, server: PostgresServer | None, rounds: int
) -> dict[str, Breakdown]:
    """What idle servers take, all at the same time; then one request at a time on those with SQLite."""
    with ExitStack() as stack:
        servers = []
        for version in sides:
            for database in ("SQLite", "PostgreSQL") if server else ("SQLite",):
                url = server.empty() if server and database != "SQLite" else ""
                served = Served(version, folder / f"{database}-{version.name}", url, **latency.SETTINGS)
                servers.append((database, stack.enter_context(served).wait_for("/ready")))
        for database, served, shares in _idle_shares(servers):
            whole = sheet.row(f"idle web process and worker, {database}", "% of a core", Goal(0.5, at_least=False))
            whole.add(served.version.name, 100 * sum(shares))
            for name, share in zip(("web process", "worker"), shares, strict=True):
                sheet.row(f"idle {name}, {database}", "% of a core").add(served.version.name, 100 * share)
        found = latency.measure([one for database, one in servers if database == "SQLite"], 2 * rounds + 1)
    for (shape, name), calls in found.items():
        limit = Goal({"256² JPEG": 15, "1024² PNG": 40}[shape], at_least=False)
        for one in calls:
            about = f"one request on an idle server, {shape}, SQLite"
            sheet.row(f"{about}: beyond x-generation-time", "ms", limit).add(name, 1000 * (one.total - one.generation))
            sheet.row(f"{about}: beyond text, steps, decode", "ms").add(name, 1000 * one.beyond)
    return {f"{shape}, {name}": latency.middle(calls) for (shape, name), calls in found.items()}


def _idle_shares(servers: Sequence[tuple[str, Served]]) -> list[tuple[str, Served, tuple[float, float]]]:
    """Of a core: of the web process, and of the worker."""
    time.sleep(SETTLE)
    processes = [(served.process.pid, served.workers[0]) for _, served in servers]
    before, began = [[*map(spent, pair)] for pair in processes], time.monotonic()
    for _ in track(range(int(IDLE)), description="idle servers", transient=True):
        time.sleep(1.0)
    seconds = time.monotonic() - began
    after = [[*map(spent, pair)] for pair in processes]
    shares = [
        ((late[0] - early[0]) / seconds, (late[1] - early[1]) / seconds)
        for early, late in zip(before, after, strict=True)
    ]
    return [(database, served, share) for (database, served), share in zip(servers, shares, strict=True)]


def table(rows: Sequence[Row]) -> Table:
    """For a terminal."""
    shown = Table("figure", "", "before", "now", "now ÷ before", "goal", "", title=f"Before ({BASELINE}) and now")
    for one in rows:
        verdict = {True: "[green]held", False: "[red]missed", None: ""}[one.held]
        figures = (one.middle("before"), one.middle("now"), one.gain)
        shown.add_row(one.what, one.unit, *map(_shown, figures), str(one.goal or ""), verdict)
    return shown


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:.3g}"
