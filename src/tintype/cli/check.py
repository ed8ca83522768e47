"""`tintype models check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.weights import WeightsSpec, list_files
from tintype.cli.bars import open_bars
from tintype.cli.options import data_option, load_settings
from tintype.errors import WeightsUnusable
from tintype.hub.folder import Manifest, ModelsFolder
from tintype.hub.pull import damaged_files
from tintype.hub.registry import Registry, build_registry


@click.command()
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="Every model's.")
@data_option
def check(slug: str | None, every: bool, data: Path | None) -> None:
    """Read a model's weights in full: checksums, JSON, every tensor's name and shape, and whether its parts fit.

    \b
    Examples:
      tintype models check sd3-med-img2img
      tintype models check --all
    """
    settings = load_settings(data=data)
    registry, models = build_registry(settings), ModelsFolder(settings.pulled)
    if (slug is None) != every:
        raise click.UsageError("name a model, or say --all")
    specs = list(registry.catalogue.values()) if slug is None else [registry.catalogue.find(slug)]
    problems = [_check(spec, registry, models) for spec in specs]
    sys.exit(1 if any(problems) else 0)


def _check(spec: ModelSpec, registry: Registry, models: ModelsFolder) -> list[str]:
    """Print how a model's weights are; what is wrong with them."""
    slug = spec.slug
    own, manifest = registry.weights.get(slug), models.manifest(slug)
    notes: list[str] = []
    if slug in registry.missing:
        problems = [registry.missing[slug]]
    elif own is None:
        problems = []
    elif not (problems := _damage(slug, own, manifest, models) or _unreadable(own)):
        problems, notes = _unfit(spec, own)
    for line in [*notes, *(problems or ["whole" if own else "the built-in weights"])]:
        click.echo(f"{slug}: {line}")
    return problems


def _damage(slug: str, own: WeightsSpec, manifest: Manifest | None, models: ModelsFolder) -> list[str]:
    if not manifest or own.path != models.weights_path(manifest):
        return []
    with open_bars("checking") as bars:
        found = damaged_files(manifest, models, bars)
    again = f"run tintype models pull {slug} --verify"
    return [f"{path.relative_to(models.folder_of(one))} is not what was pulled; {again}" for one, path in found]


def _unreadable(own: WeightsSpec) -> list[str]:
    """The JSON files that aren't JSON."""
    problems = []
    try:
        files = list_files(own.path)
    except WeightsUnusable as error:
        return [error.message]
    for file in files:
        try:
            if file.suffix == ".json":
                json.loads(file.read_text("utf-8"))
        except OSError as error:
            problems.append(f"{file.relative_to(own.path)} can't be read: {error.strerror}")
        except (ValueError, RecursionError) as error:
            problems.append(f"{file.relative_to(own.path)} is not JSON: {error}")
    return problems


def _unfit(spec: ModelSpec, own: WeightsSpec) -> tuple[list[str], list[str]]:
    """What would keep the weights from loading and drawing, and what is only left over."""
    from tintype.diffusion.check import check as find  # noqa: PLC0415 - imports torch

    found = find(own, spec.family)
    problems, notes = ([str(finding) for finding in found if finding.harmless is one] for one in (False, True))
    return problems, [f"{note}; it isn't used" for note in notes]
