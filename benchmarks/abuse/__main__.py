"""`python -m benchmarks.abuse`: attack a real server, and measure what everybody else notices."""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import platform
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.abuse import report
from benchmarks.abuse.actors import Attack, Attacker, Target, attack, probe
from benchmarks.abuse.attacks import FOUND
from benchmarks.abuse.further import FURTHER
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.stage import Meter, Stages

#: Fresh interpreters: a copy of this process would share its memory and its threads' locks.
PROCESSES = multiprocessing.get_context("spawn")
#: Seconds of probing before an attack begins: what is compared with.
BEFORE = 2.0
#: Seconds beyond what it was let that an attacker may take to come to its end.
GRACE = 10.0
ATTACKS = {one.name: one for one in (*FOUND, *FURTHER)}

EXAMPLES = f"""\
examples:
  python -m benchmarks.abuse
  python -m benchmarks.abuse --only samples json-bombs --seconds 10
  python -m benchmarks.abuse --server-command /srv/tintype/.venv/bin/tintype --output abuse.json --plot abuse.png
  python -m benchmarks.abuse --markdown            # the table of docs/operations.md

attacks that were found: {", ".join(one.name for one in FOUND)}
further ones: {", ".join(one.name for one in FURTHER)}

Everything stays on this machine's loopback. The attacker has a process of its own with the least priority (nice), but
still takes a core's time, which the table tells: on two cores, part of what is seen is his. Exit code 1: a goal missed.
"""


def main() -> None:
    """Attack, print, write."""
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by which the server is ended too
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="tintype-abuse-") as folder:
        for one in measure(given, Path(folder)):
            outcomes.append(one)
            write(given, outcomes)  # a run takes minutes, and what is lost with it should be little
    console = Console() if sys.stdout.isatty() else Console(width=200)
    if given.markdown:
        print(report.markdown(outcomes))  # noqa: T201 - to be copied as it is
    else:
        console.print(report.table(outcomes))
    missed = [one.name for one in outcomes if one.missed()]
    held = f"{len(outcomes) - len(missed)} of {len(outcomes)} attacks were held off"
    Console(stderr=True).print(held + f"; not {', '.join(missed)}" * bool(missed))
    sys.exit(1 if missed else 0)


def write(given: argparse.Namespace, outcomes: Sequence[Outcome]) -> None:
    """The files that were asked for."""
    if given.output:
        given.output.parent.mkdir(parents=True, exist_ok=True)
        said = {**machine(given), "attacks": [one.as_json() for one in outcomes]}
        given.output.write_text(json.dumps(said, indent=2) + "\n")
    if given.plot:
        report.plot(outcomes, given.plot)


def arguments() -> argparse.Namespace:
    """What was asked for; exits with a line where that can't be."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.abuse",
        description="Attack a real server on this machine and measure what everybody else notices.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = [one.name for one in FOUND]
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        choices=ATTACKS,
        default=usual,
        help="these attacks; those found, if not given",
    )
    parser.add_argument("--all", dest="only", action="store_const", const=[*ATTACKS], help="the further ones too")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each attack (default 5)")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds that a probe waits at most (default 10)")
    parser.add_argument(
        "--server-command",
        type=shlex.split,
        default=[sys.executable, "-m", "tintype"],
        metavar="COMMAND",
        help="how `tintype` is called (default: this interpreter's)",
    )
    parser.add_argument("--output", type=Path, help="write everything as JSON")
    parser.add_argument("--plot", type=Path, help="write a picture of the latencies (.png, .svg)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser.parse_args()


def measure(given: argparse.Namespace, folder: Path) -> Iterator[Outcome]:
    """Every attack that was asked for, one after the other."""
    wanted = [one() for name, one in ATTACKS.items() if name in given.only]
    stages = Stages(given.server_command, folder)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("", total=len(wanted))
            for one in wanted:
                progress.update(bar, description=one.name)
                yield made(one, stages, given)
                progress.advance(bar)
    finally:
        stages.close()


def made(one: Attack, stages: Stages, given: argparse.Namespace) -> Outcome:
    """One attack on a server that is as it should be."""
    stage, keys = stages.get(one.settings, one.files), stages.keys
    target, over = Target(stage.address, keys.attacker, given.seconds), PROCESSES.Event()
    others = stage.address, keys.other, given.patience, over
    with beside(attack, one, target) as attacker, beside(probe, *others) as probes:
        credits, meter = left(target), Meter(stage)
        time.sleep(BEFORE)
        attacker.send("go")
        deed = heard(attacker, given.seconds + GRACE)
        over.set()
        # A call that is under way, and one after it, of each probe.
        samples = heard(probes, 2 * given.patience + GRACE)
        peaks, after = meter.stop(), left(target)
    charged = None if credits is None or after is None else credits - after
    return Outcome.of(one, samples, peaks, deed, charged)


@contextmanager
def beside(work: Any, *given: Any) -> Iterator[Connection]:
    """A process of its own that is ready, ended with the block."""
    here, there = PROCESSES.Pipe()
    process: BaseProcess = PROCESSES.Process(target=work, args=(*given, there), daemon=True)
    process.start()
    there.close()
    try:
        heard(here, 60)
        yield here
    finally:
        process.kill()
        process.join()


def heard(told: Connection, seconds: float) -> Any:
    """What a process tells; raises RuntimeError where it doesn't."""
    try:
        if told.poll(seconds):
            return told.recv()
    except EOFError:
        pass
    raise RuntimeError("the attacker or the probes ended without a word: see above")


def left(target: Target) -> float | None:
    """The attacker's credits in dollars; None where the server does not tell."""
    return asyncio.run(Attacker(target).credits())


def machine(given: argparse.Namespace) -> dict[str, Any]:
    """Where, when and how, so that a figure can be judged."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "seconds": given.seconds,
        "weights": "built-in, float32, 256 × 256",
        "goals": {"health": report.HEALTH, "keyed": report.KEYED, "later": report.LATER},
    }


if __name__ == "__main__":
    main()
