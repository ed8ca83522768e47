"""`make bench`: runs every measurement, prints the table, writes JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.toy_weights import toy_weights

from benchmarks import control, fleet, latency, marks, memory, start, store, submits
from benchmarks.sides import BASELINE, NOW
from benchmarks.work import Done, Pipeline, init, mixed_jobs, ours
from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.libraries import quiet_libraries
from tintype.diffusion.text import Conditioning
from tintype.engine import Engine
from tintype.media.images import encode
from tintype.worker.previews import QUALITY

CLIENTS = (1, 4, 8, 16)


@dataclass
class Figure:
    """One line of the table."""

    what: str
    ratio: float
    #: The ratios of the single rounds, for their spread.
    rounds: list[float]
    target: str
    #: What was counted in a second, where it is known; the machine's, while the ratio is the program's.
    per_second: float | None = None


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Ratios against diffusers doing the same work one by one.")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each figure, interleaved")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest.json"))
    parser.add_argument("--store", action="store_true", help="only the store's and the server's submits; no models")
    parser.add_argument("--control", action="store_true", help="only the control plane, before issue 18 and now")
    given = parser.parse_args()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    measured = machine()
    if not given.control:
        figures = [*([] if given.store else models(given.rounds)), *stores(given.rounds)]
        show(figures)
        measured["figures"] = [asdict(one) for one in figures]
        if not given.store:
            marked = marks.measure(5 * given.rounds)
            Console().print(marks.table(marked))
            measured["marks"] = [asdict(one) for one in marked]
    if not given.store:
        measured |= control_plane(given.rounds, given.output.with_suffix(".png"))
    given.output.write_text(json.dumps(measured, indent=2) + "\n")
    Console().print(f"written to {given.output}")


def stores(rounds: int) -> list[Figure]:
    """What the store and the web process do in a second."""
    counted = [*store.measure(rounds), *submits.measure(rounds)]
    return [Figure(one.what, *middle(one.ratios), one.target, one.per_second) for one in counted]


def control_plane(rounds: int, plot: Path) -> dict[str, Any]:
    """What was before and is now, where a request's time goes, and where a fleet bends; printed, and as JSON."""
    rows, parts = control.measure(rounds)
    Console().print(control.table(rows))
    Console().print(latency.table(parts))
    fleets = fleet.fleets([NOW])
    fleet.show(fleets)
    fleet.plot({name: levels for name, (_, levels) in fleets.items()}, plot)
    return {
        "baseline": BASELINE,
        "control": [one.as_json() for one in rows],
        "latency": {name: one._asdict() for name, one in parts.items()},
        "fleet": fleet.as_json(fleets),
    }


def models(rounds: int) -> list[Figure]:
    """What is measured against diffusers."""
    quiet_libraries()
    with tempfile.TemporaryDirectory() as cache:
        folder = toy_weights("sd15", Path(cache))
        family = load_family("sd15", WeightsSpec(folder), torch.device("cpu"), torch.float32, 256)
        pipeline = Pipeline(folder)
        figures = [figure for count in CLIENTS for figure in clients(family, pipeline, count, rounds)]
        figures += [overhead(family, count, rounds) for count in (1, 8)]
        figures.append(previews(family, rounds))
    figures += memories(rounds)
    cold = middle(start.cold_start(timed, rounds))
    return [*figures, Figure("process start to first picture ÷ a plain diffusers script", *cold, "≤ 0.5")]


def clients(family: Family, pipeline: Pipeline, count: int, rounds: int) -> list[Figure]:
    """Pictures per second of `count` mixed requests together, over diffusers' one by one; forward passes saved."""
    jobs = mixed_jobs(count)
    ratios = []
    sides: list[Callable[[], Done]] = [partial(ours, family, jobs), partial(pipeline, jobs)]
    for side in sides:
        side()  # the first run of a shape pays for what the later ones find ready
    for number in track(range(rounds), description=f"{count} mixed clients", transient=True):
        # Each side is first in turn: the machine's own pace changes within a round.
        order = sides if number % 2 else sides[::-1]
        measured = {side: timed(side) for side in order}
        (mine, my_seconds), (theirs, their_seconds) = (measured[side] for side in sides)
        # Parity first: no timing counts for work that isn't the same.
        for one, other in zip(mine.pictures, theirs.pictures, strict=True):
            np.testing.assert_allclose(one.astype(int), other.astype(int), atol=1)
        ratios.append(their_seconds / my_seconds)
    speed = Figure(f"{count} mixed clients: pictures/s ÷ diffusers one by one", *middle(ratios), "≥ 2.0 at 16")
    saved = theirs.forward_passes / mine.forward_passes
    return [speed, Figure(f"{count} mixed clients: diffusers' forward passes ÷ ours", saved, [saved], "")]


def overhead(family: Family, count: int, rounds: int) -> Figure:
    """Time of the engine's step over the bare forward pass of the same rows."""
    ratios = []
    jobs = [job for job in mixed_jobs(3 * count) if job.params.guidance > 1][:count]
    with torch.inference_mode():
        for _ in track(range(rounds), description=f"a step of {count}", transient=True):
            engine = Engine(max_rows=64)
            for job in jobs:
                engine.add(family.begin(job, init()))
            engine.step()
            steps: list[float] = []
            bare: list[float] = []
            while len(steps) < 8:
                bare.append(timed(partial(family.predict, *rows(engine)))[1])
                steps.append(timed(engine.step)[1])
            ratios.append(statistics.median(steps) / statistics.median(bare))
    return Figure(f"engine's step of {count} pictures ÷ bare forward pass", *middle(ratios), "≤ 1.02")


def previews(family: Family, rounds: int) -> Figure:
    """Time of a look, its JPEG included, over that of a step; there is at most one in half a second, and many steps."""
    ratios = []
    with torch.inference_mode():
        for _ in track(range(rounds), description="a preview", transient=True):
            engine = Engine(max_rows=2)
            picture = family.begin(mixed_jobs(1)[0], init())
            engine.add(picture)
            engine.step()
            look(picture)  # fits the map, once per model
            steps: list[float] = []
            looks: list[float] = []
            while len(steps) < 8:
                looks.append(timed(partial(look, picture))[1])
                steps.append(timed(engine.step)[1])
            ratios.append(statistics.median(looks) / statistics.median(steps))
    return Figure("a preview of one picture ÷ engine's step", *middle(ratios), "≤ 0.02")


def memories(rounds: int) -> list[Figure]:
    """What several models cost in one memory, and what it saves to keep them and their prompts."""
    share = memory.together()
    return [
        Figure("weights of the four models ÷ those of four pipelines (built-in)", share, [share], "≤ 0.65"),
        Figure("a model brought back ÷ diffusers' load (built-in)", *middle(memory.switch(timed, rounds)), ""),
        Figure("a kept prompt ÷ an encoded one (built-in)", *middle(memory.kept_prompts(timed, rounds)), "≤ 0.01"),
    ]


def look(picture: ImageState) -> bytes:
    """What the worker does for each preview."""
    if picture.answered is None:
        raise ValueError("there is nothing to see before the first step")
    seen = picture.family.preview(*picture.answered)
    return encode(Image.fromarray(seen.numpy()), "jpeg", QUALITY)


def rows(engine: Engine) -> tuple[torch.Tensor, torch.Tensor, Conditioning]:
    """What the engine will give the model at its next step."""
    live = engine.live
    x = torch.cat([one.ask.x.expand(one.rows, -1, -1, -1) for one in live])
    levels = torch.tensor([one.ask.level for one in live for _ in range(one.rows)])
    return x, levels, Conditioning.stack([one.text for one in live])


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What `work` returns, and its seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def middle(ratios: list[float]) -> tuple[float, list[float]]:
    """The median, and all of them."""
    return statistics.median(ratios), ratios


def machine() -> dict[str, Any]:
    """Where and when, so that a figure can be judged."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "weights": "toy, float32, 256 × 256",
    }


def show(figures: list[Figure]) -> None:
    """Print the table."""
    table = Table("figure", "ratio", "rounds", "target", "per second")
    for one in figures:
        counted = "" if one.per_second is None else f"{one.per_second:.0f}"
        rounds = " ".join(f"{ratio:.3g}" for ratio in one.rounds)
        table.add_row(one.what, f"{one.ratio:.3g}", rounds, one.target, counted)
    Console().print(table)


if __name__ == "__main__":
    main()
