"""Options that several commands share, and the settings: the environment's, with the options on top."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import IO, Any

import click
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tintype.errors import InvalidParameter
from tintype.settings import Settings
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
    _refuse_unknown(os.environ)
    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
    except SettingsError as error:  # of pydantic's text, only the field's name is of use
        name = PREFIX + str(error).partition('"')[2].partition('"')[0].upper()
        raise InvalidSetting(f"""{name}: not JSON; it is written {{"sd1.5-img2img": "/models/sd15"}}""") from None
    except ValidationError as error:
        raise InvalidSetting("; ".join(_mistake(**one) for one in error.errors(include_url=False))) from None
    try:
        make_url(settings.database)
    except (ArgumentError, ValueError):  # its text may quote a part of the password
        raise InvalidSetting(URL_FORMAT) from None
    if settings.traces:
        _check_exporter(settings.traces)
    return with_endpoint(settings)


def with_endpoint(settings: Settings, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings with the storage's address, also where only the environment has it; raises InvalidSetting.

    The address tells storages apart: in the log at start, in the database, and while the storage is unreachable.
    """
    name = next((name for name in ENDPOINTS if environment.get(name)), None)
    if name is None or settings.storage_endpoint or not settings.storage_url:
        return settings
    if not re.fullmatch(r"https?://[^/\s]+(/\S*)?", environment[name]):
        raise InvalidSetting(f"{name} is no address: it is written like https://storage.example")
    return settings.model_copy(update={"storage_endpoint": environment[name].rstrip("/")})


def require_ray() -> None:
    """Raise InvalidSetting where the extra is missing."""
    if find_spec("ray") is None:
        raise InvalidSetting(missing_extra("a Ray fleet", "ray"))


def _mistake(loc: Sequence[str | int], msg: str, **_: Any) -> str:
    """One of pydantic's errors with the variable's name, and without its value, which may be a password."""
    name, *inside = map(str, loc)
    return ": ".join((PREFIX + name.upper(), *filter(None, [".".join(inside)]), msg.removeprefix("Value error, ")))


def _refuse_unknown(environment: Iterable[str]) -> None:
    """Raise InvalidSetting for a variable that looks like a setting and is none, such as a typing mistake."""
    known = [field.upper() for field in Settings.model_fields]
    for name in environment:
        own = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and own not in known:
            if own in REPLACED:
                raise InvalidSetting(f"{name} is no setting any more: {REPLACED[own]}")
            close = difflib.get_close_matches(own, known, n=1)
            hint = f"the closest is {PREFIX}{close[0]}" if close else "docs/settings.md lists them"
            raise InvalidSetting(f"{name} is not a setting; {hint}")


def _check_exporter(name: str) -> None:
    known = exporters()
    if not known:
        raise InvalidSetting(missing_extra(f"{PREFIX}TRACES", "otel"))
    if name not in known:
        raise InvalidSetting(f"{PREFIX}TRACES: no exporter {name} is installed; there are: {', '.join(known)}")
