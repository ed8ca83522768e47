"""`tintype models`."""

from __future__ import annotations

import json

import click
from rich.console import Console
from rich.table import Table

from tintype.catalog.models import MODELS, find_model
from tintype.catalog.spec import Param
from tintype.cli.options import json_option
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
    rows = [(spec.slug, spec.title, dollars(spec.price)) for spec in MODELS.values()]
    if as_json:
        click.echo(json.dumps([dict(zip(("slug", "title", "price"), row, strict=True)) for row in rows], indent=2))
        return
    table = Table("slug", "model", "dollars per picture")
    for slug, title, price in rows:
        table.add_row(slug, title, f"{price:g}")
    Console().print(table)


@models.command()
@click.argument("slug")
@json_option
def show(slug: str, as_json: bool) -> None:
    """Show a model's parameters.

    \b
    Example:
      tintype models show stable-diffusion-3.5-turbo-txt2img
    """
    spec = find_model(slug)
    if as_json:
        click.echo(json.dumps(spec.json_schema(), indent=2))
        return
    table = Table("parameter", "default", "allowed", "what it is", title=f"{spec.title} · ${dollars(spec.price):g}")
    for param in spec.parameters:
        table.add_row(param.name, _default(param), param.allowed, param.help)
    Console().print(table)


def _default(param: Param) -> str:
    return "[bold]required[/]" if param.required else repr(param.default)
