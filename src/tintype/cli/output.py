"""What commands print: rows on a terminal, in a pipe, as JSON or as CSV; and progress bars of downloads."""

from __future__ import annotations

import csv
import io
import json
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

#: Columns: more than any row takes.
UNLIMITED_WIDTH = 10_000
#: A spreadsheet runs a text that begins with one of these as a formula; callers choose their keys' names.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def print_rows(rows: list[dict[str, Any]], as_json: bool, console: Console | None = None) -> None:
    """All rows under the names of the first one's fields.

    On a terminal a table, or a block per row where the table is too wide; in a pipe a line each, of any length.
    """
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console = console or Console()
    if not console.is_terminal:
        click.echo(_lines(rows), nl=False)
        return
    table = Table(*(rows[0] if rows else ["nothing yet"]))
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    if console.measure(table, options=console.options.update(width=UNLIMITED_WIDTH)).maximum <= console.width:
        console.print(table)
    else:
        for row in rows:
            console.print(_block(row), "")


def print_csv(rows: list[dict[str, Any]], names: list[str]) -> None:
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


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _lines(rows: list[dict[str, Any]]) -> str:
    """Columns without borders, two spaces apart, `-` for what is empty: readable, and easy for grep and awk."""
    if not rows:
        return "nothing yet\n"
    table = Table(*rows[0], box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="none")
    for row in rows:
        table.add_row(*(Text(" ".join(_shown(value).split()) or "-") for value in row.values()))
    console = Console(width=UNLIMITED_WIDTH, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _block(row: dict[str, Any]) -> Table:
    """A line per field, so that no id is cut."""
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, value in row.items():
        grid.add_row(name, _cell(value))
    return grid


def _cell(value: object) -> Text:
    """Literal text: rich would take a key's name with `[/]` in it for markup, and fail."""
    return Text(_shown(value))


def _shown(value: object) -> str:
    return {None: "", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)
