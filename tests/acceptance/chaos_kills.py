"""What is killed in the chaos test, and when: at marks in the load, so that a plan is the same on any machine."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from random import Random

from tests.acceptance.chaos_load import Load
from tests.acceptance.chaos_scenes import Scene
from tests.acceptance.harness import until

#: A process that takes the lock of a SQLite file and keeps it for some seconds.
HOLD = (
    "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], timeout=60); c.execute('BEGIN IMMEDIATE');"
    "print('locked', flush=True); time.sleep(float(sys.argv[2]))"
)


class Killer:
    """Kills what a plan says, each as soon as the load has come so far; what it killed it starts again."""

    def __init__(self, scene: Scene, seed: int) -> None:
        self.scene = scene
        self.chance = Random(seed)
        self.done: Counter[str] = Counter()

    @property
    def kinds(self) -> Mapping[str, Callable[[Load], None]]:
        """Every kind of kill that there is with this database, by name."""
        both = {"web kills": self._web, "worker kills": self._worker, "power cuts": self._all}
        return both | ({"database crashes": self._database} if self.scene.postgres else {"locks": self._lock})

    def plan(self, asks: int, kinds: Sequence[str]) -> list[tuple[int, str]]:
        """These kinds in random order, each at a random mark: a number of asks that have been begun."""
        shuffled = self.chance.sample(kinds, len(kinds))
        # None before the first tenth: something must be under way. None in the last: something must come after.
        marks = sorted(self.chance.sample(range(asks // 10, asks - asks // 10), len(shuffled)))
        return [*zip(marks, shuffled, strict=True)]

    def run(self, load: Load, plan: Iterable[tuple[int, str]]) -> None:
        """Kill after the plan."""
        for mark, kind in plan:
            until(lambda mark=mark: load.taken >= mark or load.over, 600)
            self.kinds[kind](load)
            self.done[kind] += 1

    def _web(self, load: Load) -> None:
        """One web process, another one each time; whatever it had open breaks off, and its workers leave."""
        server = self.scene.servers[-1 - self.done["web kills"] % len(self.scene.servers)]
        server.kill_web()
        server.start()

    def _worker(self, load: Load) -> None:
        """All workers, in the middle of what they do if they do something; the fleet starts others."""
        for server in self.scene.servers:
            server.kill_worker()

    def _all(self, load: Load) -> None:
        """Everything at once, as in a power cut."""
        for server in self.scene.servers:
            server.kill()
        if postgres := self.scene.postgres:
            postgres.stop("immediate")
            postgres.start()
        for server in self.scene.servers:
            server.start()

    def _database(self, load: Load) -> None:
        """PostgreSQL crashes, and stays away until somebody has noticed."""
        assert self.scene.postgres
        before = load.noticed
        self.scene.postgres.stop("immediate")
        until(lambda: load.noticed > before or load.over)
        self.scene.postgres.start()

    def _lock(self, load: Load) -> None:
        """Another process holds SQLite's lock for longer than a heartbeat, and sometimes than a lease."""
        seconds = self.chance.choice([1, 2, 4])
        command = [sys.executable, "-c", HOLD, self.scene.url.removeprefix("sqlite:///"), str(seconds)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
