"""`tintype keys`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import click

from tintype.catalog.limits import LIMITS, MAX_LIMIT, Limit
from tintype.catalog.spec import Catalogue
from tintype.cli.database import open_store
from tintype.cli.options import DAYS, HOURS, data_option, json_option, load_settings, to_micro, wide_option
from tintype.cli.output import print_rows, shown_time
from tintype.cli.startup import check_safety
from tintype.errors import InvalidParameter, NotFound
from tintype.hub.registry import build_registry
from tintype.settings.groups import Safety
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.keys import OVERLAP, Key
from tintype.store.billing.ledger import dollars

DAY, HOUR = 86_400.0, 3_600.0
SCOPES = ("read", "run")
strictness = click.Choice(get_args(Safety))


Command = TypeVar("Command", bound=Callable[..., Any])


#: Stands for no limit of its own.
NONE = "none"


def or_none(number: Any) -> Callable[[str], Any]:
    """What takes NONE too, in addition to a type of click's."""
    return lambda value: value if value == NONE else number.convert(value, None, None)


def limit_options(*, lift: bool) -> Callable[[Command], Command]:
    """An option for each limit; lift: whether NONE can be given."""

    def add(command: Command) -> Command:
        for limit in reversed(LIMITS.values()):
            number = click.FLOAT if limit.money else click.IntRange(limit.min, MAX_LIMIT)
            shares = "; without, it shares its account's" if limit.scope == "account" else ""
            kind, metavar = (or_none(number), f"NUMBER|{NONE}") if lift else (number, None)
            command = click.option(limit.option, type=kind, metavar=metavar, help=f"{limit.help}{shares}.")(command)
        return command

    return add


@click.group()
def keys() -> None:
    """API keys: stored hashed, shown once.

    \b
    Examples:
      tintype keys create --name laptop
      tintype keys create --models sd1.5-img2img --expires 30 --spend-cap 5
      tintype keys update SG_1a2b --daily-spend 2
      tintype keys rotate SG_1a2b
      tintype keys revoke SG_1a2b
    """


@keys.command()
@click.option("--account", help="Id of the account; by default the oldest.")
@click.option("--name", default="key", show_default=True, help="What the key is for.")
@click.option("--models", help="Comma-separated slugs that it may run; by default all.")
@click.option("--scopes", default="read,run", show_default=True, help="`read` to read only, `read,run` to do all.")
@limit_options(lift=False)
@click.option("--safety", type=strictness, help="Of the safety check; by default the server's (docs/safety.md).")
@click.option("--test", is_flag=True, help="A key for tests: free, no model runs (docs/test-mode.md).")
@click.option(
    "--operator",
    is_flag=True,
    help="It also controls the whole server; with `--scopes read` it only sees it (docs/operator.md).",
)
@click.option("--expires", type=DAYS, help="Days until it stops working.")
@data_option
@json_option
def create(
    account: str | None,
    name: str,
    models: str | None,
    scopes: str,
    safety: Safety | None,
    test: bool,
    operator: bool,
    expires: float | None,
    data: Path | None,
    as_json: bool,
    **limits: float | None,
) -> None:
    """Create a key and print it, this once.

    \b
    Examples:
      tintype keys create --name ci --models sd1.5-img2img,sd3-med-img2img
      tintype keys create --name ci --rpm 60 --concurrency 4 --spend-cap 5
      tintype keys create --name dashboard --scopes read
      tintype keys create --name ci --test
      tintype keys create --name me --operator
      tintype keys create --name prometheus --operator --scopes read
    """
    settings = load_settings(data=data)
    slugs = None if models is None else _slugs(models, build_registry(settings).catalogue)
    own = _stored(limits)
    read_only = _read_only(scopes)
    check_safety(settings, safety)
    with open_store(settings, making=True) as store:
        accounts = store.accounts
        key, secret = accounts.keys.create(
            account or _oldest(accounts),
            name,
            models=slugs,
            read_only=read_only,
            expires_in=None if expires is None else expires * DAY,
            safety=safety,
            test=test,
            operator=operator,
            **own,
        )
    _print_secret(key, secret, as_json)


@keys.command("list")
@data_option
@json_option
@wide_option
def list_keys(data: Path | None, as_json: bool, wide: bool) -> None:
    """List the keys, without their secrets, which are not stored.

    \b
    Examples:
      tintype keys list
      tintype keys list --wide
    """
    with open_store(load_settings(data=data)) as store:
        print_rows([key_row(key) for key in store.accounts.keys.list()], as_json, wide=wide, keep=4)


@keys.command()
@click.argument("which", metavar="KEY")
@click.option("--overlap", type=HOURS, default=OVERLAP / 3_600, show_default=True,
              help="Hours for which the old secret still works; 0 for a key that leaked.")  # fmt: skip
@data_option
@json_option
def rotate(which: str, overlap: float, data: Path | None, as_json: bool) -> None:
    """Give a key a new secret and print it, this once.

    KEY is the whole of it, its id, or its first characters; its limits and spending stay.

    The old secret works for another --overlap hours, so that programs can switch; stderr has the time until when.

    \b
    Examples:
      tintype keys rotate SG_1a2b --overlap 1
      tintype keys rotate SG_1a2b --overlap 0    # leaked: the old one ends now
    """
    with open_store(load_settings(data=data)) as store:
        key, secret = store.accounts.keys.rotate(which.strip(), overlap * HOUR)
    _print_secret(key, secret, as_json)
    click.echo(_overlap_words(key, overlap), err=True)


@keys.command()
@click.argument("which", metavar="KEY")
@click.argument("strict", metavar="off|warn|block|server", type=click.Choice([*strictness.choices, "server"]))
@data_option
def safety(which: str, strict: Literal["off", "warn", "block", "server"], data: Path | None) -> None:
    """Set how strict the safety check is with a key.

    KEY is the whole of it, its id, or its first characters; `server` stands for the server's setting.

    \b
    Example:
      tintype keys safety SG_1a2b block
    """
    own = None if strict == "server" else strict
    settings = load_settings(data=data)
    check_safety(settings, own)
    with open_store(settings) as store:
        key = store.accounts.keys.set_safety(which.strip(), own)
    click.echo(f"{key.begins}… ({key.name}): safety {key.safety or 'as the server has it'}")


@keys.command()
@click.argument("which", metavar="KEY")
@limit_options(lift=True)
@data_option
def update(which: str, data: Path | None, **limits: float | Literal["none"] | None) -> None:
    """Set limits of a key, or lift them.

    Those that aren't named stay as they are; `none` lifts one. KEY is the whole of it, its id, or its first characters.
    What it has spent and sent stays counted, also of today. A key that a key made stays within its account's limits,
    whatever its own are.

    \b
    Examples:
      tintype keys update SG_1a2b --spend-cap 20 --daily-spend 2
      tintype keys update SG_1a2b --daily-requests none
    """
    named = {name: None if one == NONE else one for name, one in limits.items() if one is not None}
    if not named:
        raise click.UsageError("Name a limit, such as --rpm 60")
    own = _stored(named)
    with open_store(load_settings(data=data)) as store:
        key = store.accounts.keys.set_limits(which.strip(), **own)
    click.echo(f"{key.begins}… ({key.name}): {key_row(key)['limits'] or 'no limits of its own'}")


@keys.command()
@click.argument("which", metavar="KEY")
@data_option
def revoke(which: str, data: Path | None) -> None:
    """Stop a key from working.

    KEY is the whole of it, its id, or its first characters.

    \b
    Example:
      tintype keys revoke SG_1a2b
    """
    with open_store(load_settings(data=data)) as store:
        key = store.accounts.keys.revoke(which.strip())
    click.echo(f"{key.begins}… ({key.name}) no longer works")


def key_row(key: Key) -> dict[str, Any]:
    """A key, with its limits in one column, as most keys have few."""
    limits = [_limit_words(key, LIMITS[name], limit) for name, limit in key.limits.items() if limit is not None]
    return {
        "id": key.id,
        "key": f"{key.begins}…",
        "name": key.name,
        "state": key.state(time.time()),
        "expires": _day(key.expires_at),
        "mode": key.mode,
        "spent": dollars(key.spent),
        "scopes": ("read" if key.read_only else "read, run") + (", operator" if key.operator else ""),
        "limits": ", ".join(limits),
        "models": "all" if key.models is None else ", ".join(key.models),
        "safety": key.safety or "server's",
        "account": key.account_id,
        "created": _day(key.created_at),
    }


def _limit_words(key: Key, limit: Limit, max: float) -> str:
    """`rpm 60`, `daily-spend 5 (1.25 today)`."""
    words = f"{limit.option[2:]} {max:.15g}"
    if not limit.daily:
        return words
    used = key.used(limit, time.time())
    return f"{words} ({dollars(used) if limit.money else used:.15g} today)"


def _print_secret(key: Key, secret: str, as_json: bool) -> None:
    """The secret alone, for `KEY=$(tintype keys create)`, or as JSON with the key's other fields."""
    about = {"secret": secret, **key_row(key), "old_secret_works_until": shown_time(key.old_until) or None}
    click.echo(json.dumps(about, indent=2) if as_json else secret)


def _overlap_words(key: Key, hours: float) -> str:
    if not hours:
        return "The old secret no longer works."
    return (
        f"The old secret works until {shown_time(key.old_until)}, for {hours:g} more hours. If it leaked, end it now:\n"
        f"  tintype keys rotate {key.id} --overlap 0    # another new secret; no older one works\n"
        f"  tintype keys revoke {key.id}                # no secret of this key works"
    )


def _stored(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Limits as they are stored; raises InvalidParameter."""
    money = {LIMITS[name]: given for name, given in limits.items() if given is not None and LIMITS[name].money}
    return {**limits, **{one.name: to_micro(one.option, given, one.min) for one, given in money.items()}}


def _read_only(scopes: str) -> bool:
    """Whether `run` is not among them; raises InvalidParameter. `run` includes `read`."""
    given = {scope.strip() for scope in scopes.split(",")}
    if not given <= set(SCOPES):
        raise InvalidParameter("--scopes", scopes, "read, or read,run")
    return "run" not in given


def _slugs(models: str, catalogue: Catalogue) -> list[str]:
    """The slugs of a comma-separated list; raises NotFound."""
    return [catalogue.find(slug.strip()).slug for slug in models.split(",")]


def _oldest(accounts: Accounts) -> str:
    own = [one for one in accounts.list() if one.test_of is None]
    if not own:
        raise NotFound("There is no account yet: run `tintype serve` once, or `tintype accounts create`")
    return own[0].id


def _day(moment: float | None) -> str:
    return "" if moment is None else datetime.fromtimestamp(moment, UTC).date().isoformat()
