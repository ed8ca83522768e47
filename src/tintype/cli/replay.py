"""`tintype replay IMAGE`: make an image again from the recipe in its file, and compare."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from PIL import Image, ImageChops

from tintype.catalog.recipe import read_recipe
from tintype.cli.local import check_device, check_files, load_model, open_marker, progress_bar, write_output
from tintype.cli.options import data_option, load_settings, verbose_option
from tintype.core import Recipe, Role
from tintype.diffusion.libraries import uncollected
from tintype.errors import BadPicture
from tintype.hub.registry import Registry, build_registry
from tintype.media.decoder import Decoded, reduced
from tintype.media.images import decode, read_note
from tintype.media.provenance.marker import NO_MARKS
from tintype.media.provenance.source import carrier
from tintype.media.samples import draw
from tintype.settings import Settings
from tintype.telemetry.logs import command_logs

if TYPE_CHECKING:
    from tintype.worker.models import LoadedModel


#: What an input image is called, what another one, and the option that names it.
WORDS: Mapping[Role, tuple[str, str, str]] = {
    "init": ("an input image", "another input image", "--image"),
    "mask": ("a mask", "another mask", "--mask"),
}


@click.command()
@click.argument("file", metavar="IMAGE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--image", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its input image.")
@click.option("--mask", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its mask.")
@click.option("--weights", type=click.Path(path_type=Path), help="Folder in the diffusers layout, or a single file.")
@click.option("--device", default="auto", show_default=True, help="cpu, cuda:0, …")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write the new image to.")
@verbose_option
@data_option
def replay(
    file: Path,
    image: Path | None,
    mask: Path | None,
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
    with command_logs("replay", verbose), ExitStack() as marking, progress_bar() as progress:
        with uncollected():
            from tintype.worker.main import generate  # noqa: PLC0415 - imports torch

        recipe = read_recipe(read_note(original))
        settings = load_settings(data=data, dtype=recipe.dtype, t5_tokens=recipe.t5_tokens)
        # What is only compared needs no signature, and no database.
        marker = marking.enter_context(open_marker(settings)) if output else NO_MARKS
        registry = build_registry(settings).with_weights(recipe.model, weights)
        loaded = _weights(recipe, settings, registry, device)
        inputs = _inputs(recipe, {"init": image, "mask": mask}, settings)
        try:
            rows = settings.worker.max_rows
            # With the watermark that it has, or without one, whatever this server would do.
            [made] = generate(loaded, recipe.model, recipe.params, inputs, rows, progress, marker, recipe.mark)
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
    loaded = load_model(settings, registry, spec, device, recipe.params)
    if loaded.fingerprint != recipe.weights:
        raise BadPicture(f"it was made with other weights ({recipe.weights}) than these ({loaded.fingerprint})")
    return loaded


def _inputs(recipe: Recipe, files: Mapping[Role, Path | None], settings: Settings) -> dict[Role, Decoded]:
    """The input images, the init image first; raises BadPicture unless they are those of the recipe."""
    found: dict[Role, Decoded] = {}
    for role, digest in recipe.digests.items():
        words, others, option = WORDS[role]
        file, sample = files[role], recipe.params.input(role)
        if file:
            data = file.read_bytes()
        elif sample:
            data = draw(sample.source)
        else:
            raise BadPicture(f"it was made from {words}, which must be given with {option}")
        over = found["init"].size if role == "mask" else None
        one = reduced(data, settings.inputs.max_pixels, recipe.params.width, recipe.params.height, over)
        if one.digest != digest:
            raise BadPicture(f"it was made from {others} than this")
        found[role] = one._replace(carrier=carrier(data)) if role == "init" else one
    return found
