"""`tintype models list` and `show`: the models, their weights, what these take of disk and memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from tintype.catalog.builtin import BUILTIN, in_words
from tintype.catalog.spec import ModelSpec, Param
from tintype.checkpoints.component import Component
from tintype.checkpoints.weights import builtin_weights, list_files
from tintype.cli.options import data_option, json_option, load_settings, wide_option
from tintype.cli.output import print_rows
from tintype.cli.weights import check, pull, remove, wait
from tintype.errors import WeightsUnusable
from tintype.families import FAMILIES
from tintype.fleet.devices import may_have_gpu
from tintype.hub.folder import Manifest, ModelsFolder, format_size
from tintype.hub.registry import NEEDS_WEIGHTS, Registry, build_registry
from tintype.settings import Settings
from tintype.store.billing.ledger import dollars, tariff


@click.group()
def models() -> None:
    """The models, and their weights.

    \b
    Examples:
      tintype models list
      tintype models show sd3-med-img2img
      tintype models pull sd3-med-img2img
    """


for command in (pull, wait, check, remove):
    models.add_command(command)


@models.command("list")
@data_option
@json_option
@wide_option
def list_models(data: Path | None, as_json: bool, wide: bool) -> None:
    """List the models: price, weights, disk space, memory.

    \b
    Example:
      tintype models list --json
    """
    settings = load_settings(data=data)
    registry, folder = build_registry(settings), ModelsFolder(settings.pulled_folder)
    specs = registry.catalogue.values()
    rows = [_row(spec, registry, folder) | {"memory": _memory_bytes([spec], registry, settings)} for spec in specs]
    if as_json:
        click.echo(json.dumps([row | registry.about(row["slug"]) for row in rows], indent=2))
        return
    print_rows([*map(_line, rows)], wide=wide)  # titles and parameters are for `show`
    for slug, why in (*registry.missing.items(), *registry.unserved.items()):
        click.echo(f"{slug}: {why}")
    if total := _memory_bytes(specs, registry, settings):
        click.echo(f"All in one memory: {format_size(total)}; what models share is there once.")


@models.command()
@click.argument("slug")
@data_option
@json_option
def show(slug: str, data: Path | None, as_json: bool) -> None:
    """Show a model's parameters, and what it can draw.

    The latter is known of the built-in weights.

    \b
    Example:
      tintype models show stable-diffusion-3.5-turbo-txt2img
    """
    registry = build_registry(load_settings(data=data))
    spec = registry.catalogue.find(slug)
    own = registry.about(slug)
    if as_json:
        click.echo(json.dumps(spec.json_schema() | own, indent=2))
        return
    price = tariff(spec, registry.prices.get(slug))
    title = f"{spec.title} · ${dollars(price.price):g} a {price.per}"
    console = Console()
    _print_parameters(spec.parameters, title, console)
    if slug in registry.unserved:
        click.echo(f"\n{registry.unserved[slug]}")
    elif own:
        things = ", ".join(f"{thing['emoji']} {thing['name']}" for thing in own["vocabulary"])
        click.echo(f"\n{in_words(spec)}:\n")
        console.print(Text(things))  # wraps by cells: an emoji takes two


def _print_parameters(parameters: Iterable[Param], title: str, console: Console) -> None:
    """A table whose texts wrap; in a pipe a line each."""
    rows = [
        {"parameter": one.name, "default": _default(one), "allowed": one.allowed, "what it is": one.help}
        for one in parameters
    ]
    console.print(Text(title))
    if not console.is_terminal:
        print_rows(rows)
        return
    name, *texts = rows[0]
    table = Table(Column(name, no_wrap=True), *(Column(text, overflow="fold") for text in texts), box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row.values()))
    console.print(table)


def _line(row: dict[str, Any]) -> dict[str, str]:
    """A row of the list as a table has it."""
    price = f"{row['price']:g}" + ("/s" if row["price_per"] == "second" else "")
    sizes = {name: format_size(row[key]) if row[key] else "" for name, key in (("disk", "bytes"), ("memory", "memory"))}
    return {"slug": row["slug"], "dollars": price, "weights": row["weights"], **sizes, "from": row["from"]}


def _row(spec: ModelSpec, registry: Registry, folder: ModelsFolder) -> dict[str, Any]:
    price = tariff(spec, registry.prices.get(spec.slug))
    row = {"slug": spec.slug, "title": spec.title, "price": dollars(price.price), "price_per": price.per}
    state = registry.missing.get(spec.slug) or registry.unserved.get(spec.slug, "ready")
    return row | _weights(spec.slug, registry, folder) | {"state": state}


def _weights(slug: str, registry: Registry, folder: ModelsFolder) -> dict[str, Any]:
    """Which weights a model has, where they are from, and their bytes on disk."""
    own, manifest = registry.weights.get(slug), folder.manifest(slug)
    if slug in registry.missing:
        return {"weights": "missing", "from": "", "bytes": 0}
    if own is None:
        return {"weights": NEEDS_WEIGHTS if slug in registry.unserved else BUILTIN, "from": "", "bytes": 0}
    spec = registry.catalogue[slug]
    base = spec.like or spec.weights_of
    if not manifest and base in registry.weights and own.path == registry.weights[base].path:
        return _weights(base, registry, folder) | {"weights": "shared", "from": base}
    if manifest and own.path == folder.weights_path(manifest):
        size = sum(snapshot.size for snapshot in manifest.snapshots)
        return {"weights": "pulled", "from": _source(manifest), "bytes": size}
    whole = _disk_bytes(own.path) + (_disk_bytes(own.refiner.path) if own.refiner else 0)
    return {"weights": "configured", "from": str(own.path), "bytes": whole}


def _source(manifest: Manifest) -> str:
    main = manifest.snapshots[0]
    return f"{main.repository}@{main.commit[:8]}" if main.is_pulled else main.folder


def _disk_bytes(path: Path) -> int:
    try:
        return sum(file.stat().st_size for file in list_files(path))
    except WeightsUnusable:
        return 0  # `models check` says why


def _memory_bytes(specs: Iterable[ModelSpec], registry: Registry, settings: Settings) -> int | None:
    """Bytes of the weights of models that are loaded together, by their files' headers; None if unknown.

    Shared components count once. Where the dtype is measured at the start, the larger one counts.
    """
    try:
        counts = {one.identity: one.parameter_count for spec in specs for one in _components(spec, registry)}
    except WeightsUnusable:
        return None  # `models check` says why
    return sum(counts.values()) * _itemsize(settings)


def _components(spec: ModelSpec, registry: Registry) -> Iterator[Component]:
    from tintype.checkpoints.checkpoint import Checkpoint  # noqa: PLC0415 - imports torch, which `serve` must not

    if spec.slug in registry.missing or spec.slug in registry.unserved:
        return
    own = registry.weights.get(spec.slug) or builtin_weights(spec.family, few_steps=spec.few_steps)
    refiner = FAMILIES[spec.family].refiner
    parts = [(own, spec.family), *([(own.refiner, refiner)] if own.refiner and refiner else [])]
    for checkpoint in (Checkpoint(weights, family) for weights, family in parts):
        for one in checkpoint.family.components:
            if component := checkpoint.component(one):
                yield component


def _itemsize(settings: Settings) -> int:
    """Bytes of a number: a GPU that computes in bfloat16 uses it by default, and a CPU may."""
    return 2 if settings.worker.dtype == "bfloat16" or (settings.worker.dtype == "auto" and may_have_gpu()) else 4


def _default(param: Param) -> str:
    return "required" if param.required else repr(param.default)
