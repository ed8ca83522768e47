"""`tintype demo`: the four models through the HTTP API, with the vendor's own package as the client."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx2
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tintype.catalog.models import MODELS, SD3_MEDIUM_IMG2IMG, SD3_TURBO_IMG2IMG, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.catalog.samples import LANDSCAPE, PORTRAIT, SUBJECT
from tintype.cli.local import lacking
from tintype.cli.sheet import contact_sheet

READY = "tintype is ready at "
#: Seconds that the server may take to start: importing torch on a busy machine.
PATIENCE = 180.0
#: Settings that the demo's server takes over from the environment; the others are for servers with another purpose.
INHERITED = {"TINTYPE_WEIGHTS", "TINTYPE_DTYPE", "TINTYPE_DEVICES", "TINTYPE_THREADS"}


#: Slug → what is drawn beside the model's own example: prompts of the built-in weights' world.
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
class Drawn:
    """A request of the demo and the file that came of it."""

    slug: str
    request: Mapping[str, Any]
    path: Path


@click.command()
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=Path("demo"), show_default=True)
def demo(output: Path) -> None:
    """Start a server, draw some pictures with each model, write them and a contact sheet, stop the server.

    \b
    Example:
      tintype demo --output /tmp/demo
    """
    try:
        from segmind import SegmindClient  # noqa: PLC0415 - an extra
    except ImportError:
        raise click.ClickException(lacking("the demo", "demo")) from None
    output.mkdir(parents=True, exist_ok=True)
    # The demo talks to nobody but its own server, and segmind's client would do so through the machine's proxy.
    os.environ.update(NO_PROXY="*", no_proxy="*")
    console = Console()
    key = f"SG_{secrets.token_hex(16)}"
    sheet = output / "contact-sheet.jpeg"
    console.print("starting the server …")
    with tempfile.TemporaryDirectory() as data, _server(Path(data), key, output / "server.log") as address:
        console.print(f"server at {address}, client: segmind {_version()}")
        pictures = _draw_all(SegmindClient(api_key=key, base_url=f"{address}/v1"), output, console)
        contact_sheet(address, [(drawn.slug, drawn.request, drawn.path) for drawn in pictures], sheet)
    console.print(f"\n{len(pictures)} pictures and a contact sheet:")
    for path in [*(drawn.path for drawn in pictures), sheet]:
        console.print(f"  {path}")


@contextmanager
def _server(data: Path, key: str, log: Path) -> Iterator[str]:
    """A server on a free port with a worker that is ready; its address."""
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
    deadline = time.monotonic() + PATIENCE
    while address and process.poll() is None and time.monotonic() < deadline:
        with suppress(httpx2.HTTPError):  # as long as it is starting
            if httpx2.get(f"{address}/ready", trust_env=False).is_success:
                return address
        time.sleep(0.1)
    raise click.ClickException(f"the server did not start; see {log}")


def _draw_all(client: Any, output: Path, console: Console) -> list[Drawn]:
    """Each model's example request, as the vendor's page prints it, and then those of this world."""
    columns = (TextColumn("{task.description:<36}"), BarColumn(), TextColumn("{task.fields[state]}"))
    planned = [
        Drawn(slug, request, output / f"{slug}{f'-{index}' if index else ''}.jpeg")
        for slug, spec in MODELS.items()
        for index, request in enumerate([spec.example, *WORLD[slug]])
    ]
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        for drawn in planned:
            _draw(client, drawn, progress)
    return planned


def _draw(client: Any, drawn: Drawn, progress: Progress) -> None:
    """Send one request, show how far it is, write its picture."""
    bar = progress.add_task(drawn.slug, total=1.0, state="queued")
    job = client.submit_async(drawn.slug, **drawn.request)
    while (status := job.status())["status"] in ("QUEUED", "PROCESSING"):
        state = f"step {status['step']} of {status['steps']}" if status["step"] else status["status"].lower()
        progress.update(bar, completed=status["progress"], state=state)
        time.sleep(0.1)
    result = job.wait()
    metrics = result["metrics"]
    progress.update(bar, completed=1.0, state=f"{metrics['inference_time']:.1f} s, ${metrics['cost']:g}")
    drawn.path.write_bytes(httpx2.get(result["output"], trust_env=False).raise_for_status().content)


def _version() -> str:
    from segmind import __version__  # noqa: PLC0415 - an extra

    return str(__version__)
