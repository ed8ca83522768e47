"""`tintype accounts`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from tintype.cli.amounts import MOST_DOLLARS, to_micro
from tintype.cli.options import data_option, json_option, load_settings, open_database
from tintype.cli.rows import print_rows, shown_time
from tintype.errors import LedgerBroken
from tintype.store.accounts import Account, Accounts
from tintype.store.ledger import Line
from tintype.store.money import dollars, shown


@click.group()
def accounts() -> None:
    """Accounts and their credits, in dollars.

    \b
    Examples:
      tintype accounts create --name studio --credits 25
      tintype accounts credit 9f0c3c0e-… 10 --note "invoice 7"
      tintype accounts show 9f0c3c0e-…
    """


@accounts.command("create")
@click.option("--name", required=True, help="Whose it is.")
@click.option("--credits", "dollars_given", type=float, default=0.0, show_default=True, help="Dollars to start with.")
@data_option
def create_account(name: str, dollars_given: float, data: Path | None) -> None:
    """Create an account and print its id.

    \b
    Example:
      tintype accounts create --name studio --credits 25
    """
    credits_micro = to_micro("--credits", dollars_given, 0)
    with open_database(load_settings(data=data)) as db:
        click.echo(Accounts(db).create(name, credits_micro).id)


@accounts.command("list")
@data_option
@json_option
def list_accounts(data: Path | None, as_json: bool) -> None:
    """List the accounts.

    \b
    Example:
      tintype accounts list --json
    """
    with open_database(load_settings(data=data)) as db:
        print_rows([_account_row(one) for one in Accounts(db).list()], as_json)


@accounts.command()
@click.argument("account")
@click.option("--lines", type=click.IntRange(1, 10_000), default=20, show_default=True, help="Rows of the ledger.")
@data_option
@json_option
def show(account: str, lines: int, data: Path | None, as_json: bool) -> None:
    """Show an account and the last rows of its ledger, the newest first.

    \b
    Example:
      tintype accounts show 9f0c3c0e-…
    """
    with open_database(load_settings(data=data)) as db:
        own = _account_row(Accounts(db).account(account))
        rows = [_line_row(line) for line in Accounts(db).lines(account, lines)]
    if as_json:
        click.echo(json.dumps(own | {"ledger": rows}, indent=2))
        return
    print_rows([own], as_json)
    print_rows(rows, as_json)


@accounts.command()
@click.argument("account")
@click.argument("dollars_given", metavar="DOLLARS", type=float)
@click.option("--note", help="Why, for the ledger.")
@data_option
def credit(account: str, dollars_given: float, note: str | None, data: Path | None) -> None:
    """Add dollars to an account; after `--`, a negative amount takes them.

    \b
    Examples:
      tintype accounts credit 9f0c3c0e-… 10 --note "invoice 7"
      tintype accounts credit -- 9f0c3c0e-… -2.5
    """
    credits_micro = to_micro("DOLLARS", dollars_given, -MOST_DOLLARS)
    with open_database(load_settings(data=data)) as db:
        changed = Accounts(db).credit(account, credits_micro, note)
    click.echo(f"{changed.name}: ${dollars(changed.balance):g}")


@accounts.command()
@data_option
def check(data: Path | None) -> None:
    """Compare every balance with the sum of its ledger; exits with 1 where they differ.

    \b
    Example:
      tintype accounts check
    """
    with open_database(load_settings(data=data)) as db:
        differing = Accounts(db).imbalances()
    for one in differing:
        click.echo(f"{one.id}: {one.what} is {shown(one.kept)}, but its rows sum to {shown(one.summed)}", err=True)
    if differing:
        raise LedgerBroken(f"{len(differing)} sums differ from their rows")
    click.echo("every balance is the sum of its ledger")


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
