"""`tintype models pull`, `wait` and `remove`."""

from __future__ import annotations

import os
import time
from contextlib import closing, suppress
from pathlib import Path

import click

from tintype.catalog.sources import SOURCES
from tintype.cli.bars import open_bars
from tintype.cli.options import data_option, load_settings
from tintype.errors import BadRequest, PullFailed
from tintype.hub.folder import Manifest, ModelsFolder, format_size
from tintype.hub.plan import pull_plan, pullable_slugs
from tintype.hub.pull import PullProgress, register
from tintype.hub.pull import pull as fetch
from tintype.hub.pull import remove as forget
from tintype.hub.registry import Registry, build_registry
from tintype.hub.remote import Hub
from tintype.private import make_folder

HUB = "https://huggingface.co"
#: Seconds between looks whether weights have come.
LOOK = 2.0


@click.command()
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="Every model for which the models file names what is to be pulled.")
@click.option("--from", "path", type=click.Path(path_type=Path, exists=True), help="Weights that are here already.")
@click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Instead of HF_TOKEN.")
@click.option("--verify", is_flag=True, help="Read what is here already, and fetch again what differs.")
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
    """Fetch a model's weights from the Hugging Face hub; `tintype serve` uses them from its next start.

    An interrupted pull goes on where it was. HF_ENDPOINT names a mirror.

    \b
    Examples:
      tintype models pull sd1.5-img2img
      HF_TOKEN=hf_… tintype models pull sd3-med-img2img
      TINTYPE_MODELS=/etc/tintype/models.toml tintype models pull --all
      tintype models pull sd1.5-img2img --from /media/usb/stable-diffusion-v1-5
    """
    settings = load_settings(data=data)
    if settings.models_folder is None:  # else the folder of databases and pictures would be made like any other
        make_folder(settings.data)
    registry, models = build_registry(settings), ModelsFolder(settings.pulled)
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
        if one in settings.weights:
            click.echo(f"note: TINTYPE_WEIGHTS names {settings.weights[one]} for it, which wins", err=True)


@click.command()
@data_option
def wait(data: Path | None) -> None:
    """Wait until every model's weights are here, as a worker needs them; say what is missing whenever that changes.

    \b
    Example:
      TINTYPE_MODELS=/etc/tintype/models.toml tintype models wait
    """
    settings, told = load_settings(data=data), ""
    while missing := build_registry(settings).missing:
        words = "; ".join(f"{slug}: {why}" for slug, why in missing.items())
        if words != told:
            click.echo(f"waiting for weights: {words}", err=True)
        told = words
        time.sleep(LOOK)
    click.echo("every model's weights are here")


@click.command()
@click.argument("slug")
@click.option("--yes", is_flag=True, help="Don't ask.")
@data_option
def remove(slug: str, yes: bool, data: Path | None) -> None:
    """Remove a model's pulled weights, as far as no other model uses them; it has the built-in ones then.

    \b
    Example:
      tintype models remove sd3-med-img2img
    """
    settings = load_settings(data=data)
    registry, models = build_registry(settings), ModelsFolder(settings.pulled)
    registry.catalogue.find(slug)
    manifest = models.manifest(slug)
    repositories = _repositories(slug, registry)
    if not manifest and slug in registry.weights:
        raise BadRequest(f"{slug} draws with {registry.weights[slug].path}, which is yours: only what was pulled goes")
    if not yes:
        click.confirm(_question(slug, manifest), abort=True)
    click.echo(f"{slug}: {format_size(forget(slug, repositories, models))} freed")


def _fetch(
    slug: str, registry: Registry, models: ModelsFolder, bars: PullProgress, token: str | None, **how: bool
) -> Manifest:
    _tell_licence(slug, registry)
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
    with suppress(PullFailed):  # nothing is published for it, so nothing was left by a pull
        return {spec.repository for spec in pull_plan(slug, registry.entries)}
    return set()


def _tell_licence(slug: str, registry: Registry) -> None:
    """Say what the weights' owner asks for, where tintype knows."""
    asked = pull_plan(slug, registry.entries)[0].repository
    source = next((one for one in SOURCES.values() if one.repository == asked), None)
    if source:
        click.echo(f"{asked}, about {format_size(source.size)}; licence: {source.licence} ({HUB}/{asked})", err=True)


def _token(file: Path | None) -> str | None:
    """The token for gated repositories: of the file, HF_TOKEN, or `hf auth login`."""
    from huggingface_hub import get_token  # noqa: PLC0415 - other commands don't need it

    return file.read_text("utf-8").strip() if file else get_token()


def _what(manifest: Manifest) -> str:
    main = manifest.snapshots[0]
    size = format_size(sum(one.size for one in manifest.snapshots))
    return f"{main.repository} at {main.commit[:8]}, {size}" if main.is_pulled else f"{main.folder}, {size}"
