"""`python -m benchmarks.batching`: images that join a forward pass at any step, against batches that are left together.

The same requests, arriving at the same moments, are drawn by one engine under three rules of who joins when. Time is
the processor's: it stands still while other programs run, and jumps to the next arrival where nothing is to be done.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from tests.toy_weights import image_spec, toy_weights

from benchmarks.run import machine
from tintype.checkpoints.weights import WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion.families import load_family
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.libraries import quiet_libraries
from tintype.engine import Engine

SIDE = 128
#: Images that run at the same time, at most, under the first two rules; and rows of a forward pass.
TOGETHER, MAX_ROWS = 8, 16
#: Of what a rule can do, what arrives.
LOAD = 0.7


@dataclass(frozen=True)
class Rule:
    """Who joins when: at most `together` images run, and where `at_any_step` is false, none joins those that do."""

    name: str
    together: int
    at_any_step: bool

    def free(self, running: int) -> int:
        """How many of those that wait may start, beside so many that run."""
        return self.together - running if self.at_any_step or not running else 0


STEPS = Rule("step-level", TOGETHER, at_any_step=True)
REQUESTS = Rule("request-level", TOGETHER, at_any_step=False)
ONE_BY_ONE = Rule("one by one", 1, at_any_step=False)
RULES = (STEPS, REQUESTS, ONE_BY_ONE)


class Drawn(NamedTuple):
    """What became of a request: seconds from its arrival to its first step's begin, and to its pixels."""

    waited: float
    took: float


class Clock:
    """Seconds of this process's processor time, and what was jumped over."""

    def __init__(self) -> None:
        self._begin = time.process_time()

    def now(self) -> float:
        """Seconds since it was made."""
        return time.process_time() - self._begin

    def jump(self, to: float) -> None:
        """Be there at once, where that is in the future."""
        self._begin -= max(0.0, to - self.now())


def jobs(count: int, side: int = SIDE) -> list[ImageSpec]:
    """Requests that differ in steps, guidance, prompt and seed, the same in every run."""
    return [
        image_spec(
            prompt=f"picture {index} of a fox",
            steps=(8, 20, 12, 28)[index % 4],
            guidance=(7.5, 4.0, 1.0)[index % 3],
            seed=index,
            sampler="Euler",
            width=side,
            height=side,
        )
        for index in range(count)
    ]


def draw(family: Family, specs: Sequence[ImageSpec], arrivals: Sequence[float], rule: Rule) -> list[Drawn]:
    """Draw them all; arrivals: when each is there, in seconds, ascending. What comes first starts first."""
    engine, clock = Engine(MAX_ROWS), Clock()
    coming = deque(range(len(specs)))
    running: dict[ImageState, int] = {}
    waited, took = [0.0] * len(specs), [0.0] * len(specs)
    with torch.inference_mode():
        while coming or running:
            if not running:
                clock.jump(arrivals[coming[0]])
            for _ in range(rule.free(len(running))):
                if not coming or arrivals[coming[0]] > clock.now():
                    break
                index = coming.popleft()
                waited[index] = clock.now() - arrivals[index]
                image = family.begin(specs[index])
                running[image] = index
                engine.add(image)
            for image in engine.step():
                index = running.pop(image)
                if image.latents is None:
                    raise image.error or RuntimeError("an image ended without latents")
                family.autoencoder.decode(image.latents)
                took[index] = clock.now() - arrivals[index]
    return [Drawn(*each) for each in zip(waited, took, strict=True)]


def throughput(family: Family, rule: Rule, count: int) -> float:
    """Images a second where all are there from the beginning."""
    return count / max(one.took for one in draw(family, jobs(count), [0.0] * count, rule))


def poisson(count: int, rate: float) -> list[float]:
    """Moments of arrivals of so many a second, seeded."""
    source = random.Random(22)  # noqa: S311
    moments, moment = [], 0.0
    for _ in range(count):
        moment += source.expovariate(rate)
        moments.append(moment)
    return moments


def late(drawn: Sequence[Drawn]) -> float:
    """Seconds to the pixels that 99 of 100 stay below."""
    return statistics.quantiles([one.took for one in drawn], n=100, method="inclusive")[98]


def measure(family: Family, count: int, rounds: int, tell: Callable[[str], None]) -> dict[str, list[float]]:
    """By their names, ratios of each round; count: of requests under load."""
    found: dict[str, list[float]] = {}

    def under(rule: Rule, speed: float) -> list[Drawn]:
        return draw(family, jobs(count), poisson(count, LOAD * speed), rule)

    draw(family, jobs(4), [0.0] * 4, STEPS)  # the first run of a shape pays for what the later ones find ready
    for number in range(rounds):
        # Each rule is first in turn: the machine's own pace changes within a round.
        order = RULES if number % 2 else RULES[::-1]
        speed = {rule: throughput(family, rule, 3 * TOGETHER) for rule in order}
        tell(f"images a second: {', '.join(f'{rule.name} {speed[rule]:.2f}' for rule in RULES)}")
        # One by one, what step-level batching can do would queue up without end: it is compared at a load of its own.
        busy = {rule: under(rule, speed[STEPS]) for rule in order if rule is not ONE_BY_ONE}
        calm = {rule: under(rule, speed[ONE_BY_ONE]) for rule in order if rule is not REQUESTS}
        # So far apart that each has gone when the next one comes.
        alone = draw(family, jobs(12), [1e3 * index for index in range(12)], STEPS)
        waits = {rule: statistics.mean(one.waited for one in drawn) for rule, drawn in busy.items()}
        ends, calm_ends = ({rule: late(drawn) for rule, drawn in each.items()} for each in (busy, calm))
        tell(f"mean wait in seconds: {', '.join(f'{rule.name} {wait:.3f}' for rule, wait in waits.items())}")
        for name, ratio in {
            "step-level ÷ request-level: throughput": speed[STEPS] / speed[REQUESTS],
            "step-level ÷ one by one: throughput": speed[STEPS] / speed[ONE_BY_ONE],
            "step-level ÷ request-level, at 70 % of step-level's: mean wait": waits[STEPS] / waits[REQUESTS],
            "step-level ÷ request-level, at 70 % of step-level's: p99": ends[STEPS] / ends[REQUESTS],
            "step-level, at 70 %: p99 ÷ unloaded": ends[STEPS] / late(alone),
            "step-level ÷ one by one, at 70 % of one by one's: p99": calm_ends[STEPS] / calm_ends[ONE_BY_ONE],
        }.items():
            found.setdefault(name, []).append(ratio)
    return found


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100, help="of a round, under load")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-batching.json"))
    given = parser.parse_args()
    quiet_libraries()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        folder = toy_weights("sd15", Path(cache))
        family = load_family("sd15", WeightsSpec(folder), torch.device("cpu"), torch.float32, 256)
        found = measure(family, given.requests, given.rounds, Console(stderr=True).print)
    about = machine() | {"weights": f"toy, float32, {SIDE} × {SIDE}", "time": "of the processor", "load": LOAD}
    given.output.write_text(json.dumps(about | {"requests": given.requests, "ratios": found}, indent=2) + "\n")
    table = Table("figure", "ratio", "rounds")
    for name, ratios in found.items():
        table.add_row(name, f"{statistics.median(ratios):.3g}", " ".join(f"{ratio:.3g}" for ratio in ratios))
    Console().print(table)


if __name__ == "__main__":
    main()
