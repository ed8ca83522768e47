"""`tintype models check`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.weights import Weights, files_in
from tintype.cli.bars import open_bars
from tintype.cli.options import data_option, load_settings
from tintype.errors import WeightsUnusable
from tintype.hub.folder import Manifest, Pulled
from tintype.hub.pull import damaged
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
    registry, pulled = build_registry(settings), Pulled(settings.pulled)
    if (slug is None) != every:
        raise click.UsageError("name a model, or say --all")
    specs = list(registry.catalogue.values()) if slug is None else [registry.catalogue.find(slug)]
    problems = [_check(spec, registry, pulled) for spec in specs]
    sys.exit(1 if any(problems) else 0)


def _check(spec: ModelSpec, registry: Registry, pulled: Pulled) -> list[str]:
    """Print how a model's weights are; what is wrong with them."""
    slug = spec.slug
    own, manifest = registry.weights.get(slug), pulled.of(slug)
    notes: list[str] = []
    if slug in registry.missing:
        problems = [registry.missing[slug]]
    elif own is None:
        problems = []
    elif not (problems := _damage(slug, own, manifest, pulled) or _unreadable(own)):
        problems, notes = _unfit(spec, own)
    for line in [*notes, *(problems or ["whole" if own else "the built-in weights"])]:
        click.echo(f"{slug}: {line}")
    return problems


def _damage(slug: str, own: Weights, manifest: Manifest | None, pulled: Pulled) -> list[str]:
    if not manifest or own.path != pulled.weights(manifest):
        return []
    with open_bars("checking") as bars:
        found = damaged(manifest, pulled, bars)
    again = f"run tintype models pull {slug} --verify"
    return [f"{path.relative_to(pulled.place(part))} is not what was pulled; {again}" for part, path in found]


def _unreadable(own: Weights) -> list[str]:
    """The JSON files that aren't JSON."""
    problems = []
    try:
        files = files_in(own.path)
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


def _unfit(spec: ModelSpec, own: Weights) -> tuple[list[str], list[str]]:
    """What would keep the weights from loading and drawing, and what is only left over."""
    from tintype.diffusion.check import check as find  # noqa: PLC0415 - imports torch

    found = find(own, spec.family)
    problems, notes = ([str(finding) for finding in found if finding.harmless is one] for one in (False, True))
    return problems, [f"{note}; it isn't used" for note in notes]
