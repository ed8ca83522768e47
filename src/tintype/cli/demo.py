"""`tintype demo`: the four models of the contract over the HTTP API, with the vendor's own package as the client."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import httpx2
from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tintype.catalog.models import MODELS, SD3_MEDIUM_IMG2IMG, SD3_TURBO_IMG2IMG, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.catalog.samples import LANDSCAPE, PORTRAIT, SUBJECT, sample_path
from tintype.cli.options import missing_extra

READY = "tintype is ready at "
#: Seconds that the server may take to start: importing torch on a busy machine.
START_TIMEOUT = 180.0
#: Settings that the demo's server takes from the environment; the others are for other servers.
INHERITED = {"TINTYPE_WEIGHTS", "TINTYPE_DTYPE", "TINTYPE_DEVICES", "TINTYPE_THREADS"}
#: Of the contact sheet, in pixels.
TILE, MARGIN, CAPTION, TITLE = 300, 16, 30, 40
INK, PAPER = "#222222", "#f6f2ea"

#: Slug → requests in addition to the model's own example: what the built-in weights can draw.
WORLD: Mapping[str, tuple[dict[str, Any], ...]] = {
    SD15_IMG2IMG.slug: ({"prompt": "a castle", "image": LANDSCAPE.path, "strength": 0.8, "seed": 1},),
    SD3_MEDIUM_IMG2IMG.slug: ({"prompt": "a mage", "image": PORTRAIT.path, "strength": 0.8, "seed": 1},),
    SD3_TURBO_IMG2IMG.slug: (
        {"mode": "image-to-image", "prompt": "an owl", "image": SUBJECT.path, "strength": 0.8, "seed": 1},
    ),
    SD35_TURBO_TXT2IMG.slug: (
        {"prompt": "a fox on a sky blue background", "seed": 1},
        {"prompt": "a hamburger", "seed": 2},
        {"prompt": "a birthday cake on a pink background", "seed": 3},
    ),
}


@dataclass(frozen=True)
class Generated:
    """A request of the demo and the file of its image."""

    slug: str
    request: Mapping[str, Any]
    path: Path


@click.command()
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True,
              help="Folder for the images; made if missing.")  # fmt: skip
def demo(output: Path) -> None:
    """Draw ten images with the four models, through a server.

    It starts the server, writes the images and a contact sheet, and stops the server.

    \b
    Example:
      tintype demo --output /tmp/demo
    """
    try:
        from segmind import SegmindClient  # noqa: PLC0415 - an extra
    except ImportError:
        raise click.ClickException(missing_extra("the demo", "demo")) from None
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise click.ClickException(f"--output: {output} can't be made: {error.strerror}") from error
    # The demo only calls its own server, and segmind's client would do so through the machine's proxy.
    os.environ.update(NO_PROXY="*", no_proxy="*")
    console = Console()
    key = f"SG_{secrets.token_hex(16)}"
    sheet = output / "contact-sheet.jpeg"
    console.print("starting the server …")
    with tempfile.TemporaryDirectory() as data, _server(Path(data), key, output / "server.log") as address:
        console.print(f"server at {address}, client: segmind {_version()}")
        images = _generate_all(SegmindClient(api_key=key, base_url=f"{address}/v1"), output, console)
        _contact_sheet(address, images, sheet)
    console.print(f"\n{len(images)} pictures and a contact sheet:")
    for path in [*(image.path for image in images), sheet]:
        console.print(f"  {path}")


@contextmanager
def _server(data: Path, key: str, log: Path) -> Iterator[str]:
    """Address of a server on a free port, once a worker is ready."""
    command = [sys.executable, "-m", "tintype", "serve", "--port", "0", "--data", str(data)]
    env = _environment(os.environ) | {"TINTYPE_BOOTSTRAP_KEY": key, "TINTYPE_WEB_DRAIN": "0", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as errors:
        process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603
        try:
            yield _wait_for_server(process, log)
        finally:
            process.terminate()
            process.communicate()


def _environment(inherited: Mapping[str, str]) -> dict[str, str]:
    mine = {name: value for name, value in inherited.items() if not name.upper().startswith("TINTYPE_")}
    return mine | {name: value for name, value in inherited.items() if name.upper() in INHERITED}


def _wait_for_server(process: subprocess.Popen[str], log: Path) -> str:
    address = next((line.removeprefix(READY).strip() for line in process.stdout or () if line.startswith(READY)), "")
    deadline = time.monotonic() + START_TIMEOUT
    while address and process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx2.HTTPError):  # while it starts
            if httpx2.get(f"{address}/ready", trust_env=False).is_success:
                return address
        time.sleep(0.1)
    raise click.ClickException(f"the server did not start; see {log}")


def _generate_all(client: Any, output: Path, console: Console) -> list[Generated]:
    """Send each model's example request, as the vendor's page prints it, and then those of WORLD."""
    columns = (TextColumn("{task.description:<36}"), BarColumn(), TextColumn("{task.fields[state]}"))
    planned = [
        Generated(slug, request, output / f"{slug}{f'-{index}' if index else ''}.jpeg")
        for slug, requests in WORLD.items()
        for index, request in enumerate([MODELS[slug].example, *requests])
    ]
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        for image in planned:
            _generate(client, image, progress)
    return planned


def _generate(client: Any, image: Generated, progress: Progress) -> None:
    """Send one request, show its progress, write its image."""
    bar = progress.add_task(image.slug, total=1.0, state="queued")
    job = client.submit_async(image.slug, **image.request)
    while (status := job.status())["status"] in ("QUEUED", "PROCESSING"):
        state = f"step {status['step']} of {status['steps']}" if status["step"] else status["status"].lower()
        progress.update(bar, completed=status["progress"], state=state)
        time.sleep(0.1)
    result = job.wait()
    metrics = result["metrics"]
    progress.update(bar, completed=1.0, state=f"{metrics['inference_time']:.1f} s, ${metrics['cost']:g}")
    image.path.write_bytes(httpx2.get(result["output"], trust_env=False).raise_for_status().content)


def _contact_sheet(address: str, images: Iterable[Generated], path: Path) -> None:
    """Write a sheet with a row per model: its input image, if it has one, then its images with their prompts."""
    rows = [(slug, list(entries)) for slug, entries in groupby(images, key=lambda image: image.slug)]
    columns = 1 + max(len(entries) for _, entries in rows)
    height = TITLE + TILE + CAPTION
    sheet = Image.new("RGB", (MARGIN + columns * (TILE + MARGIN), len(rows) * height + MARGIN), PAPER)
    for row, (slug, entries) in enumerate(rows):
        top = row * height
        _write(sheet, (MARGIN, top + MARGIN), slug, 18)
        sample = sample_path(str(entries[0].request.get("image", "")))
        source = io.BytesIO(httpx2.get(address + sample).raise_for_status().content) if sample else None
        _paste(sheet, source, (MARGIN, top + TITLE), sample or "from text alone")
        for column, image in enumerate(entries, start=1):
            _paste(sheet, image.path, (MARGIN + column * (TILE + MARGIN), top + TITLE), str(image.request["prompt"]))
    sheet.save(path, quality=92)


def _paste(sheet: Image.Image, source: io.BytesIO | Path | None, corner: tuple[int, int], caption: str) -> None:
    """An image, or an empty frame, with its caption below."""
    left, top = corner
    _write(sheet, (left, top + TILE + CAPTION // 4), caption, 14)
    if source is None:
        ImageDraw.Draw(sheet).rectangle((left, top, left + TILE, top + TILE), outline=INK)
        return
    with Image.open(source) as image:
        sheet.paste(ImageOps.pad(image.convert("RGB"), (TILE, TILE), color=PAPER), corner)


def _write(sheet: Image.Image, corner: tuple[int, int], words: str, size: int) -> None:
    """A line of text, cut to a tile's width."""
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    while pen.textlength(words, font) > TILE:
        words = words.rstrip("…")[:-1] + "…"
    pen.text(corner, words, fill=INK, font=font)


def _version() -> str:
    from segmind import __version__  # noqa: PLC0415 - an extra

    return str(__version__)
