"""`tintype replay IMAGE`: make an image again from the recipe in its file, and compare."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from PIL import Image, ImageChops

from tintype.catalog.parameters import read_loras
from tintype.cli.local import check_device, check_files, load_model, progress_bar, write_output
from tintype.cli.options import data_option, load_settings, verbose_option
from tintype.core import Recipe
from tintype.errors import BadPicture
from tintype.hub.registry import Registry, build_registry
from tintype.media.decoder import Decoded, reduced
from tintype.media.images import decode, read_note
from tintype.media.samples import draw
from tintype.settings import Settings
from tintype.telemetry.logs import command_logs

if TYPE_CHECKING:
    from tintype.worker.models import LoadedModel


@click.command()
@click.argument("file", metavar="IMAGE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--image", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its input image.")
@click.option("--weights", type=click.Path(path_type=Path), help="Folder in the diffusers layout, or a single file.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda:0, …")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write the new image to.")
@verbose_option
@data_option
def replay(
    file: Path,
    image: Path | None,
    weights: Path | None,
    device: str,
    output: Path | None,
    verbose: bool,
    data: Path | None,
) -> None:
    """Make an image again, and compare.

    The exit code is 0 where it is identical, and 1 where it isn't.

    \b
    Examples:
      tintype replay fox.png
      tintype replay castle.jpeg --image photo.jpg --weights /models/sd15
    """
    check_files(output, weights)
    check_device(device)
    original = file.read_bytes()
    with command_logs("replay", verbose), progress_bar() as progress:
        from tintype.worker.main import generate  # noqa: PLC0415 - imports torch
        from tintype.worker.plan import read_recipe  # noqa: PLC0415

        recipe = read_recipe(read_note(original))
        settings = load_settings(data=data, dtype=recipe.dtype, t5_tokens=recipe.t5_tokens)
        registry = build_registry(settings).with_weights(recipe.model, weights)
        loaded = _weights(recipe, settings, registry, device)
        source = _source(recipe, image, settings)
        try:
            [made] = generate(loaded, recipe.model, recipe.params, source, settings.worker.max_rows, progress)
        except KeyError as missing:
            raise BadPicture(f"it was made with {missing}, which is not installed here") from missing
    if output:
        write_output(output, made.data)
    verdict = compare(decode(original, settings.inputs.max_pixels), decode(made.data, settings.inputs.max_pixels))
    hint = "; only images asked for with exact: true need come out the same" if not recipe.params.exact else ""
    click.echo(verdict + hint if verdict else "identical")
    sys.exit(1 if verdict else 0)


def compare(one: Image.Image, other: Image.Image) -> str:
    """How two images differ, in words; empty if every pixel is the same."""
    if one.size != other.size:
        return f"different: {one.width}×{one.height} and {other.width}×{other.height}"
    difference = ImageChops.difference(one, other)
    if difference.getbbox() is None:
        return ""
    largest = max(highest for _, highest in difference.getextrema())  # type: ignore[misc]
    return f"different: by at most {largest} of 255"


def _weights(recipe: Recipe, settings: Settings, registry: Registry, device: str) -> LoadedModel:
    spec = registry.catalogue.find(recipe.model)
    loaded = load_model(settings, registry, spec, device, read_loras(recipe.params.loras))
    if loaded.fingerprint != recipe.weights:
        raise BadPicture(f"it was made with other weights ({recipe.weights}) than these ({loaded.fingerprint})")
    return loaded


def _source(recipe: Recipe, image: Path | None, settings: Settings) -> Decoded | None:
    """The input image; raises BadPicture unless it is the one of the recipe."""
    if not recipe.source:
        return None
    if image is None and not recipe.params.source:
        raise BadPicture("it was made from an input image, which must be given with --image")
    data = draw(recipe.params.source) if image is None else image.read_bytes()
    source = reduced(data, settings.inputs.max_pixels, recipe.params.width, recipe.params.height)
    if source.digest != recipe.source:
        raise BadPicture("it was made from another input image than this")
    return source
