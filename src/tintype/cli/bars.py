"""Progress of many bytes, on stderr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from tintype.hub.pull import PullProgress


@contextmanager
def open_bars(doing: str) -> Iterator[PullProgress]:
    """A progress bar over all bytes, with the name of the file that is at hand."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(doing, total=None)
        yield PullProgress(
            start=lambda total, there: progress.update(bar, total=total, completed=there),
            file=lambda path: progress.update(bar, description=f"{doing} {path}"),
            advance=lambda count: progress.advance(bar, count),
        )
