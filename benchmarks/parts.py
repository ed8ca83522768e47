"""A run of parts within some minutes: each in a process of its own, caught, timed, and written down when it is over.

A part that fails, hangs or takes its process with it costs the others nothing. Parts that are done aren't done again.
"""

from __future__ import annotations

import json
import multiprocessing
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    number: float
    unit: str
    #: Of the ceiling that this run has measured, where it is arithmetic.
    share: float | None = None


@dataclass(frozen=True)
class Part:
    """What is measured, or proven."""

    name: str
    #: Its figures, one after the other: those before a failure are kept. Raises where what it proves doesn't hold.
    run: Callable[[], Iterable[Figure]]
    #: Seconds that it needs at least: with less left, it isn't begun.
    needs: float


class Record:
    """What is known of each part, in a file that is written anew after each one."""

    def __init__(self, file: Path, about: dict[str, Any]) -> None:
        """about: of the machine; what another machine has done isn't done here."""
        self.file = file
        known = json.loads(file.read_text()) if file.exists() else {}
        before = known.get("parts", {}) if all(known.get(key) == value for key, value in about.items()) else {}
        self.content: dict[str, Any] = {**about, "parts": before}

    @property
    def parts(self) -> dict[str, dict[str, Any]]:
        """By name: its state, seconds, figures, and the error of one that failed."""
        return dict(self.content["parts"])

    def note(self, name: str, **what: Any) -> None:
        """Write what became of a part."""
        self.content["parts"][name] = what
        half = self.file.with_suffix(".half")
        half.write_text(json.dumps(self.content, indent=2) + "\n")
        half.replace(self.file)


def run_parts(
    parts: Sequence[Part], record: Record, seconds: float, tell: Callable[[str], None], *, again: bool = False
) -> None:
    """All that aren't done, in their order, as far as the seconds reach; again: those that are done, too."""
    ends = time.monotonic() + seconds
    for part in parts:
        if record.parts.get(part.name, {}).get("state") == "done" and not again:
            tell(f"{part.name}: done before")
            continue
        left = ends - time.monotonic()
        if left < part.needs:
            record.note(part.name, state="left out", error=f"needs {part.needs:.0f} s, and {max(0, left):.0f} are left")
            tell(f"{part.name}: no time")
            continue
        began = time.monotonic()
        outcome = _in_a_child(part.run, left)
        record.note(part.name, **outcome, seconds=round(time.monotonic() - began, 1))
        for figure in outcome["figures"]:
            tell(f"{part.name}: {figure['what']}: {figure['number']:.5g} {figure['unit']}")
        tell(f"{part.name}: {outcome['state']} {outcome.get('error', '')}".rstrip())


def _in_a_child(run: Callable[[], Iterable[Figure]], seconds: float) -> dict[str, Any]:
    """What became of it: `done`, `failed`, `too slow` or `died`, with the figures that it had by then."""
    here, there = multiprocessing.get_context("fork").Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_child, args=(run, there))
    child.start()
    there.close()
    figures: list[dict[str, Any]] = []
    ends, outcome = time.monotonic() + seconds, None
    try:
        while outcome is None:
            if not here.poll(max(0.0, ends - time.monotonic())):
                outcome = {"state": "too slow"}
            else:
                figure, error = here.recv()
                if figure is not None:
                    figures.append(figure)
                else:
                    outcome = {"state": "failed", "error": error} if error else {"state": "done"}
    except EOFError:
        child.join()
        outcome = {"state": "died", "error": f"exit status {child.exitcode}"}
    finally:
        child.kill()
        child.join()
    return {**outcome, "figures": figures}


def _child(run: Callable[[], Iterable[Figure]], to: Connection) -> None:
    try:
        for figure in run():
            to.send((asdict(figure), ""))
        to.send((None, ""))
    except Exception:  # noqa: BLE001 - whatever it is, it is written down
        to.send((None, "".join(traceback.format_exc().splitlines(keepends=True)[-12:])))
