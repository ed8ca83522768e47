"""The soak: a steady light load for as long as is wanted, and what the processes take meanwhile, minute by minute."""

from __future__ import annotations

import csv
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import httpx2
import matplotlib
import psutil
from sqlalchemy import func, select, text

from tests.acceptance.chaos_plan import Ask, inline
from tests.acceptance.chaos_scenes import Scene
from tests.acceptance.harness import KEY
from tintype.store.db.database import Database
from tintype.store.db.tables import deliveries, history, ledger, requests, samples

matplotlib.use("Agg")
import matplotlib.pyplot as plt

#: Kept rows, counted: those of the first three expire, a day of samples is kept, and the ledger for ever.
TABLES = (requests, history, deliveries, samples, ledger)
#: What the test's visitors look at beside making pictures; some of it is refused.
LOOKS = (
    "/",
    "/health",
    "/ready",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/credits",
    "/v2/operator",
    "/v2/nothing",
)
#: The part of the time that counts as warming up: first pictures of each shape, caches, connections.
WARM_UP = 1 / 6
#: How much more the last third of the time may take than the first, both by their medians: a part of it, and a rest.
MARGINS = {
    "web MB": (0.05, 8),
    "worker MB": (0.05, 16),
    "web files": (0.0, 6),
    "worker files": (0.0, 6),
    "web threads": (0.0, 3),
    "worker threads": (0.0, 3),
    "connections": (0.0, 4),
    "pictures and inputs": (0.25, 20),
    "rows of requests": (0.25, 20),
    "rows of history": (0.25, 20),
    "rows of deliveries": (0.25, 20),
    "database MB less ledger": (0.1, 2),
}
#: Bytes of a row of the ledger with its indexes, as measured: these rows stay, as do a day's samples.
KEPT_ROW = 360

PG_SIZE = "SELECT pg_database_size(current_database())"

Reading = dict[str, float]


class Soak:
    """Reads what the processes of a scene take, every `interval` seconds, into a file and a list."""

    def __init__(self, scene: Scene, file: Path, interval: float, say: Callable[[str], None]) -> None:
        self.scene = scene
        self.readings: list[Reading] = []
        self._file, self._interval, self._say = file, interval, say
        self._webs = [psutil.Process(server.process.pid) for server in scene.servers if server.process]
        self._workers = [worker for server in scene.servers for worker in server.workers()]

    def run(self, seconds: float) -> None:
        """Read for so long; a process that has gone is an error."""
        began = time.monotonic()
        db = self.scene.store()
        with self._file.open("w", newline="") as file:
            writer: csv.DictWriter[str] | None = None
            while time.monotonic() < began + seconds:
                reading = {"minutes": (time.monotonic() - began) / 60, **self._processes(), **self._kept(db)}
                writer = writer or _headed(file, reading)
                writer.writerow({name: round(value, 3) for name, value in reading.items()})
                file.flush()
                self.readings.append(reading)
                self._say(_line(reading, seconds / 60))
                time.sleep(self._interval)
        db.close()

    def _processes(self) -> Reading:
        found: Reading = {}
        for name, processes in (("web", self._webs), ("worker", self._workers)):
            found[f"{name} MB"] = sum(process.memory_info().rss for process in processes) / 1e6
            found[f"{name} files"] = sum(process.num_fds() for process in processes)
            found[f"{name} threads"] = sum(process.num_threads() for process in processes)
        return found | {"connections": sum(len(process.net_connections("tcp")) for process in self._webs)}

    def _kept(self, db: Database) -> Reading:
        """Rows, files, and the size of the database, with and without what rows that stay may take of it."""
        with db.read() as view:
            rows = {table.name: view.scalar(select(func.count()).select_from(table)) or 0 for table in TABLES}
            size = view.scalar(text(PG_SIZE)) if self.scene.postgres else self._files_of_sqlite()
        staying = KEPT_ROW * (rows["ledger"] + rows["samples"])
        kept = {f"rows of {name}": float(number) for name, number in rows.items()}
        sizes = {"database MB": size / 1e6, "database MB less ledger": (size - staying) / 1e6}
        folders = [server.data / name for server in self.scene.servers for name in ("outputs", "inputs", "assets")]
        return kept | sizes | {"pictures and inputs": sum(1 for folder in folders for _ in folder.glob("*"))}

    def _files_of_sqlite(self) -> int:
        """Bytes of the database and of its log, which a reader that never ends would let grow."""
        file = Path(self.scene.url.removeprefix("sqlite:///"))
        return sum(part.stat().st_size for part in file.parent.glob(f"{file.name}*"))


def drifts(readings: Sequence[Reading]) -> dict[str, tuple[float, float, float]]:
    """By name: the medians of the first and the last third of the time after the warm-up, and the most of the last."""
    warm = readings[round(len(readings) * WARM_UP) :]
    third = max(1, len(warm) // 3)
    found = {}
    for name, (part, rest) in MARGINS.items():
        first, last = (median(reading[name] for reading in some) for some in (warm[:third], warm[-third:]))
        found[name] = (first, last, first * (1 + part) + rest)
    return found


def draw(readings: Sequence[Reading], file: Path, title: str) -> None:
    """All that was read, over the minutes."""
    names = [name for name in readings[0] if name != "minutes"]
    figure, plots = plt.subplots(len(names), sharex=True, figsize=(9, 1.4 * len(names)), layout="constrained")
    for name, plot in zip(names, plots, strict=True):
        plot.plot([reading["minutes"] for reading in readings], [reading[name] for reading in readings], linewidth=1)
        plot.set_ylim(bottom=0)
        plot.set_ylabel(name, rotation=0, ha="right", fontsize=8)
    plots[0].set_title(title)
    plots[-1].set_xlabel("minutes")
    figure.savefig(file)
    plt.close(figure)


def paced(asks: Iterable[Ask], per_second: float, over: threading.Event) -> Iterator[Ask]:
    """So many a second, until it is over."""
    began = time.monotonic()
    for number, ask in enumerate(asks):
        if over.wait(max(0.0, began + number / per_second - time.monotonic())):
            return
        yield ask


def look_around(scene: Scene, over: threading.Event, every: float) -> Counter[int]:
    """Look at pages and figures and upload pictures until it is over; answers by status."""
    chance, answers, paths = Random(1), Counter[int](), cycle((*LOOKS, "upload"))
    while not over.wait(every):
        path = next(paths)
        # A connection each, as from people who come and go.
        with httpx2.Client(base_url=chance.choice(scene.addresses()), headers={"x-api-key": KEY}, timeout=60) as http:
            uploads = path == "upload"
            answer = http.post("/upload-asset", json={"data_urls": [inline(chance)]}) if uploads else http.get(path)
            answers[answer.status_code] += 1
    return answers


def _headed(file: Any, reading: Reading) -> csv.DictWriter[str]:
    writer = csv.DictWriter(file, [*reading])
    writer.writeheader()
    return writer


def _line(reading: Reading, minutes: float) -> str:
    part = reading["minutes"] / minutes
    bar = f"{'█' * round(part * 20):<20}"
    told = ", ".join(f"{name} {reading[name]:.0f}" for name in ("web MB", "worker MB", "web files", "rows of requests"))
    return f"{bar} {reading['minutes']:5.1f} of {minutes:g} min: {told}"
