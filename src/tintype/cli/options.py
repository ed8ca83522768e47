"""Options that several commands share, and the settings in force."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.util import find_spec
from math import isnan
from pathlib import Path
from typing import IO, Any, TypeVar

import click
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from tintype.cli.sources import Configuration, exposed, load, with_endpoint
from tintype.errors import ConfigurationInvalid, InvalidParameter
from tintype.settings import Settings, find
from tintype.store.accounts.keys import MAX_OVERLAP, MAX_TTL
from tintype.store.billing.ledger import micro
from tintype.telemetry.traces import exporters

#: Key of the file that `--config` names in a context's `meta`.
CONFIG_FILE = "tintype.config"
Command = TypeVar("Command", bound=Callable[..., Any] | click.Command)
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

_data = click.option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help="The data folder: database and images.  [default: TINTYPE_DATA, or data]",
)
#: Before or after a command's name; `load_settings` reads it.
config_option = click.option(
    "--config",
    type=click.Path(path_type=Path),
    expose_value=False,
    callback=lambda context, _, file: context.meta.update({CONFIG_FILE: file} if file else {}),
    help="Settings file; else TINTYPE_CONFIG, or tintype.toml in the data folder.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
wide_option = click.option("--wide", is_flag=True, help="Every column, however narrow the terminal.")
verbose_option = click.option("--verbose", is_flag=True, help="Print log lines, to stderr.")
csv_option = click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for a spreadsheet.")


def data_option(command: Command) -> Command:
    """Where a command's data and its settings file are: `--data` is its parameter, `load_settings` reads `--config`."""
    return _data(config_option(command))


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
    """The settings in force, with the options that were given on top; raises InvalidSetting."""
    return load_all(**given).settings


def load_all(**given: Any) -> Configuration:
    """The same, and where each comes from. Secrets that others can read are noted, once for all processes."""
    options = {name: value for name, value in given.items() if value is not None}
    try:
        loaded = with_endpoint(load(os.environ, options, config_file()), os.environ)
    except ConfigurationInvalid as error:
        raise InvalidSetting(error.message) from None
    _check_url(loaded)
    if loaded.settings.telemetry.traces:
        _check_exporter(loaded.label(find("traces")), loaded.settings.telemetry.traces)
    if not _of_command("parent") and (note := exposed(loaded)):
        click.echo(f"note: {note}", err=True)
    return loaded


def config_file() -> Path | None:
    """The settings file that `--config` names, before or after the command's name."""
    context = click.get_current_context(silent=True)
    return context.meta.get(CONFIG_FILE) if context else None


def _of_command(option: str) -> Any:
    context = click.get_current_context(silent=True)
    return context.params.get(option) if context else None


def _check_url(loaded: Configuration) -> None:
    try:
        make_url(loaded.settings.sqlalchemy_url)
    except (ArgumentError, ValueError):  # its text may quote a part of the password
        url = find("database_url")
        raise InvalidSetting(f"{loaded.label(url)} is written like {url.allowed}") from None


def require_openvino(settings: Settings) -> None:
    """Raise InvalidSetting where workers are to use it, and the extra is missing."""
    if settings.worker.prepare == "openvino" and find_spec("openvino") is None:
        raise InvalidSetting(missing_extra("TINTYPE_PREPARE=openvino", "openvino"))


def require_ray() -> None:
    """Raise InvalidSetting where the extra is missing."""
    if find_spec("ray") is None:
        raise InvalidSetting(missing_extra("a Ray fleet", "ray"))


def _check_exporter(label: str, name: str) -> None:
    known = exporters()
    if not known:
        raise InvalidSetting(missing_extra(label, "otel"))
    if name not in known:
        raise InvalidSetting(f"{label}: no exporter {name} is installed; there are: {', '.join(known)}")
