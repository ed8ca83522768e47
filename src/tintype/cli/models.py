"""`tintype models`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from textwrap import fill
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tintype.catalog.builtin import BUILTIN, about, in_words
from tintype.catalog.spec import ModelSpec, Param
from tintype.cli.options import data_option, json_option, load_registry, load_settings
from tintype.store.money import dollars


@click.group()
def models() -> None:
    """What can be asked for.

    \b
    Examples:
      tintype models list
      tintype models show sd3-med-img2img
    """


@models.command("list")
@data_option
@json_option
def list_models(data: Path | None, as_json: bool) -> None:
    """List the models.

    \b
    Example:
      tintype models list --json
    """
    registry = load_registry(load_settings(data=data))
    if as_json:
        rows = [_row(spec) | about(spec, registry.weights) for spec in registry.catalogue.values()]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("slug", "model", "dollars per picture", "weights")
    for spec in registry.catalogue.values():
        own = registry.weights.get(spec.slug)
        table.add_row(spec.slug, spec.title, f"{dollars(spec.price):g}", str(own.path) if own else BUILTIN)
    Console().print(table)


@models.command()
@click.argument("slug")
@data_option
@json_option
def show(slug: str, data: Path | None, as_json: bool) -> None:
    """Show a model's parameters, and what it can draw where it uses the built-in weights.

    \b
    Example:
      tintype models show stable-diffusion-3.5-turbo-txt2img
    """
    registry = load_registry(load_settings(data=data))
    spec = registry.catalogue.find(slug)
    own = about(spec, registry.weights)
    if as_json:
        click.echo(json.dumps(spec.json_schema() | own, indent=2))
        return
    table = Table("parameter", "default", "allowed", "what it is", title=f"{spec.title} · ${dollars(spec.price):g}")
    for param in spec.parameters:
        table.add_row(param.name, _default(param), param.allowed, param.help)
    Console().print(table)
    if own:
        things = ", ".join(f"{thing['emoji']} {thing['name']}" for thing in own["vocabulary"])
        click.echo(f"\n{in_words(spec)}:\n\n{fill(things, shutil.get_terminal_size().columns)}")


def _row(spec: ModelSpec) -> dict[str, Any]:
    return {"slug": spec.slug, "title": spec.title, "price": dollars(spec.price)}


def _default(param: Param) -> str:
    return "[bold]required[/]" if param.required else repr(param.default)
