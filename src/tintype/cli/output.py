"""What commands print: rows on a terminal, in a pipe, as JSON or as CSV; and progress bars of downloads."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column, Table
from rich.text import Text

from tintype.hub.pull import PullProgress

#: Columns of a terminal of unknown width.
DEFAULT_WIDTH = 80
#: Characters between two columns.
GAP = 2
#: A time as `shown_time` writes it; a table has Z for its offset, which is ISO 8601 too, and five characters less.
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\+00:00")
#: A spreadsheet runs a text that begins with one of these as a formula; callers choose their keys' names.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def print_rows(
    rows: list[Row], as_json: bool = False, *, wide: bool = False, keep: int = 2, console: Console | None = None
) -> None:
    """Rows under the names of the first one's fields, the important ones first; no value is ever cut.

    In a pipe, and on a terminal where they fit or with `wide`: every column, a line per row. Else the columns that fit,
    with a note of those left out; where the first `keep` don't, every field on a line of its own.
    """
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console = console or _console()
    if not rows:
        click.echo("nothing yet", file=console.file)
        return
    names = [*rows[0]]
    fitting = names if wide or not console.is_terminal else _fitting(rows, console.width)
    if fitting[:keep] != names[:keep]:
        for row in rows:
            print_record(row, console=console)
            console.print()
        return
    _print_table([{name: row[name] for name in fitting} for row in rows], console)
    if left := [name for name in names if name not in fitting]:
        click.echo(f"not shown at this width: {', '.join(left)}; --wide has them, and --json", err=True)


def print_record(row: Row, as_json: bool = False, *, console: Console | None = None) -> None:
    """A single row: on a terminal a line per field, in a pipe its names and its values."""
    if as_json:
        click.echo(json.dumps(row, indent=2))
        return
    console = console or _console()
    if not console.is_terminal:
        _print_table([row], console)
        return
    grid = Table.grid(Column(style="bold", no_wrap=True), Column(overflow="fold"), padding=(0, GAP))
    for name, value in row.items():
        grid.add_row(name, _cell(value))
    console.print(grid)


def print_csv(rows: list[Row], names: list[str]) -> None:
    """All rows under their fields' names, for a spreadsheet."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(names)
    writer.writerows([_safe(row[name]) for name in names] for row in rows)
    click.echo(written.getvalue(), nl=False)


def shown_time(moment: float | None) -> str:
    """Unix seconds as ISO 8601, in UTC; empty for None."""
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")


@contextmanager
def open_bars(doing: str) -> Iterator[PullProgress]:
    """A progress bar over all bytes, on stderr, with the current file's name."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(doing, total=None)
        yield PullProgress(
            start=lambda total, there: progress.update(bar, total=total, completed=there),
            file=lambda path: progress.update(bar, description=f"{doing} {path}"),
            advance=lambda count: progress.advance(bar, count),
        )


def _console() -> Console:
    """The terminal or pipe; some programs have commands run with COLUMNS=0, at which nothing would be printed."""
    console = Console()
    console.width = console.width or DEFAULT_WIDTH
    return console


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _fitting(rows: list[Row], width: int) -> list[str]:
    """The names of the columns that fit next to each other, tried in their order."""
    fitting: list[str] = []
    used = -GAP
    for name in rows[0]:
        needed = GAP + max(Text(name).cell_len, *(_cell(row[name]).cell_len for row in rows))
        if used + needed <= width:
            fitting.append(name)
            used += needed
    return fitting


def _print_table(rows: list[Row], console: Console) -> None:
    """Columns without borders, two spaces apart, `-` for what is empty: can be copied, and easy for grep and awk."""
    lines = [[Text(name, style="bold") for name in rows[0]], *([*map(_cell, row.values())] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (cell + " " * (width - cell.cell_len) for cell, width in zip(line, widths, strict=True))
        text = Text(" " * GAP).join(padded)
        text.rstrip()
        console.print(text, soft_wrap=True)  # neither wrapped nor cut


def _cell(value: object) -> Text:
    """One line of literal text: rich would take a key's name with `[/]` in it for markup, and fail.

    Control characters are shown as escapes: a name must not steer the terminal.
    """
    words = " ".join(_shown(value).split())
    shown = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in words)
    return Text(TIME.sub(r"\1Z", shown) or "-")


def _shown(value: object) -> str:
    return {None: "", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
