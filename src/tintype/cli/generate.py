"""`tintype generate SLUG`: images in this process, without a server; each model's flags come from the catalogue."""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from tintype.catalog.advice import refuse, warnings, wording
from tintype.catalog.formats import offered
from tintype.catalog.samples import sample_path
from tintype.catalog.spec import WORDS, Catalogue, Kind, ModelSpec, Param, Value
from tintype.cli.local import check_device, check_files, load_model, open_marker, progress_bar, write_output
from tintype.cli.options import data_option, load_settings, verbose_option
from tintype.core import GenerationParams
from tintype.diffusion.libraries import uncollected
from tintype.errors import BadPicture, BadRequest, InvalidParameter, MissingParameter
from tintype.hub.registry import Registry, build_registry
from tintype.media.inline import from_text
from tintype.media.provenance.marker import Marker
from tintype.settings import Settings
from tintype.telemetry.logs import command_logs

SUFFIXES = {suffix: row.name for row in offered() for suffix in row.suffixes}
#: Where neither a name nor a format is given.
OUTPUT = "out.png"
#: Maximum of choices that are listed in place of a value; more are listed after the text.
MAX_CHOICES = 3
#: An option's metavar, by its parameter's kind.
METAVARS: dict[Kind, str] = {"string": "TEXT", "picture": "FILE|URL", "integer": "INTEGER", "number": "NUMBER"}
#: Help in a command's terms, by the parameter's field, where the catalogue has a call's.
HELP = {
    "image": "The input image: a file, an http(s) URL, a data: URI, base64, or a sample's path such as"
    " /sd-img2img-input.jpeg.",
    "mask": "Which part of the input image to repaint: a file, or what else --image takes, in which that is white and"
    " the rest black, or transparent.",
    "format": "The file's format; by default that of the ending of --output, and never another one.",
}
#: Characters: the smallest images have more, and a file's name that could be base64 rarely has as many.
MIN_BASE64 = 48
#: Key of the arguments after the slug in a context's `meta`.
ARGUMENTS = "tintype.arguments"
OPTIONS: list[click.Parameter] = [
    click.Option(
        ["-o", "--output"],
        metavar="FILE",
        help=f"File to write; its ending decides on the format: {', '.join(SUFFIXES)}.  [default: {OUTPUT}]",
    ),
    click.Option(
        ["--weights"], type=click.Path(path_type=Path), help="Folder in the diffusers layout, or a single file."
    ),
    click.Option(
        ["--dtype"],
        type=click.Choice(["auto", "float32", "bfloat16"]),
        help="Number format of the model.  [default: TINTYPE_DTYPE, or auto]",
    ),
    click.Option(["--device"], default="auto", show_default=True, help="cpu, cuda:0, …"),
]


def model_command(spec: ModelSpec) -> click.Command:
    """The sub-command of one model, with a flag per parameter of its catalogue entry."""

    def run(**given: Any) -> None:
        own = {name: given.pop(name) for name in ("output", "weights", "dtype", "device", "verbose", "data")}
        _generate(spec, given, **own)

    images = [f"--{name} {sample_path(str(spec.example[name]))}" for name in spec.images.values()]
    lines = [
        f"tintype generate {spec.slug}",
        *([" ".join(images)] if images else []),
        "--prompt 'a fox' --seed 7 -o fox.png",
    ]
    example = "\b\nExample:\n  " + " \\\n    ".join(lines)
    command = click.Command(spec.slug, callback=run, help=f"{spec.description}\n\n{example}", short_help=spec.title)
    command.params = [_flag(param) for param in spec.parameters] + OPTIONS
    return data_option(verbose_option(command))


def _generate(
    spec: ModelSpec,
    given: dict[str, Any],
    output: str | None,
    weights: Path | None,
    dtype: str | None,
    device: str,
    verbose: bool,
    data: Path | None,
) -> None:
    """Validate as the server does, generate with a progress bar, write the images."""
    path = _output(spec, given, output)
    check_files(path, weights)
    check_device(device)
    settings = load_settings(data=data, dtype=dtype)
    registry = build_registry(settings).with_weights(spec.slug, weights)
    for name in spec.images.values():
        if given.get(name):
            given[name] = _input_image(given[name], settings.inputs.max_bytes)
    params = _parse(spec, given, path)
    with command_logs("generate", verbose), open_marker(settings) as marker, progress_bar() as progress:
        images = _run(spec, params, settings, registry, device, progress, marker)
    for index, image in enumerate(images):
        own = path if len(images) == 1 else path.with_stem(f"{path.stem}-{index + 1}")
        write_output(own, image.data)
        click.echo(f"{own}  {image.width}×{image.height}  seed {image.seed}")


def _output(spec: ModelSpec, given: Mapping[str, Any], output: str | None) -> Path:
    """The file to write; raises InvalidParameter where its ending is none of ours, or isn't that of a given format."""
    if given.get("base64"):
        raise BadRequest(
            "--base64 is for calls, whose answers are text: leave it out; `base64 out.png` prints a file so"
        )
    param = next((param for param in spec.parameters if param.field == "format"), None)
    wanted = given.get(param.name) if param else None
    path = Path(output or (OUTPUT if wanted is None else f"out.{wanted}"))
    ending = SUFFIXES.get(path.suffix.lower())
    if param and wanted is not None and wanted not in param.choices:
        return path  # is refused with the other parameters
    if ending is None:
        raise InvalidParameter("--output", path.name, f"a name that ends in {', '.join(SUFFIXES)}")
    if param and wanted not in (None, ending):
        other = f"{_name(param)} says {wanted}"
        raise BadRequest(f"--output {path.name} is a {ending} file, and {other}: leave one of them out")
    return path


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
    try:
        params = spec.parse(given).with_seed(secrets.randbelow).params
    except MissingParameter as missing:
        option = f"--{missing.name.replace('_', '-')}"
        raise BadRequest(f"{option}: required; `tintype generate {spec.slug} --help` has an example") from missing
    refuse(params)
    for words in warnings(params) + wording(spec, params):
        click.echo(f"note: {words}", err=True)
    return replace(params, format=SUFFIXES[output.suffix.lower()])


def _run(
    spec: ModelSpec,
    params: GenerationParams,
    settings: Settings,
    registry: Registry,
    device: str,
    progress: Callable[[int, int], None],
    marker: Marker,
) -> list[Any]:
    with uncollected():
        from tintype.worker.inputs import read_images  # noqa: PLC0415 - imports torch
        from tintype.worker.main import generate as make  # noqa: PLC0415
        from tintype.worker.plan import unread_text  # noqa: PLC0415

    # The input images first: they may be unreadable, and loading weights takes long.
    inputs = read_images(params, settings.inputs)
    loaded = load_model(settings, registry, spec, device, params)
    for words in unread_text(loaded.family, params):
        click.echo(f"note: {words}", err=True)
    return make(loaded, spec.slug, params, inputs, settings.worker.max_rows, progress, marker)


def _name(param: Param) -> str:
    return "--" + param.name.replace("_", "-")


def _flag(param: Param) -> click.Option:
    names, help = [_name(param), param.name], HELP.get(param.field, param.help)
    if param.kind == "boolean":
        return click.Option(names, is_flag=True, default=None, help=help, hidden=param.field == "base64")
    required = param.required and param.default is None
    few = 0 < len(param.choices) <= MAX_CHOICES
    metavar = "|".join(map(str, param.choices)) if few else METAVARS[param.kind]
    facts = [] if required or param.field == "format" else [f"default: {_shown(param.default)}"]
    if not few and (param.choices or param.maximum is not None):
        facts.append(param.allowed.removeprefix(f"{WORDS[param.kind]} "))
    text = f"{help}  [{'; '.join(facts)}]" if facts else help
    default = param.default if param.required else None
    return click.Option(names, default=default, required=required, metavar=metavar, help=text)


def _shown(default: Value | None) -> str:
    """A default as it would be typed."""
    return "none" if default in (None, "") else str(default)


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
      tintype generate stable-diffusion-3.5-turbo-txt2img --prompt "a fox"
      tintype generate sd1.5-img2img --prompt "a castle" --image photo.jpg
      tintype generate sd3-med-img2img --help
    """
