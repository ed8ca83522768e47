"""`tintype audit`: what was done, by whom."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from tintype.cli.database import open_store
from tintype.cli.options import csv_option, data_option, json_option, load_settings, wide_option
from tintype.cli.output import print_csv, print_rows, shown_time
from tintype.store.db.audit import ACTS, THINGS, AuditEntry

FIELDS = ["at", "act", "who", "address", "via", "target", "account", "details", "times", "last_at"]


@click.command()
@click.option(
    "--since",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]),
    metavar="TIME",
    help="Acts from this day or moment on, UTC: 2026-11-30, or 2026-11-30T12:00.",
)
@click.option("--act", type=click.Choice([*THINGS, *ACTS]), metavar="ACT", help="One act, or a kind of them: `key`.")
@click.option("--account", help="Id of an account: what it did, and what was done to it and its test keys.")
@click.option("--lines", type=click.IntRange(1, 1_000_000), default=50, show_default=True, help="Acts, at most.")
@data_option
@json_option
@csv_option
@wide_option
def audit(
    since: datetime | None,
    act: str | None,
    account: str | None,
    lines: int,
    data: Path | None,
    as_json: bool,
    as_csv: bool,
    wide: bool,
) -> None:
    """Show who did what to the server, its accounts and keys.

    The newest come first; acts expire after TINTYPE_AUDIT_TTL. `who` is, over the API, a key's name and prefix, with
    the client's address; else the system's user and host.

    Acts: account.create account.credit database.migrate key.create key.revoke key.rotate key.safety key.update
    model.warm queue.pause queue.resume signer.create signer.distrust storage.adopt webhook.add webhook.rebase
    webhook.remove webhook.replay webhook.rotate webhook.update worker.drain worker.recall

    \b
    Examples:
      tintype audit
      tintype audit --act queue.pause --lines 1
      tintype audit --act key --since 2026-11-01 --account 9f0c3c0e-…
      tintype audit --since 2026-01-01 --lines 100000 --csv > acts.csv
    """
    settings = load_settings(data=data)
    moment = None if since is None else since.replace(tzinfo=UTC).timestamp()
    with open_store(settings) as store:
        acts = store.audit
        found, _ = acts.page(size=lines, since=moment, act=act or "", account_id=account or "")
    if as_json:
        click.echo(json.dumps([_row(entry) for entry in found], indent=2))
    elif as_csv:
        print_csv([{**_row(entry), "details": json.dumps(dict(entry.details))} for entry in found], FIELDS)
    else:
        print_rows([_line(entry) for entry in found], wide=wide, keep=4)


def _row(entry: AuditEntry) -> dict[str, Any]:
    return {
        "at": shown_time(entry.at),
        "act": entry.act,
        "who": entry.who,
        "address": entry.address,
        "via": entry.via,
        "target": entry.target,
        "account": entry.account_id,
        "details": dict(entry.details),
        "times": entry.times,
        "last_at": shown_time(entry.last_at),
        "by_account": entry.by_account,
        "by_key": entry.by_key,
    }


def _line(entry: AuditEntry) -> dict[str, Any]:
    """For a terminal: what most entries lack is among the details."""
    repeated = {} if entry.times == 1 else {"times": entry.times, "last": shown_time(entry.last_at)}
    details = {**entry.details, **repeated}
    return {
        "at": shown_time(entry.at),
        "act": entry.act,
        "who": entry.who if entry.address is None else f"{entry.who} from {entry.address}",
        "target": entry.target,
        "details": ", ".join(f"{name} {_words(name, value)}" for name, value in details.items()),
    }


def _words(name: str, value: object) -> str:
    if name.endswith("_at") and isinstance(value, float):
        return shown_time(value)
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
