"""`tintype models pull`, `wait`, `check` and `remove`: the weights on this machine's disk."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import click

from tintype.catalog.models import SOURCES
from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.weights import WeightsSpec, list_files
from tintype.cli.options import data_option, load_settings
from tintype.cli.output import open_bars
from tintype.errors import BadRequest, PullFailed, WeightsUnusable
from tintype.hub.folder import Manifest, ModelsFolder, format_size
from tintype.hub.plan import pull_plan, pullable_slugs
from tintype.hub.pull import PullProgress, damaged_files, register, removable
from tintype.hub.pull import pull as fetch
from tintype.hub.pull import remove as forget
from tintype.hub.registry import Registry, build_registry
from tintype.hub.remote import Hub
from tintype.private import make_folder

HUB = "https://huggingface.co"
#: Seconds between two polls whether weights are complete.
POLL = 2.0


@click.command()
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="Every model for which the models file names what is to be pulled.")
@click.option("--from", "path", type=click.Path(path_type=Path, exists=True), help="Weights that are on this machine.")
@click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Instead of HF_TOKEN.")
@click.option("--verify", is_flag=True, help="Read the files that are here, and fetch again those that differ.")
@click.option("--update", is_flag=True, help="Take the newest commit, where the models file names a branch.")
@data_option
def pull(
    slug: str | None,
    every: bool,
    path: Path | None,
    token_file: Path | None,
    verify: bool,
    update: bool,
    data: Path | None,
) -> None:
    """Fetch a model's weights from the Hugging Face hub.

    `tintype serve` uses them from its next start. An interrupted pull goes on where it was. HF_ENDPOINT names a mirror.

    \b
    Examples:
      tintype models pull sd1.5-img2img
      HF_TOKEN=hf_… tintype models pull sd3-med-img2img
      TINTYPE_MODELS_FILE=/etc/tintype/models.toml tintype models pull --all
      tintype models pull sd1.5-img2img --from /media/usb/stable-diffusion-v1-5
    """
    settings = load_settings(data=data)
    if settings.models.folder is None:  # closed to other users, as a pull alone would not make it
        make_folder(settings.data)
    registry, models = build_registry(settings), ModelsFolder(settings.pulled_folder)
    if (slug is None) != every or (path and every):
        raise click.UsageError("name a model, or say --all, and then not --from")
    slugs = pullable_slugs(registry.entries) if slug is None else [registry.catalogue.find(slug).slug]
    if not slugs:
        click.echo("nothing to pull: the models file names no repository of the hub (docs/weights.md)")
    for one in slugs:
        with open_bars("checking" if path else "pulling") as bars:
            if path:
                manifest = register(one, path, models, bars)
            else:
                manifest = _fetch(one, registry, models, bars, _token(token_file), update=update, verify=verify)
        click.echo(f"{one}: {_what(manifest)}; tintype serve uses it from its next start")
        if one in settings.models.weights:
            click.echo(f"note: TINTYPE_WEIGHTS names {settings.models.weights[one]} for it, which wins", err=True)


@click.command()
@data_option
def wait(data: Path | None) -> None:
    """Wait until every model's weights are here.

    A worker needs them all. It prints what is missing, whenever that changes.

    \b
    Example:
      TINTYPE_MODELS_FILE=/etc/tintype/models.toml tintype models wait
    """
    settings, printed = load_settings(data=data), ""
    while missing := build_registry(settings).missing:
        words = "; ".join(f"{slug}: {why}" for slug, why in missing.items())
        if words != printed:
            click.echo(f"waiting for weights: {words}", err=True)
        printed = words
        time.sleep(POLL)
    click.echo("every model's weights are here")


@click.command()
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="Every model's.")
@data_option
def check(slug: str | None, every: bool, data: Path | None) -> None:
    """Read a model's weights in full, and say what is wrong.

    That is checksums, JSON, every tensor's name and shape, and whether the parts fit.

    \b
    Examples:
      tintype models check sd3-med-img2img
      tintype models check --all
    """
    settings = load_settings(data=data)
    registry, models = build_registry(settings), ModelsFolder(settings.pulled_folder)
    if (slug is None) != every:
        raise click.UsageError("name a model, or say --all")
    specs = list(registry.catalogue.values()) if slug is None else [registry.catalogue.find(slug)]
    problems = [_check(spec, registry, models) for spec in specs]
    sys.exit(1 if any(problems) else 0)


@click.command()
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Don't ask.")
@data_option
def remove(slug: str, yes: bool, data: Path | None) -> None:
    """Remove a model's pulled weights.

    Those that another model uses stay. The model then has the built-in ones.

    \b
    Example:
      tintype models remove sd3-med-img2img
    """
    settings = load_settings(data=data)
    registry, models = build_registry(settings), ModelsFolder(settings.pulled_folder)
    registry.catalogue.find(slug)
    repositories = _repositories(slug, registry)
    if not models.manifest(slug) and slug in registry.weights:
        raise BadRequest(f"{slug} draws with {registry.weights[slug].path}, which is yours: only what was pulled goes")
    manifest, _ = removable(slug, repositories, models)
    if not yes:
        click.confirm(_question(slug, manifest), abort=True)
    click.echo(f"{slug}: {format_size(forget(slug, repositories, models))} freed")


def _fetch(
    slug: str, registry: Registry, models: ModelsFolder, bars: PullProgress, token: str | None, **how: bool
) -> Manifest:
    _print_licence(slug, registry)
    with closing(Hub(os.environ.get("HF_ENDPOINT") or HUB, token)) as hub:
        return fetch(slug, registry.entries, models, hub, bars, **how)


def _question(slug: str, manifest: Manifest | None) -> str:
    if manifest is None:
        return f"Remove what is left of a pull of {slug}?"
    return (
        f"Remove {_what(manifest)}?"
        if manifest.snapshots[0].is_pulled
        else f"Forget {_what(manifest)}? Its files stay."
    )


def _repositories(slug: str, registry: Registry) -> set[str]:
    with suppress(PullFailed):  # nothing is published for it, so no pull has left anything
        return {spec.repository for spec in pull_plan(slug, registry.entries)}
    return set()


def _print_licence(slug: str, registry: Registry) -> None:
    """Where tintype knows it."""
    repository = pull_plan(slug, registry.entries)[0].repository
    source = next((one for one in SOURCES.values() if one.repository == repository), None)
    if source:
        click.echo(
            f"{repository}, about {format_size(source.size)}; licence: {source.licence} ({HUB}/{repository})", err=True
        )


def _token(file: Path | None) -> str | None:
    """The token for gated repositories: the file's, HF_TOKEN, or that of `hf auth login`."""
    from huggingface_hub import get_token  # noqa: PLC0415 - other commands don't need it

    return file.read_text("utf-8").strip() if file else get_token()


def _what(manifest: Manifest) -> str:
    main = manifest.snapshots[0]
    size = format_size(sum(one.size for one in manifest.snapshots))
    return f"{main.repository} at {main.commit[:8]}, {size}" if main.is_pulled else f"{main.folder}, {size}"


def _check(spec: ModelSpec, registry: Registry, models: ModelsFolder) -> list[str]:
    """Print and return what is wrong with a model's weights."""
    slug = spec.slug
    own, manifest = registry.weights.get(slug), models.manifest(slug)
    notes: list[str] = []
    if slug in registry.missing:
        problems = [registry.missing[slug]]
    elif own is None:
        problems = []
    elif not (problems := _damage(slug, own, manifest, models) or _unreadable(own)):
        problems, notes = _unfit(spec, own)
    fine = "whole" if own else registry.unserved.get(slug, "the built-in weights")
    for line in [*notes, *(problems or [fine])]:
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
    """Files that can't be read, and JSON files that aren't JSON."""
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
    """What would keep the weights from loading, and what is only unused."""
    from tintype.diffusion.check import check as check_fit  # noqa: PLC0415 - imports torch

    found = check_fit(own, spec.family, spec.needs)
    problems, notes = ([str(finding) for finding in found if finding.harmless is one] for one in (False, True))
    return problems, [f"{note}; it isn't used" for note in notes]
