"""Rows on a terminal, as a table or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table

#: Columns: more than any row takes.
ENDLESS = 10_000


def print_rows(rows: list[dict[str, Any]], as_json: bool, console: Console | None = None) -> None:
    """All of them, with the names of the first one's fields on top; one below the other where they are too wide."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    console = console or Console()
    table = Table(*(rows[0] if rows else ["nothing yet"]))
    for row in rows:
        table.add_row(*map(_shown, row.values()))
    if console.measure(table, options=console.options.update(width=ENDLESS)).maximum <= console.width:
        console.print(table)
    else:
        for row in rows:
            console.print(_upright(row), "")


def _upright(row: dict[str, Any]) -> Table:
    """A line per field: whatever is cut from an id can't be typed."""
    grid = Table.grid(Column(style="bold"), Column(overflow="fold"), padding=(0, 2))
    for name, value in row.items():
        grid.add_row(name, _shown(value))
    return grid


def _shown(value: object) -> str:
    return "" if value is None else str(value)


def shown_time(moment: float | None) -> str:
    """Unix seconds as ISO 8601, in UTC; nothing for None."""
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
