"""`tintype generate SLUG`: images in this process, without a server; each model's flags come from the catalogue."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tintype.catalog.advice import refuse, warnings, wording
from tintype.catalog.parameters import read_loras
from tintype.catalog.samples import sample_path
from tintype.catalog.spec import Catalogue, ModelSpec, Param
from tintype.cli.local import check_device, check_files, load_model, progress_bar
from tintype.cli.options import data_option, load_settings
from tintype.core import Format, GenerationParams
from tintype.errors import BadPicture, InvalidParameter
from tintype.hub.registry import Registry, build_registry
from tintype.media.inline import from_text
from tintype.settings import Settings

FORMATS: dict[str, Format] = {".jpg": "jpeg", ".jpeg": "jpeg", ".png": "png", ".webp": "webp"}
#: Maximum of choices that the usage line lists.
MAX_CHOICES = 3
#: Characters: the smallest images have more, and a file's name that could be base64 rarely has as many.
MIN_BASE64 = 48
#: Key of the arguments after the slug in a context's `meta`.
ARGUMENTS = "tintype.arguments"
OPTIONS: list[click.Parameter] = [
    click.Option(["-o", "--output"], default="out.png", show_default=True, help="File to write; its suffix decides."),
    click.Option(
        ["--weights"], type=click.Path(path_type=Path), help="Folder in the diffusers layout, or a single file."
    ),
    click.Option(["--dtype"], type=click.Choice(["auto", "float32", "bfloat16"]), help="Number format of the model."),
    click.Option(["--device"], default="auto", show_default=True, help="cpu, cuda:0, …"),
]


def model_command(spec: ModelSpec) -> click.Command:
    """The sub-command of one model, with a flag per parameter of its catalogue entry."""

    def run(**given: Any) -> None:
        own = {name: given.pop(name) for name in ("output", "weights", "dtype", "device", "data")}
        _generate(spec, given, **own)

    image = f" --image {sample_path(str(spec.example['image']))}" if spec.takes_image else ""
    example = f"\b\nExample:\n  tintype generate {spec.slug} --prompt 'a fox'{image} --seed 7 -o fox.png"
    command = click.Command(spec.slug, callback=run, help=f"{spec.description}\n\n{example}", short_help=spec.title)
    command.params = [_flag(param) for param in spec.parameters] + OPTIONS
    return data_option(command)


def _generate(
    spec: ModelSpec,
    given: dict[str, Any],
    output: str,
    weights: Path | None,
    dtype: str | None,
    device: str,
    data: Path | None,
) -> None:
    """Validate as the server does, generate with a progress bar, write the images."""
    check_files(Path(output), weights)
    check_device(device)
    settings = load_settings(data=data, dtype=dtype)
    registry = build_registry(settings).with_weights(spec.slug, weights)
    if given.get("image"):
        given["image"] = _input_image(given["image"], settings.inputs.max_bytes)
    params = _parse(spec, given, Path(output))
    with progress_bar() as progress:
        images = _run(spec, params, settings, registry, device, progress)
    for index, image in enumerate(images):
        path = Path(output) if len(images) == 1 else Path(output).with_stem(f"{Path(output).stem}-{index + 1}")
        path.write_bytes(b64encode(image.data) if params.base64 else image.data)
        click.echo(f"{path}  {image.width}×{image.height}  seed {image.seed}")


def _input_image(text: str, max_bytes: int) -> str:
    """What a caller would send: a local file as base64, else the text itself; raises BadPicture for neither."""
    if _is_file(text):
        return b64encode(Path(text).read_bytes()).decode()
    if sample_path(text) or text.lower().startswith(("http://", "https://", "data:")):
        return text
    with suppress(BadPicture):
        if len(text) >= MIN_BASE64 and from_text(text, max_bytes):
            return text
    raise BadPicture(f"no such file: {text[:80]}")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):  # too long for a name, as base64 is, or with a NUL in it
        return False


def _parse(spec: ModelSpec, given: dict[str, Any], output: Path) -> GenerationParams:
    if output.suffix.lower() not in FORMATS:
        raise InvalidParameter("--output", output.name, f"a name that ends in {', '.join(FORMATS)}")
    params = spec.parse(given).with_seed(secrets.randbelow).params
    refuse(params)
    for words in warnings(params) + wording(spec, params):
        click.echo(f"note: {words}", err=True)
    return replace(params, format=FORMATS[output.suffix.lower()])


def _run(
    spec: ModelSpec,
    params: GenerationParams,
    settings: Settings,
    registry: Registry,
    device: str,
    progress: Callable[[int, int], None],
) -> list[Any]:
    from tintype.worker.inputs import Inputs  # noqa: PLC0415 - imports torch
    from tintype.worker.main import generate as make  # noqa: PLC0415
    from tintype.worker.plan import unread_text  # noqa: PLC0415

    # The input image first: it may be unreadable, and loading weights takes long.
    with Inputs.from_settings(settings) as inputs:
        image = inputs.read(params)
    loaded = load_model(settings, registry, spec, device, read_loras(params.loras))
    for words in unread_text(loaded.family, params):
        click.echo(f"note: {words}", err=True)
    return make(loaded, spec.slug, params, image, settings.worker.max_rows, progress)


def _flag(param: Param) -> click.Option:
    name = "--" + param.name.replace("_", "-")
    if param.kind == "boolean":
        return click.Option([name, param.name], is_flag=True, default=None, help=param.help)
    required = param.required and param.default is None
    shown = param.help if required else f"{param.help} [default: {param.default!r}]"
    default = param.default if param.required else None
    metavar = "|".join(map(str, param.choices)) if 0 < len(param.choices) <= MAX_CHOICES else param.kind.upper()
    return click.Option([name, param.name], default=default, required=required, metavar=metavar, help=shown)


class ModelGroup(click.Group):
    """A sub-command per model of the catalogue; settings and catalogue are read when the first is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The slugs, in the catalogue's order."""
        return list(_catalogue(ctx))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a slug, or None."""
        spec = _catalogue(ctx).get(cmd_name)
        return model_command(spec) if spec else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Keep the arguments after the slug: a `--data` among them decides on the catalogue."""
        ctx.meta[ARGUMENTS] = args[1:]
        return super().resolve_command(ctx, args)


def _catalogue(ctx: click.Context) -> Catalogue:
    lenient = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}
    command = data_option(click.Command("", context_settings=lenient))
    given = command.make_context("", list(ctx.meta.get(ARGUMENTS, [])), parent=ctx, resilient_parsing=True).params
    return build_registry(load_settings(data=given["data"])).catalogue


@click.group(cls=ModelGroup)
def generate() -> None:
    """Generate images in this process, without a server.

    \b
    Examples:
      tintype generate stable-diffusion-3.5-turbo-txt2img --prompt "a fox" --seed 7 -o fox.png
      tintype generate sd1.5-img2img --prompt "a castle" --image /sd-img2img-input.jpeg -o castle.png
      tintype generate sd3-med-img2img --help
    """
