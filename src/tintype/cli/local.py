"""What commands that generate in this process share: checks before anything slow, the model, the progress bar."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tintype.catalog.parameters import read_loras
from tintype.catalog.spec import ModelSpec
from tintype.cli.database import open_store
from tintype.cli.options import first_line
from tintype.core import GenerationParams
from tintype.errors import BadRequest, InvalidParameter, TintypeError, WeightsUnusable
from tintype.hub.registry import Registry
from tintype.media.provenance.manifests import SigningFailed
from tintype.media.provenance.marker import NO_MARKS, Marker
from tintype.settings import Settings

if TYPE_CHECKING:
    from tintype.worker.models import LoadedModel

#: `mallopt`'s names: of how many free bytes at its end the heap is trimmed, and how many blocks are outside of it.
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
DEVICE = re.compile(r"auto|cpu|(cuda|xpu)(:\d+)?|mps")


def check_files(output: Path | None, weights: Path | None) -> None:
    """Raise BadRequest unless the output can be written and the weights look like weights."""
    if weights and not weights.exists():
        raise BadRequest(f"--weights: no such folder or file: {weights}")
    if weights and weights.is_dir() and not (weights / "model_index.json").is_file():
        raise BadRequest(f"--weights: there is no model_index.json in {weights}")
    if output:
        _check_output(output)


def _check_output(path: Path) -> None:
    try:
        if not path.parent.is_dir():
            raise BadRequest(f"--output: no such folder: {path.parent}")
        existed = path.exists()
        path.open("ab").close()  # the only test that covers full disks, long names and all kinds of permissions
        if not existed:
            path.unlink()
    except OSError as error:
        raise BadRequest(f"--output: {path} can't be written: {error.strerror}") from error


def write_output(path: Path, data: bytes) -> None:
    """Write a file; raises BadRequest where that fails, as on a full disk, and leaves no part of a new one."""
    existed = path.exists()
    try:
        path.write_bytes(data)
    except OSError as error:
        if not existed:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise BadRequest(f"--output: {path} can't be written: {error.strerror}") from error


def check_device(name: str, option: str = "--device") -> None:
    """Raise InvalidParameter for what is no device's name; `require_device` asks torch whether it exists."""
    if not DEVICE.fullmatch(name):
        raise InvalidParameter(option, name, "auto, cpu, cuda, cuda:0, cuda:1, …, xpu, xpu:0, …, mps")


@contextmanager
def open_marker(settings: Settings) -> Iterator[Marker]:
    """What marks the files of a command, with the signer of its data folder; it is known to be able to.

    Where nothing is marked, no database is opened. Raises ClickException and ConfigurationInvalid.
    """
    if settings.provenance.mode == "off":
        yield NO_MARKS
        return
    with ExitStack() as opened:
        try:
            store = opened.enter_context(open_store(settings, making=True))
            marker = Marker.from_settings(settings.provenance, settings.web.public_url, store.signers)
            marker.check()
        except (click.ClickException, TintypeError, SigningFailed) as error:
            raise click.ClickException(f"images can't be signed: {error}; TINTYPE_MARK=off leaves that out") from error
        yield marker


def require_device(name: str) -> None:
    """Raise ClickException where torch finds no such device."""
    if not _has(name):
        raise click.ClickException(f"--device {name}: torch finds no such device on this machine")


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on stderr, where that is a terminal; yields a function of evaluations done and in total."""
    # Before torch is imported: threads that spin at OpenMP's barriers slow a busy machine down.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task("loading", total=None)
        yield lambda done, total: progress.update(bar, description="drawing", completed=done, total=total)


def load_model(
    settings: Settings, registry: Registry, spec: ModelSpec, device: str, params: GenerationParams
) -> LoadedModel:
    """The model that draws these parameters, on the device.

    Raises ClickException when the device fails, BadRequest that says what is missing.
    """
    from tintype.worker.models import ModelPool  # noqa: PLC0415 - imports torch

    require_device(device)
    _keep_memory()
    registry.require([spec.slug])
    own = registry.weights.get(spec.slug)
    folder = own.path if own else None
    try:
        # Compiling doesn't pay for a single request.
        models = ModelPool.from_settings(settings.replace(prepare="off"), registry, device)
        return models.load(spec, read_loras(params.loras), refined=params.refiner)
    except WeightsUnusable as error:
        raise BadRequest(f"{folder or 'the built-in weights'}: {_why(error, folder)}") from error
    except (RuntimeError, AssertionError) as error:
        raise click.ClickException(f"--device {device}: {first_line(error)}") from error


def _keep_memory() -> None:
    """Have glibc keep freed memory: taking each layer's from the system was a fifth of a decoder's time.

    Not in workers, which go on, and account for their memory.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_MMAP_MAX, 0)
        library.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def _has(device: str) -> bool:
    if device in ("auto", "cpu"):
        return True
    from tintype.diffusion.devices import found_devices  # noqa: PLC0415 - imports torch, which takes seconds

    found = found_devices()
    return device in found or f"{device}:0" in found


def _why(error: WeightsUnusable, folder: Path | None) -> str:
    """What is wrong with a folder of weights; for a missing sub-folder, the libraries' errors are about the network."""
    if folder and (missing := [name for name in _components(folder) if not (folder / name).is_dir()]):
        return f"there is no folder {', '.join(missing)} in it"
    cause = first_line(error.__cause__)
    return f"{error.message} ({cause})" if cause else error.message


def _components(folder: Path) -> list[str]:
    """Of the folder's index, without those that aren't loaded."""
    from tintype.checkpoints.weights import read_json  # noqa: PLC0415
    from tintype.diffusion.libraries import CLASSES  # noqa: PLC0415 - imports torch

    with suppress(WeightsUnusable):
        index = read_json(folder / "model_index.json")
        return [name for name, entry in index.items() if isinstance(entry, list) and entry[-1] in CLASSES]
    return []
