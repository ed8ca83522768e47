"""Bytes that a pass needs beside its weights: guessed at first, measured when it has run, kept for the next start."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog

from tintype.private import create

log = structlog.get_logger()

#: Passes of a kind that are measured: the largest counts, since the first may find room that others left behind.
MEASURED = 3
#: On top of what was measured, for what an allocator loses between its blocks.
SLACK = 1.1


class Pass(NamedTuple):
    """A kind of pass: through which component, what for, and over what."""

    part: str
    kind: str
    height: int
    width: int
    rows: int


class Meter(Protocol):
    """Measures the memory that a piece of work takes at its peak."""

    def start(self) -> None:
        """The work begins."""

    def stop(self) -> int | None:
        """Bytes that it took at its peak, beyond what was taken when it began; None where that can't be told."""


class Peaks:
    """What every kind of pass has taken. A file keeps it; without one it lasts as long as the process."""

    def __init__(self, meter: Meter | None = None, file: Path | None = None) -> None:
        self._meter = meter
        self._file = file
        self._bytes: dict[Pass, int] = _read(file)
        self._times: dict[Pass, int] = dict.fromkeys(self._bytes, MEASURED)
        #: Components whose next pass is not measured: it reads the weights from disk for the first time.
        self.fresh: set[str] = set()

    def expect(self, work: Pass, guess: int) -> int:
        """Bytes to set aside for a pass: as measured, in proportion to other numbers of rows, or else the guess."""
        if work in self._bytes:
            return round(self._bytes[work] * SLACK)
        alike = [size / known.rows for known, size in self._bytes.items() if known[:-1] == work[:-1]]
        return round(max(alike) * work.rows * SLACK) if alike else guess

    @contextmanager
    def watched(self, work: Pass) -> Iterator[None]:
        """Measure the pass that the block makes, unless that was done often enough; one that fails teaches nothing."""
        if self._meter is None or self._times.get(work, 0) >= MEASURED:
            yield
        elif work.part in self.fresh:
            self.fresh.discard(work.part)
            yield
        else:
            self._meter.start()
            yield
            self._learn(work, self._meter.stop())

    def _learn(self, work: Pass, size: int | None) -> None:
        self._times[work] = self._times.get(work, 0) + 1
        if size is None:
            return
        self._bytes[work] = max(size, self._bytes.get(work, 0))
        if self._file is not None and self._times[work] == MEASURED:
            _write(self._file, self._bytes)


def _read(file: Path | None) -> dict[Pass, int]:
    """What a file keeps; nothing of one that is not there, or that another version wrote."""
    with suppress(OSError, ValueError, TypeError):
        if file is not None:
            return {Pass(*work): int(size) for work, size in json.loads(file.read_text("utf-8"))}
    return {}


def _write(file: Path, known: dict[Pass, int]) -> None:
    half = file.with_suffix(".half")
    try:
        half.unlink(missing_ok=True)
        with os.fdopen(create(half), "w", encoding="utf-8") as kept:
            json.dump([[list(work), size] for work, size in known.items()], kept)
        half.replace(file)
    except OSError as error:
        log.warning("measured memory not kept; it is measured again at the next start", error=error.strerror)
