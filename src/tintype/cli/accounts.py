"""`tintype accounts`."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from tintype.cli.database import open_store
from tintype.cli.options import MAX_DOLLARS, csv_option, data_option, json_option, load_settings, to_micro, wide_option
from tintype.cli.output import print_csv, print_record, print_rows, shown_time
from tintype.errors import LedgerBroken
from tintype.store.accounts.accounts import Account
from tintype.store.billing.ledger import Line, dollars, plain, shown
from tintype.store.billing.reports import SPLITS, AccountUsage, By, Window, period

#: Of a report: ten years.
MAX_REPORT_DAYS = 3_660
DAY = click.DateTime(["%Y-%m-%d"])


@click.group()
def accounts() -> None:
    """Accounts and their credits, in dollars.

    \b
    Examples:
      tintype accounts create --name studio --credits 25
      tintype accounts credit 9f0c3c0e-… 10 --note "invoice 7"
      tintype accounts show 9f0c3c0e-…
      tintype accounts usage --from 2026-11-01 --to 2026-11-30
    """


@accounts.command("create")
@click.option("--name", required=True, help="Name of its owner.")
@click.option("--credits", "dollars_given", type=float, default=0.0, show_default=True, help="Dollars to start with.")
@data_option
@json_option
def create_account(name: str, dollars_given: float, data: Path | None, as_json: bool) -> None:
    """Create an account and print its id.

    \b
    Example:
      tintype accounts create --name studio --credits 25
    """
    credits_micro = to_micro("--credits", dollars_given, 0)
    with open_store(load_settings(data=data), making=True) as store:
        account = store.accounts.create(name, credits_micro)
    click.echo(json.dumps(_account_row(account), indent=2) if as_json else account.id)


@accounts.command("list")
@data_option
@json_option
@wide_option
def list_accounts(data: Path | None, as_json: bool, wide: bool) -> None:
    """List the accounts.

    \b
    Example:
      tintype accounts list --json
    """
    with open_store(load_settings(data=data)) as store:
        print_rows([_account_row(one) for one in store.accounts.list()], as_json, wide=wide)


@accounts.command()
@click.argument("account")
@click.option("--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows of the ledger.")
@data_option
@json_option
@wide_option
def show(account: str, lines: int, data: Path | None, as_json: bool, wide: bool) -> None:
    """Show an account and the last rows of its ledger, newest first.

    \b
    Example:
      tintype accounts show 9f0c3c0e-…
    """
    with open_store(load_settings(data=data)) as store:
        own = _account_row(store.accounts.account(account))
        rows = [_line_row(line) for line in store.accounts.lines(account, lines)]
    if as_json:
        click.echo(json.dumps(own | {"ledger": rows}, indent=2))
        return
    print_record(own)
    click.echo()
    print_rows(rows, wide=wide, keep=5)


@accounts.command()
@click.argument("account")
@click.argument("dollars_given", metavar="DOLLARS", type=float)
@click.option("--note", help="Reason, for the ledger.")
@data_option
def credit(account: str, dollars_given: float, note: str | None, data: Path | None) -> None:
    """Add dollars to an account; a negative amount takes them.

    One is written after `--`, which ends the options.

    \b
    Examples:
      tintype accounts credit 9f0c3c0e-… 10 --note "invoice 7"
      tintype accounts credit -- 9f0c3c0e-… -2.5
    """
    credits_micro = to_micro("DOLLARS", dollars_given, -MAX_DOLLARS)
    with open_store(load_settings(data=data)) as store:
        changed = store.accounts.credit(account, credits_micro, note)
    click.echo(f"{changed.name}: ${dollars(changed.balance):g}")


@accounts.command()
@data_option
def check(data: Path | None) -> None:
    """Compare every stored sum with the rows it sums.

    Those are balances, with the ledger, and the counts of the queue, with its requests. The exit code is 1 where they
    differ.

    \b
    Example:
      tintype accounts check
    """
    with open_store(load_settings(data=data)) as store:
        differing = store.accounts.imbalances()
    for one in differing:
        stored, summed = map(shown if one.money else str, (one.stored, one.summed))
        click.echo(f"{one.id}: {one.what} is {stored}, but its rows sum to {summed}", err=True)
    if differing:
        raise LedgerBroken(f"{len(differing)} sums differ from their rows")
    click.echo("every balance is the sum of its ledger, and every count of the queue that of its requests")


@accounts.command()
@click.argument("account", required=False)
@click.option("--from", "first", type=DAY, metavar="DAY", help="First day, 2026-11-01; else that of --to's month.")
@click.option("--to", "last", type=DAY, metavar="DAY", help="Last day, which counts too; else today.")
@click.option("--by", type=click.Choice(SPLITS), help="Split each account's row.")
@data_option
@json_option
@csv_option
@wide_option
def usage(
    account: str | None,
    first: datetime | None,
    last: datetime | None,
    by: By | None,
    data: Path | None,
    as_json: bool,
    as_csv: bool,
    wide: bool,
) -> None:
    """Show what accounts used between two days.

    Both days count, in UTC; the highest cost comes first.

    \b
    charged, cost       requests that were charged, and dollars: by the
                        ledger, which never expires
    uncharged           requests with a price that failed or were cancelled:
                        by the ledger too
    completed, failed   how requests ended, free ones and tests included;
                        empty for days whose requests have expired
                        (TINTYPE_HISTORY_TTL), and by key

    A request counts on the day that it ended. Test keys have rows of their own. A model is empty for requests that
    have expired.

    \b
    Examples:
      tintype accounts usage
      tintype accounts usage --from 2026-11-01 --to 2026-11-30 --csv > 11.csv
      tintype accounts usage 9f0c3c0e-… --from 2026-01-01 --by month
      tintype accounts usage 9f0c3c0e-… --by model --json
    """
    settings = load_settings(data=data)
    start, end = period(first and first.date(), last and last.date(), ("--from", "--to"), MAX_REPORT_DAYS)
    window = Window.of(start, end)
    with open_store(settings) as store:
        used, _ = store.billing.usage(window, by, account or "")
    if as_csv:
        names = [*_use_names(by), "charged", "cost", "uncharged", "completed", "failed"]
        print_csv([{**_use_row(one, by), "cost": plain(one.cost)} for one in used], names)
    else:
        print_rows([_use_row(one, by) for one in used], as_json, wide=wide, keep=len(_use_names(by)) + 2)


def _use_names(by: By | None) -> list[str]:
    return ["account", "name", "mode", *([by] if by else []), *(["key name"] if by == "key" else [])]


def _use_row(one: AccountUsage, by: By | None) -> dict[str, Any]:
    names = [one.account_id, one.name, "test" if one.test else "live", one.part, one.key]
    row: dict[str, Any] = dict(zip(_use_names(by), names, strict=False))
    counts = {"completed": one.completed, "failed": one.failed}
    return row | {"charged": one.charged, "cost": dollars(one.cost), "uncharged": one.uncharged} | counts


def _account_row(one: Account) -> dict[str, Any]:
    money = {"balance": dollars(one.balance), "held": dollars(one.held), "available": dollars(one.remaining)}
    return {"id": one.id, "name": one.name, **money}


def _line_row(line: Line) -> dict[str, Any]:
    return {
        "at": shown_time(line.created_at),
        "kind": str(line.kind),
        "balance": dollars(line.balance),
        "held": dollars(line.held),
        "request": line.request_id or "",
        "note": line.note or "",
    }
