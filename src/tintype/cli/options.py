"""Options that several commands share, and the settings: the environment's, with the options on top."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import IO, Any

import click
from pydantic import ValidationError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tintype.errors import InvalidParameter
from tintype.settings import ENVIRONMENT_NAMES, Setting, Settings, find, of_location
from tintype.store.accounts.keys import MAX_OVERLAP, MAX_TTL
from tintype.store.billing.ledger import micro
from tintype.telemetry.traces import exporters

PREFIX = "TINTYPE_"
#: Settings of earlier versions: what to do instead.
REPLACED = {"KEY_STREAMS": "TINTYPE_ACCOUNT_WAITS bounds an account's event streams, together with its v1 calls"}
URL_FORMAT = (
    "TINTYPE_DATABASE_URL is written like postgresql+psycopg://user:password@host/database (with / and @ in a password"
    " as %2F and %40), or sqlite:////folder/tintype.db"
)
#: Variables of Amazon's tools for the storage's address; the first one that is set counts.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
#: Far more than any server needs, far less than the database's integers hold.
MAX_DOLLARS = 1_000_000_000


class Duration(click.FloatRange):
    """An option's range of days or hours. click's own lets nan through."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number; fails where it is outside the range."""
        number = float(super().convert(value, param, ctx))
        if isnan(number):
            self.fail(f"{value!r} is no time", param, ctx)
        return number


DAYS = Duration(min=0, min_open=True, max=MAX_TTL / 86_400)
HOURS = Duration(min=0, max=MAX_OVERLAP / 3_600)

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder: database and images.  [default: TINTYPE_DATA, or data]",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
wide_option = click.option("--wide", is_flag=True, help="Every column, however narrow the terminal.")
verbose_option = click.option("--verbose", is_flag=True, help="Print log lines, to stderr.")
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")


class InvalidSetting(click.UsageError):
    """A setting that can't be used: one line, without the command's usage."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it."""
        click.ClickException.show(self, file)


def to_micro(name: str, given: float, min_dollars: int) -> int:
    """Dollars as typed → micro-dollars; raises InvalidParameter."""
    if not min_dollars <= given <= MAX_DOLLARS:  # false for nan
        raise InvalidParameter(name, given, f"dollars from {min_dollars} to {MAX_DOLLARS}")
    return micro(given)


def missing_extra(what: str, extra: str) -> str:
    """What to do where an optional package is missing; tintype is on no index, so a path must be named."""
    return (
        f"{what} needs the extra {extra}: pip install '/path/to/tintype[{extra}]', its checkout or wheel (install.md)"
    )


def first_line(error: BaseException | None) -> str:
    """The first line of an error's text."""
    return str(error or "").partition("\n")[0]


def load_settings(**given: Any) -> Settings:
    """The settings of the environment, overridden by the options that were given; raises InvalidSetting."""
    options = {name: value for name, value in given.items() if value is not None}
    overridden = {find(name) for name in options}
    names = {setting: name for setting, name in _environment(os.environ).items() if setting not in overridden}
    try:
        settings = Settings.of(**{one.flat: os.environ[name] for one, name in names.items()} | options)
    except ValidationError as error:
        raise InvalidSetting("; ".join(_mistake(names, **one) for one in error.errors(include_url=False))) from None
    try:
        make_url(settings.sqlalchemy_url)
    except (ArgumentError, ValueError):  # its text may quote a part of the password
        raise InvalidSetting(URL_FORMAT) from None
    if settings.telemetry.traces:
        _check_exporter(settings.telemetry.traces)
    return with_endpoint(settings)


def _environment(environment: Mapping[str, str]) -> dict[Setting, str]:
    """The settings that the environment has, and the name of each there; raises InvalidSetting."""
    found: dict[Setting, str] = {}
    for name in environment:
        own = name.upper().removeprefix(PREFIX)
        if not name.upper().startswith(PREFIX):
            continue
        if own not in ENVIRONMENT_NAMES:
            raise InvalidSetting(_unknown(name, own))
        setting = find(own.lower())
        if setting in found and environment[found[setting]] != environment[name]:
            raise InvalidSetting(
                f"{found[setting]} and {name} are one setting, and are set to different values: leave one of them out"
            )
        found[setting] = name
    return found


def with_endpoint(settings: Settings, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings with the storage's address, also where only the environment has it; raises InvalidSetting.

    The address tells storages apart: in the log at start, in the database, and while the storage is unreachable.
    """
    name = next((name for name in ENDPOINTS if environment.get(name)), None)
    if name is None or settings.storage.endpoint or not settings.storage.url:
        return settings
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", environment[name]):
        raise InvalidSetting(f"{name} is no address: it is written like https://storage.example")
    return settings.replace(storage_endpoint=environment[name].rstrip("/"))


def require_ray() -> None:
    """Raise InvalidSetting where the extra is missing."""
    if find_spec("ray") is None:
        raise InvalidSetting(missing_extra("a Ray fleet", "ray"))


def _mistake(names: Mapping[Setting, str], loc: Sequence[str | int], msg: str, **_: Any) -> str:
    """One of pydantic's errors with the variable's name, and without its value, which may be a password."""
    setting, inside = of_location(loc)
    said = msg.removeprefix("Value error, ")
    return ": ".join((names.get(setting, PREFIX + setting.name), *filter(None, [".".join(map(str, inside))]), said))


def _unknown(name: str, own: str) -> str:
    """What to do about a variable that looks like a setting and is none, such as a typing mistake."""
    if own in REPLACED:
        return f"{name} is no setting any more: {REPLACED[own]}"
    close = difflib.get_close_matches(own, sorted(ENVIRONMENT_NAMES), n=1)
    hint = f"the closest is {PREFIX}{close[0]}" if close else "docs/settings.md lists them"
    return f"{name} is not a setting; {hint}"


def _check_exporter(name: str) -> None:
    known = exporters()
    if not known:
        raise InvalidSetting(missing_extra(f"{PREFIX}TRACES", "otel"))
    if name not in known:
        raise InvalidSetting(f"{PREFIX}TRACES: no exporter {name} is installed; there are: {', '.join(known)}")
