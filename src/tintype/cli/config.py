"""`tintype config`: which settings are in force, where each comes from, and a settings file to begin with."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from pydantic import SecretStr
from sqlalchemy import make_url

from tintype.cli.options import data_option, json_option, load_all
from tintype.cli.sources import FILE_NAME, Configuration, plain
from tintype.settings import GROUPS, SETTINGS, Setting
from tintype.store.db.database import shown_url

WIDTH = 80
#: Column of the comments, where a line leaves them room.
COMMENTS = 40
HIDDEN = "***"
#: From which number of seconds or bytes on a larger unit is added, and these units.
LARGER = {
    "seconds": ((86_400, "day"), (3_600, "hour"), (60, "minute")),
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
}


@click.group()
def config() -> None:
    """Settings: those in force, and a file to begin with.

    \b
    Examples:
      tintype config show --changed
      mkdir -p data; tintype config example > data/tintype.toml
    """


@config.command()
@click.argument("groups", nargs=-1, metavar="[GROUP]...", type=click.Choice([*GROUPS]))
@click.option("--changed", is_flag=True, help="Only what is set somewhere.")
@json_option
@data_option
def show(groups: tuple[str, ...], changed: bool, as_json: bool, data: Path | None) -> None:
    """Show the settings in force, and where each comes from.

    They are lines of a settings file; secrets are hidden. The command line goes over the environment (TINTYPE_…), and
    that over the settings file: `tintype --config` or TINTYPE_CONFIG names it, else it is tintype.toml in the data
    folder.

    \b
    Examples:
      tintype config show
      tintype config show web limits
      tintype --config /etc/tintype.toml config show --changed
    """
    loaded = load_all(data=data)
    chosen = [one for one in SETTINGS if (not groups or one.group in groups) and (not changed or one in loaded.origins)]
    if as_json:
        click.echo(json.dumps([_row(one, loaded) for one in chosen], indent=2))
        return
    click.echo(f"# {f'settings file: {loaded.file}' if loaded.file else 'no settings file'}")
    for one, heading in _with_headings(chosen):
        click.echo(f"{heading}{_line(one, loaded)}")


@config.command()
def example() -> None:
    """Print a settings file of all defaults.

    Every line is commented out.

    \b
    Example:
      mkdir -p data; tintype config example > data/tintype.toml
    """
    click.echo(f"# Settings of tintype: {FILE_NAME} in the data folder, or a file for --config.")
    for group, model in GROUPS.items():
        click.echo(f"\n# {model.__doc__}\n[{group}]")
        for one in (one for one in SETTINGS if one.group == group):
            lines = textwrap.wrap(f"{one.about} Allowed is {one.allowed}.", WIDTH - 2, break_on_hyphens=False)
            click.echo("\n".join(["", *(f"# {line}" for line in lines), f"# {one.field} = {toml(one.default)}"]))


def _with_headings(chosen: Sequence[Setting]) -> list[tuple[Setting, str]]:
    """Each with the heading of its group, if it is the group's first."""
    groups = ["", *(one.group for one in chosen)]
    return [
        (one, f"\n[{one.group}]\n" if one.group != before else "") for one, before in zip(chosen, groups, strict=False)
    ]


def _line(setting: Setting, loaded: Configuration) -> str:
    """The setting as a settings file has it, and where it comes from: behind it, or before where that is too long."""
    value = _value(setting, loaded)
    line = f"{setting.field} = {toml(value)}".ljust(COMMENTS)
    comment = f"# {', '.join(filter(None, (human(value, setting.unit), _from(setting, loaded))))}"
    return f"{line}  {comment}" if len(line) + len(comment) + 2 <= WIDTH else f"{comment}\n{line.rstrip()}"


def _from(setting: Setting, loaded: Configuration) -> str:
    origin = loaded.origins.get(setting)
    if origin and origin.kind == "file" and loaded.file:  # its place in it is the line's own
        return loaded.file.name
    return origin.name if origin else "default"


def _row(setting: Setting, loaded: Configuration) -> dict[str, Any]:
    origin = loaded.origins.get(setting)
    return {
        "setting": str(setting),
        "variable": f"TINTYPE_{setting.name}",
        "value": plain(_value(setting, loaded)),
        "source": origin.kind if origin else "default",
        "from": origin.name if origin else None,
    }


def _value(setting: Setting, loaded: Configuration) -> Any:
    """What may be shown of a value."""
    value = setting.value(loaded.settings)
    if isinstance(value, SecretStr):
        return HIDDEN if value.get_secret_value() else ""
    if setting.hidden and value:  # a URL, whose password alone is a secret
        return value if make_url(value).get_backend_name() == "sqlite" else shown_url(value)
    return value


def toml(value: object) -> str:
    """A value as a settings file has it."""
    value = plain(value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_key(key)} = {toml(one)}' for key, one in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)


def _key(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else json.dumps(name, ensure_ascii=False)


def human(value: object, unit: str) -> str:
    """A long time or a large size in the largest unit that counts it whole; else an empty text."""
    if not isinstance(value, int | float) or not value:
        return ""
    for size, name in LARGER.get(unit, ()):
        if value % size == 0:
            return f"{value // size:.0f} {name}{'s' if unit == 'seconds' and value != size else ''}"
    return ""
