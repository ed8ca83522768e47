"""`tintype models`."""

from __future__ import annotations

import json
import shutil
from textwrap import fill
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tintype.catalog.builtin import BUILTIN, about, in_words
from tintype.catalog.models import MODELS, find_model
from tintype.catalog.spec import ModelSpec, Param
from tintype.cli.options import json_option, load_settings
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
@json_option
def list_models(as_json: bool) -> None:
    """List the models.

    \b
    Example:
      tintype models list --json
    """
    configured = load_settings().weights
    if as_json:
        click.echo(json.dumps([_row(spec) | about(spec, configured) for spec in MODELS.values()], indent=2))
        return
    table = Table("slug", "model", "dollars per picture", "weights")
    for spec in MODELS.values():
        table.add_row(spec.slug, spec.title, f"{dollars(spec.price):g}", str(configured.get(spec.slug, BUILTIN)))
    Console().print(table)


@models.command()
@click.argument("slug")
@json_option
def show(slug: str, as_json: bool) -> None:
    """Show a model's parameters, and what it can draw where it uses the built-in weights.

    \b
    Example:
      tintype models show stable-diffusion-3.5-turbo-txt2img
    """
    spec = find_model(slug)
    own = about(spec, load_settings().weights)
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
