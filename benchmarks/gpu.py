"""`python -m benchmarks.gpu`: what one GPU can do, and how much of it models at their true size get."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tests.toy_weights import CLIP, SD15_SCHEDULER, Components, write_random

from benchmarks import networks
from benchmarks.networks import Config, Denoiser
from benchmarks.run import machine
from benchmarks.work import Pipeline, mixed_jobs, ours
from tintype.checkpoints.weights import WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion.compile import CompileCache
from tintype.diffusion.dtype_selection import medians
from tintype.diffusion.families import load_family
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.memory.component import Run, run_eagerly

#: Requests at once.
CLIENTS = (1, 8, 16)
SD15_COMPONENTS: Components = {
    "tokenizer": ("CLIPTokenizer", {}),
    "text_encoder": ("CLIPTextModel", CLIP | networks.CLIP_L),
    "vae": ("AutoencoderKL", {**networks.AUTOENCODER, "latent_channels": 4}),
    "unet": ("UNet2DConditionModel", networks.SD15_UNET),
}


@dataclass(frozen=True)
class Figure:
    """One line of the table."""

    what: str
    number: float
    unit: str
    #: Of the ceiling that this run has measured, where it is arithmetic.
    share: float | None = None


def main() -> None:
    """Measure in the order of the issue, print, write."""
    parser = argparse.ArgumentParser(description="Ceilings of a GPU, and models with random weights at true size.")
    parser.add_argument("--rounds", type=int, default=10, help="measurements of each figure, interleaved")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-gpu.json"))
    given = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("benchmarks.gpu needs a GPU that torch can use (CUDA), and finds none on this machine")
    quiet_libraries()
    device, figures = torch.device("cuda"), []
    for figure in measure(device, torch.bfloat16, given.rounds):
        figures.append(figure)
        print(figure)  # noqa: T201 - a run takes an hour, and what is lost with it should be little
    show(figures)
    said = {**machine(), "processor": torch.cuda.get_device_name(device), "weights": "random, bfloat16, at true size"}
    given.output.write_text(json.dumps({**said, "figures": [asdict(one) for one in figures]}, indent=2) + "\n")


def measure(device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Figure]:
    """Everything, the most useful first."""
    with torch.inference_mode():
        yield from ceilings(device, dtype, 8192, rounds)
        ceiling = product(device, dtype, 8192, rounds)
        for denoiser in networks.DENOISERS:
            yield from steps(denoiser, device, dtype, rounds, ceiling, ways())
        for side in (64, 128):
            yield from decoding(networks.AUTOENCODER, side, device, dtype, rounds)
    with tempfile.TemporaryDirectory() as folder:
        write_random(Path(folder), SD15_COMPONENTS, SD15_SCHEDULER)
        jobs = [mixed_jobs(count) for count in CLIENTS]
        yield from requests(Path(folder), device, dtype, rounds, jobs, compiled=True)


def ways() -> dict[str, Run]:
    """How passes are run."""
    compiled, graphs, both = ((True, False), (False, True), (True, True))
    named = {"compiled": compiled, "graphs": graphs, "compiled graphs": both}
    prepared = {name: CompileCache(compiles=one, captures=other, often=1) for name, (one, other) in named.items()}
    return {"eager": run_eagerly, **prepared}


def ceilings(device: torch.device, dtype: torch.dtype, side: int, rounds: int) -> Iterator[Figure]:
    """Matrix products, copies within the device's memory, and copies to it out of pinned memory."""
    yield Figure(f"matrix product {side}²", product(device, dtype, side, rounds) / 1e12, "TFLOP/s")
    here, there = (torch.empty(side * side, dtype=dtype, device=device) for _ in range(2))
    size = here.nbytes
    [seconds] = medians([on(device, lambda: there.copy_(here))], rounds)
    yield Figure("copy on the device, read and written", 2 * size / seconds / 1e9, "GB/s")
    host = torch.empty(side * side, dtype=dtype, pin_memory=device.type == "cuda")
    [seconds] = medians([on(device, lambda: here.copy_(host, non_blocking=True))], rounds)
    yield Figure("copy from pinned host memory", size / seconds / 1e9, "GB/s")


def product(device: torch.device, dtype: torch.dtype, side: int, rounds: int) -> float:
    """Operations per second of a matrix product."""
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    [seconds] = medians([on(device, lambda: one @ other)], rounds)
    return 2 * side**3 / seconds


def steps(
    denoiser: Denoiser,
    device: torch.device,
    dtype: torch.dtype,
    rounds: int,
    ceiling: float,
    ways: Mapping[str, Run],
) -> Iterator[Figure]:
    """A denoiser's steps by rows and by way of running them; the ways take turns."""
    network = networks.random_network(denoiser.class_name, denoiser.config, dtype, device)
    for rows in denoiser.rows:
        given = networks.inputs(network, denoiser.side, rows, dtype, device)
        for run in ways.values():
            run(network, **given)
            if isinstance(run, CompileCache):
                run.wait()
        times = medians([on(device, partial(run, network, **given)) for run in ways.values()], rounds)
        operations = networks.work(denoiser, rows)
        for way, seconds in zip(ways, times, strict=True):
            share = operations / seconds / ceiling
            yield Figure(f"{denoiser.name}, {rows} rows, {way}", 1000 * seconds, "ms a step", share)
    del network
    free(device)


def decoding(config: Config, side: int, device: torch.device, dtype: torch.dtype, rounds: int) -> Iterator[Figure]:
    """The autoencoder's decoder, one picture."""
    vae = networks.random_network("AutoencoderKL", config, dtype, device)
    shape = 1, vae.config.latent_channels, side, side
    latents = torch.randn(shape, device=device).to(dtype, memory_format=torch.channels_last)
    [seconds] = medians([on(device, lambda: vae.decode(latents, return_dict=False))], rounds)
    yield Figure(f"decoder, {8 * side}²", 1000 * seconds, "ms a picture")


def requests(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    rounds: int,
    together: Sequence[list[ImageSpec]],
    *,
    compiled: bool,
) -> Iterator[Figure]:
    """Whole SD 1.5 requests that differ in all but their size, over diffusers' pipeline, as it is and compiled."""
    family = load_family("sd15", WeightsSpec(folder), device, dtype, 256)
    pipelines = {"diffusers": Pipeline(folder)}
    if compiled:
        pipelines["diffusers compiled"] = Pipeline(folder)
    for pipeline in pipelines.values():
        pipeline.pipe.to(device, dtype)
    if compiled:
        pipelines["diffusers compiled"].pipe.unet.compile()
    for jobs in together:
        count = len(jobs)
        works: list[Callable[[], Any]] = [partial(ours, family, jobs)]
        works += [partial(pipeline, jobs) for pipeline in pipelines.values()]
        made, expected = works[0]().pictures, works[1]().pictures
        apart = sum(abs(one.astype(float) - other).mean() for one, other in zip(made, expected, strict=True)) / count
        yield Figure(f"{count} requests: mean difference of the pictures", apart, "levels of 255")
        times = medians([on(device, work) for work in works], rounds)
        for name, seconds in zip(pipelines, times[1:], strict=True):
            yield Figure(f"{count} requests: pictures/s over {name}'s", seconds / times[0], "times")


def on(device: torch.device, work: Callable[[], Any]) -> Callable[[], Any]:
    """The work, until the device has done it."""

    def done() -> None:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return done


def free(device: torch.device) -> None:
    """Give back what the last network took."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def show(figures: list[Figure]) -> None:
    """Print the table."""
    table = Table("figure", "", "unit", "of the ceiling")
    for one in figures:
        table.add_row(one.what, f"{one.number:.4g}", one.unit, "" if one.share is None else f"{one.share:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
