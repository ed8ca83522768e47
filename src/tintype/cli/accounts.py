"""`tintype keys` and `tintype accounts`."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tintype.catalog.models import find_model
from tintype.cli.options import data_option, json_option, load_settings, open_database
from tintype.errors import InvalidParameter, NotFound
from tintype.store.accounts import Accounts, Key
from tintype.store.money import dollars, micro

DAY = 86_400.0
#: Far more than anybody needs, far less than the database's integers hold.
MOST_DOLLARS = 1_000_000_000


@click.group()
def keys() -> None:
    """API keys: kept hashed, shown once.

    \b
    Examples:
      tintype keys create --name laptop
      tintype keys create --models sd1.5-img2img --expires 30
      tintype keys revoke SG_1a2b
    """


@keys.command()
@click.option("--account", help="Id of the account; its oldest, if not given.")
@click.option("--name", default="key", show_default=True, help="What the key is for.")
@click.option("--models", help="Comma-separated slugs that it may run; all, if not given.")
@click.option("--read-only", is_flag=True, help="It may look, but not run or cancel.")
@click.option("--expires", type=click.FloatRange(min=0, min_open=True), help="Days until it stops working.")
@data_option
def create(
    account: str | None, name: str, models: str | None, read_only: bool, expires: float | None, data: Path | None
) -> None:
    """Create a key and print it, this once.

    \b
    Example:
      tintype keys create --name ci --models sd1.5-img2img,sd3-med-img2img
    """
    slugs = None if models is None else [find_model(slug.strip()).slug for slug in models.split(",")]
    with open_database(load_settings(data=data)) as db:
        accounts = Accounts(db)
        owner = account or _oldest(accounts)
        seconds = None if expires is None else expires * DAY
        _, secret = accounts.create_key(owner, name, models=slugs, read_only=read_only, expires_in=seconds)
    click.echo(secret)


@keys.command("list")
@data_option
@json_option
def list_keys(data: Path | None, as_json: bool) -> None:
    """List the keys; the keys themselves are not kept.

    \b
    Example:
      tintype keys list
    """
    with open_database(load_settings(data=data)) as db:
        rows = [_key_row(key) for key in Accounts(db).list_keys()]
    _print(rows, as_json)


@keys.command()
@click.argument("which")
@data_option
def revoke(which: str, data: Path | None) -> None:
    """Stop a key from working, named by the whole of it, its id or its first characters.

    \b
    Example:
      tintype keys revoke SG_1a2b
    """
    with open_database(load_settings(data=data)) as db:
        key = Accounts(db).revoke(which.strip())
    click.echo(f"{key.hint}… ({key.name}) no longer works")


@click.group()
def accounts() -> None:
    """Accounts and their credits, in dollars.

    \b
    Examples:
      tintype accounts create --name studio --credits 25
      tintype accounts credit 9f0c… 10
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
    credits_micro = _micro("--credits", dollars_given, 0)
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
        rows = [
            {"id": one.id, "name": one.name, "balance": dollars(one.balance), "held": dollars(one.held)}
            for one in Accounts(db).list()
        ]
    _print(rows, as_json)


@accounts.command()
@click.argument("account")
@click.argument("dollars_given", metavar="DOLLARS", type=float)
@data_option
def credit(account: str, dollars_given: float, data: Path | None) -> None:
    """Add dollars to an account.

    \b
    Example:
      tintype accounts credit 9f0c3c0e-… 10
    """
    credits_micro = _micro("DOLLARS", dollars_given, -MOST_DOLLARS)
    with open_database(load_settings(data=data)) as db:
        changed = Accounts(db).credit(account, credits_micro)
    click.echo(f"{changed.name}: ${dollars(changed.balance):g}")


def _oldest(accounts: Accounts) -> str:
    every = accounts.list()
    if not every:
        raise NotFound("There is no account yet: run `tintype serve` once, or `tintype accounts create`")
    return every[0].id


def _micro(name: str, given: float, least: int) -> int:
    """Dollars that a person gave → micro-dollars; raises InvalidParameter."""
    if not least <= given <= MOST_DOLLARS:  # which nan is not
        raise InvalidParameter(name, given, f"dollars from {least} to {MOST_DOLLARS}")
    return micro(given)


def _key_row(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "key": f"{key.hint}…",
        "name": key.name,
        "models": "all" if key.models is None else ", ".join(key.models),
        "read only": key.read_only,
        "created": _day(key.created_at),
        "expires": _day(key.expires_at),
        "state": key.state(time.time()),
    }


def _day(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table(*(rows[0] if rows else ["nothing yet"]))
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console().print(table)
