"""`tintype models pull`, `check` and `remove`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from tintype.catalog.sources import SOURCES
from tintype.catalog.spec import ModelSpec
from tintype.checkpoints.weights import Weights, files_in
from tintype.cli.options import data_option, load_settings
from tintype.errors import BadRequest, PullFailed
from tintype.hub.files import in_words
from tintype.hub.manifest import Manifest, Pulled
from tintype.hub.plan import wanted
from tintype.hub.pull import Bars, damaged, register
from tintype.hub.pull import pull as fetch
from tintype.hub.registry import Registry, build_registry
from tintype.hub.remote import Hub
from tintype.hub.remove import remove as forget

HUB = "https://huggingface.co"


@click.command()
@click.argument("slug")
@click.option("--from", "path", type=click.Path(path_type=Path, exists=True), help="Weights that are here already.")
@click.option("--token-file", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Instead of HF_TOKEN.")
@click.option("--verify", is_flag=True, help="Read what is here already, and fetch again what differs.")
@click.option("--update", is_flag=True, help="Take the newest commit, where the models file names a branch.")
@data_option
def pull(slug: str, path: Path | None, token_file: Path | None, verify: bool, update: bool, data: Path | None) -> None:
    """Fetch a model's weights from the Hugging Face hub; `tintype serve` uses them from its next start.

    An interrupted pull goes on where it was. HF_ENDPOINT names a mirror.

    \b
    Examples:
      tintype models pull sd1.5-img2img
      HF_TOKEN=hf_… tintype models pull sd3-med-img2img
      tintype models pull sd1.5-img2img --from /media/usb/stable-diffusion-v1-5
    """
    settings = load_settings(data=data)
    registry, pulled = build_registry(settings), Pulled(settings.pulled)
    spec = registry.catalogue.find(slug)
    with _bars("checking" if path else "pulling") as bars:
        if path:
            manifest = register(slug, path, pulled, bars)
        else:
            _tell_licence(slug, registry)
            with closing(Hub(os.environ.get("HF_ENDPOINT") or HUB, _token(token_file))) as hub:
                manifest = fetch(slug, registry.entries, pulled, hub, bars, update=update, verify=verify)
    click.echo(f"{slug}: {_what(manifest)}; tintype serve uses it from its next start")
    if spec.slug in settings.weights:
        click.echo(f"note: TINTYPE_WEIGHTS names {settings.weights[slug]} for it, which wins", err=True)


@click.command()
@click.argument("slug", required=False)
@click.option("--all", "every", is_flag=True, help="Every model's.")
@data_option
def check(slug: str | None, every: bool, data: Path | None) -> None:
    """Read a model's weights in full: checksums, JSON, and every tensor's name and shape.

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
    registry, pulled = build_registry(settings), Pulled(settings.pulled)
    registry.catalogue.find(slug)
    manifest = pulled.of(slug)
    repositories = _repositories(slug, registry)
    if not manifest and slug in registry.weights:
        raise BadRequest(f"{slug} draws with {registry.weights[slug].path}, which is yours: only what was pulled goes")
    if not yes:
        click.confirm(_question(slug, manifest), abort=True)
    click.echo(f"{slug}: {in_words(forget(slug, repositories, pulled))} freed")


def _question(slug: str, manifest: Manifest | None) -> str:
    if manifest is None:
        return f"Remove what is left of a pull of {slug}?"
    return f"Remove {_what(manifest)}?" if manifest.parts[0].ours else f"Forget {_what(manifest)}? Its files stay."


def _repositories(slug: str, registry: Registry) -> set[str]:
    with suppress(PullFailed):  # nothing is published for it, so nothing was left by a pull
        return {want.repository for want in wanted(slug, registry.entries)}
    return set()


def _check(spec: ModelSpec, registry: Registry, pulled: Pulled) -> list[str]:
    """Print how a model's weights are; what is wrong with them."""
    slug = spec.slug
    own, manifest = registry.weights.get(slug), pulled.of(slug)
    if slug in registry.missing:
        problems = [registry.missing[slug]]
    elif own is None:
        problems = []
    else:
        problems = _damage(slug, own, manifest, pulled) or _unreadable(own) or _unfit(spec, own)
    for problem in problems or ["whole" if own else "the built-in weights"]:
        click.echo(f"{slug}: {problem}")
    return problems


def _damage(slug: str, own: Weights, manifest: Manifest | None, pulled: Pulled) -> list[str]:
    if not manifest or own.path != pulled.weights(manifest):
        return []
    with _bars("checking") as bars:
        found = damaged(manifest, pulled, bars)
    again = f"run tintype models pull {slug} --verify"
    return [f"{path.relative_to(pulled.place(part))} is not what was pulled; {again}" for part, path in found]


def _unreadable(own: Weights) -> list[str]:
    """The JSON files that aren't JSON."""
    problems = []
    for file in files_in(own.path):
        try:
            if file.suffix == ".json":
                json.loads(file.read_text("utf-8"))
        except ValueError as error:
            problems.append(f"{file.relative_to(own.path)} is not JSON: {error}")
    return problems


def _unfit(spec: ModelSpec, own: Weights) -> list[str]:
    """The tensors that are missing, unexpected or misshapen, and whatever else would keep the weights from loading."""
    from tintype.diffusion.check import check as find  # noqa: PLC0415 - imports torch

    return [str(finding) for finding in find(own, spec.family)]


def _tell_licence(slug: str, registry: Registry) -> None:
    """Say what the weights' owner asks for, where tintype knows."""
    asked = wanted(slug, registry.entries)[0].repository
    source = next((one for one in SOURCES.values() if one.repository == asked), None)
    if source:
        click.echo(f"{asked}, about {in_words(source.size)}; licence: {source.licence} ({HUB}/{asked})", err=True)


def _token(file: Path | None) -> str | None:
    """The token for gated repositories: of the file, HF_TOKEN, or `hf auth login`."""
    from huggingface_hub import get_token  # noqa: PLC0415 - other commands don't need it

    return file.read_text("utf-8").strip() if file else get_token()


def _what(manifest: Manifest) -> str:
    main = manifest.parts[0]
    size = in_words(sum(part.size for part in manifest.parts))
    return f"{main.repository} at {main.commit[:8]}, {size}" if main.ours else f"{main.folder}, {size}"


@contextmanager
def _bars(doing: str) -> Iterator[Bars]:
    """A progress bar over all bytes, with the name of the file that is at hand."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        bar = progress.add_task(doing, total=None)
        yield Bars(
            start=lambda total, there: progress.update(bar, total=total, completed=there),
            file=lambda path: progress.update(bar, description=f"{doing} {path}"),
            advance=lambda count: progress.advance(bar, count),
        )
