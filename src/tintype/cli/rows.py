"""Rows on a terminal, in a pipe, as JSON or as CSV."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

#: Columns: more than any row takes.
ENDLESS = 10_000
#: A spreadsheet would run a text that begins with one of these as a formula; names are whoever made the key's.
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def print_rows(rows: list[dict[str, Any]], as_json: bool, console: Console | None = None) -> None:
    """All of them, with the names of the first one's fields on top.

    On a terminal a table, one row below the other where they are too wide; in a pipe a line each, whatever its length.
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
    if console.measure(table, options=console.options.update(width=ENDLESS)).maximum <= console.width:
        console.print(table)
    else:
        for row in rows:
            console.print(_upright(row), "")


def print_csv(rows: list[dict[str, Any]], names: list[str]) -> None:
    """All of them with their fields' names on top, for a spreadsheet."""
    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(names)
    writer.writerows([_safe(row[name]) for name in names] for row in rows)
    click.echo(written.getvalue(), nl=False)


def _safe(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULAS) else value


def _lines(rows: list[dict[str, Any]]) -> str:
    """Columns without borders, two spaces apart, `-` for what is empty: for eyes, grep and awk alike."""
    if not rows:
        return "nothing yet\n"
    table = Table(*rows[0], box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="none")
    for row in rows:
        table.add_row(*(Text(" ".join(_shown(value).split()) or "-") for value in row.values()))
    console = Console(width=ENDLESS, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())


def _upright(row: dict[str, Any]) -> Table:
    """A line per field: whatever is cut from an id can't be typed."""
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, value in row.items():
        grid.add_row(name, _cell(value))
    return grid


def _cell(value: object) -> Text:
    """As it is: callers name their keys, and rich would take `[/]` in a plain text for markup, and fail."""
    return Text(_shown(value))


def _shown(value: object) -> str:
    return {None: "", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def shown_time(moment: float | None) -> str:
    """Unix seconds as ISO 8601, in UTC; nothing for None."""
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
