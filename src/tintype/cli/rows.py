"""Rows on a terminal, as a table or as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """All of them, with the names of the first one's fields on top."""
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(*(rows[0] if rows else ["nothing yet"]))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)


def shown_time(moment: float | None) -> str:
    """Unix seconds as ISO 8601, in UTC; nothing for None."""
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
