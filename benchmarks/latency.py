"""Where every millisecond goes of one request on an idle server: `python -m benchmarks.latency`.

What the client sees, the request's row, its spans and its log lines are moments of one machine's clock: in their order,
they cut a call into parts that sum to the whole. A part whose end is not noted is one with the next.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from rich.console import Console
from rich.progress import track
from rich.table import Table
from sqlalchemy import create_engine, text
from tests.acceptance.harness import KEY

from benchmarks.sides import NOW, Served, baseline, postgres
from tintype.catalog.models import SD35_TURBO_TXT2IMG

PATH = f"/v1/{SD35_TURBO_TXT2IMG.slug}"
COMMON = {"steps": 4, "guidance_scale": 1, "sampler": "euler"}
#: What is asked for, with the built-in weights.
SHAPES: dict[str, dict[str, Any]] = {
    "256² JPEG": {**COMMON, "width": 256, "height": 256, "image_format": "jpeg"},
    "1024² PNG": {**COMMON, "width": 1024, "height": 1024, "image_format": "png"},
}
#: Spans go to stdout, when the server stops.
SETTINGS = {"traces": "console"}
#: Requests of each shape before those that count: the first ones load and prepare.
WARM = 2
#: The model's work; the rest is what a caller waits for beyond it.
MODEL = ("text", "steps", "decode")
NOTES = """\
The turn at the lock can't be split from what a transaction does before it reads the clock. Wake-up and claim are in the
commit of the submit where its thread logs that later. Steps end with the last look for a cancel. File is encoding and
storing, by x-generation-time, which ends with the last file stored."""


class Sent(NamedTuple):
    """A call as its client saw it: moments in unix seconds, and the answer's x-generation-time."""

    id: str
    generation: float
    began: float
    first_byte: float
    last_byte: float


class Breakdown(NamedTuple):
    """One call: seconds, and its parts in order, which sum to `total`."""

    total: float
    generation: float
    parts: dict[str, float]

    @property
    def beyond(self) -> float:
        """Seconds that are not the model's work: text, steps and decoding."""
        return self.total - sum(self.parts.get(name, 0.0) for name in MODEL)


def ask(served: Served, shape: str, times: int) -> list[Sent]:
    """So many calls, one after the other on one connection, at moments that have nothing to do with any timer's."""
    connection = http.client.HTTPConnection(served.address.removeprefix("http://"))
    sent = []
    for _ in range(times):
        time.sleep(random.uniform(0.3, 0.6))  # noqa: S311 - no secret
        # A prompt of its own: one that was encoded before would cost nothing.
        body = json.dumps({**SHAPES[shape], "prompt": f"a fox in the snow, {uuid4()}"})
        began = time.time()
        connection.request("POST", PATH, body, {"content-type": "application/json", "x-api-key": KEY})
        answer = connection.getresponse()
        first_byte, said = time.time(), answer.read()
        last_byte = time.time()
        if answer.status != 200:
            raise RuntimeError(f"{PATH} was answered {answer.status}: {said[:200]!r}")
        generation = float(answer.headers["x-generation-time"])
        sent.append(Sent(answer.headers["x-request-id"], generation, began, first_byte, last_byte))
    connection.close()
    return sent


def explain(served: Served, sent: Sequence[Sent]) -> list[Breakdown]:
    """Where each call's time went; the server has stopped, so that its spans are there."""
    spans = _spans(served.output.read_text())
    lines = _lines(served.log.read_text().splitlines())
    engine = create_engine(served.url)
    moments = text("SELECT submitted_at, started_at, ended_at FROM requests WHERE id = :id")
    with engine.connect() as view:
        rows = {one.id: view.execute(moments, {"id": one.id}).one() for one in sent}
    engine.dispose()
    return [_breakdown(one, spans.get(one.id, {}), lines.get(one.id, {}), rows[one.id]) for one in sent]


def _breakdown(sent: Sent, spans: dict[str, tuple[float, float]], lines: dict[str, float], row: Any) -> Breakdown:
    begun = {name: began for name, (began, _) in spans.items()}
    ended = {name: end for name, (_, end) in spans.items()}
    started = row.started_at
    drawn = ended["decode"] - begun["encode"]
    queued = min(lines["queued"], started) if "queued" in lines else None
    ends: list[tuple[str, float | None]] = [
        ("connection, key, body", begun.get("submit")),
        ("parse, turn at the lock", row.submitted_at),
        ("commit of the submit", queued),
        ("wake-up, turn at the lock", started),
        ("claim with its commit", lines.get("claimed")),
        ("fetch", ended.get("fetch")),
        ("plan", begun.get("encode")),
        ("text", ended.get("encode")),
        ("steps", ended.get("denoise")),
        ("decode", ended.get("decode")),
        ("to the thread of outputs", begun.get("deliver")),
        ("file", begun["deliver"] + max(0.0, sent.generation - drawn)),
        ("turn at the lock", row.ended_at),
        ("commit of the result", lines.get("ended")),
        ("wake-up, answer made", sent.first_byte),
        ("answer sent", sent.last_byte),
    ]
    return Breakdown(sent.last_byte - sent.began, sent.generation, _parts(sent.began, ends))


def _parts(moment: float, ends: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    """Seconds of each part up to its end, none before the one before it."""
    parts, unsplit = {}, []
    for name, end in ends:
        unsplit.append(name)
        if end is not None:
            parts[" + ".join(unsplit)] = max(0.0, end - moment)
            moment, unsplit = max(moment, end), []
    return parts


def _spans(printed: str) -> dict[str, dict[str, tuple[float, float]]]:
    """By request's id and name: begin and end of the spans that the console exporter printed among other lines."""
    found: dict[str, dict[str, tuple[float, float]]] = {}
    submits: dict[str, tuple[float, float]] = {}
    traces: dict[str, str] = {}
    for span in _objects(printed):
        times = _moment(span["start_time"]), _moment(span["end_time"])
        trace = span["context"]["trace_id"]
        if span["name"] == "submit":
            submits[trace] = times
        elif id := span["attributes"].get("tintype.request"):
            found.setdefault(id, {})[span["name"]] = times
            traces[trace] = id
    for trace, id in traces.items():
        if trace in submits:
            found[id]["submit"] = submits[trace]
    return found


def _objects(printed: str) -> Iterator[dict[str, Any]]:
    decoder, place = json.JSONDecoder(), printed.find("{\n")
    while place >= 0:
        try:
            span, end = decoder.raw_decode(printed, place)
            yield span
        except ValueError:  # another process wrote into it
            end = place + 1
        place = printed.find("{\n", end)


def _lines(logged: Iterable[str]) -> dict[str, dict[str, float]]:
    """By request's id and event: when the log says that something was committed."""
    found: dict[str, dict[str, float]] = {}
    for line in logged:
        said = json.loads(line) if line.startswith("{") else {}
        if "request" in said:
            found.setdefault(said["request"], {})[said["event"]] = _moment(said["timestamp"])
    return found


def _moment(iso: str) -> float:
    return datetime.fromisoformat(iso).timestamp()


def middle(found: Sequence[Breakdown]) -> Breakdown:
    """The one whose time beyond the model's work is the median."""
    return sorted(found, key=lambda one: one.beyond)[len(found) // 2]


def table(columns: dict[str, Breakdown]) -> Table:
    """Milliseconds of each part, a column for each call."""
    shown = Table("one request on an idle server, ms", *columns, title="Where a request's time goes")
    names = dict.fromkeys(name for one in columns.values() for name in one.parts)
    for name in names:
        shown.add_row(name, *(_ms(one.parts.get(name)) for one in columns.values()))
    shown.add_section()
    shown.add_row("the whole", *(_ms(one.total) for one in columns.values()))
    shown.add_row(f"without {', '.join(MODEL)}", *(_ms(one.beyond) for one in columns.values()))
    shown.add_row("without x-generation-time", *(_ms(one.total - one.generation) for one in columns.values()))
    shown.caption, shown.caption_justify = NOTES, "left"
    return shown


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{1000 * seconds:.1f}"


def main() -> None:
    """Measure and print, of this tree and with `--before` of the baseline too."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="calls of each shape")
    parser.add_argument("--before", action="store_true", help="also the commit before issue 18")
    parser.add_argument("--postgres", action="store_true", help="on PostgreSQL instead of SQLite")
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tintype-latency-")))
        server = stack.enter_context(postgres(folder)) if given.postgres else None
        versions = [stack.enter_context(baseline()), NOW] if given.before else [NOW]
        servers = [
            stack.enter_context(Served(one, folder / one.name, server.empty() if server else "", **SETTINGS))
            for one in versions
        ]
        found = measure(servers, given.rounds)
    Console().print(table({f"{shape}, {name}": middle(calls) for (shape, name), calls in found.items()}))


def measure(servers: Sequence[Served], rounds: int) -> dict[tuple[str, str], list[Breakdown]]:
    """By shape and version; the servers, each with a worker, in turn. It stops them."""
    sent: dict[tuple[str, str], list[Sent]] = {}
    for served in servers:
        served.wait_for("/ready")
        for shape in SHAPES:
            ask(served, shape, WARM)
    for _ in track(range(rounds), description="one request on an idle server", transient=True):
        for shape in SHAPES:
            for served in servers:
                sent.setdefault((shape, served.version.name), []).extend(ask(served, shape, 1))
    for served in servers:
        served.stop()
    by_name = {served.version.name: served for served in servers}
    return {(shape, name): explain(by_name[name], calls) for (shape, name), calls in sent.items()}


if __name__ == "__main__":
    main()
