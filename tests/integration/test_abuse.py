"""The attacks of `python -m benchmarks.abuse` are what they say, are judged by their goals, and reach a real server."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import subprocess
import sys
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from benchmarks.abuse import payloads, report
from benchmarks.abuse.__main__ import ATTACKS
from benchmarks.abuse.actors import SOURCE, Attack, Attacker, Deed, Sample, Target, act
from benchmarks.abuse.attacks import RetryAfter
from benchmarks.abuse.report import Outcome
from benchmarks.abuse.stage import Peaks
from benchmarks.abuse.wire import call, listening
from PIL import Image
from tests.image_files import SCAN

ROOT = Path(__file__).parents[2]


def two_addresses() -> bool:
    """Whether the attacker can have an address of his own on the loopback: all of Linux can, and not every system."""
    with suppress(OSError), socket.create_server((SOURCE, 0)):
        return True
    return False


attacks = pytest.mark.skipif(not two_addresses(), reason=f"{SOURCE} can't be bound on this machine")


def test_hostile_pictures_are_pictures() -> None:
    plain, bomb = payloads.scan_bomb(0, side=64), payloads.scan_bomb(5, side=64)
    assert bomb.count(SCAN) == plain.count(SCAN) + 5
    for data in (plain, bomb, payloads.bitmap(10_000), payloads.turned_png(64), payloads.palette_png(64)):
        Image.open(io.BytesIO(data)).convert("RGBA")
    deep = Image.open(io.BytesIO(payloads.deep_png(64)))
    assert deep.mode == "I;16"
    assert Image.open(io.BytesIO(payloads.turned_png(64))).getexif()[0x0112] == 6
    assert Image.open(io.BytesIO(payloads.palette_png(64))).has_transparency_data
    assert len(payloads.deep_png(640)) < deep.width * deep.height, "it is far smaller than its pixels"


def test_a_run_length_encoded_bitmap_says_nothing_of_most_of_its_pixels() -> None:
    data = payloads.rle_bitmap(5000)
    image = Image.open(io.BytesIO(data))
    assert (image.size, len(data)) == ((5000, 1), 1084)
    assert image.convert("L").getextrema() == (0, 0)


@pytest.mark.parametrize("data", payloads.header_bombs(3000), ids=["fill", "segments", "chunks", "comments"])
def test_header_bombs_are_small_pictures_behind_long_headers(data: bytes) -> None:
    image = Image.open(io.BytesIO(data))
    image.load()
    assert image.size == (64, 64)
    assert len(data) > 3000


def test_json_bombs_are_as_long_as_was_asked_and_have_nothing_that_a_model_takes() -> None:
    bombs = dict(payloads.json_bombs(6000))
    assert all(5000 < len(body) < 6100 for body in bombs.values())
    # Longer than Python reads a number, or deeper than it follows lists, in one that is sent.
    read = {what: json.loads(body) for what, body in bombs.items() if what not in ("a long number", "nesting")}
    assert {*chain.from_iterable(read.values())} == {"a", *read["names"]}
    assert [len(read[what]["a"]) for what in ("empty lists", "numbers", "escapes")] == [2000, 3000, 1000]


def samples(worst: dict[str, float], status: int = 200) -> list[Sample]:
    """Two calls of each probe before an attack at 100, one during it."""
    before = [Sample(who, 90.0 + number, 0.1, 200) for who in report.WHO for number in range(2)]
    return before + [Sample(who, 99.99, worst.get(who, 0.1), status if who in worst else 200) for who in report.WHO]


def outcome(worst: dict[str, float], status: int = 200, peaks: Peaks | None = None, **deed: object) -> Outcome:
    done = Deed(100.0, 105.0, told={"200": 3}, **deed)  # type: ignore[arg-type]
    return Outcome.of(RetryAfter(), samples(worst, status), peaks or Peaks(0, 0, 0, 0), done, 0.5)


def test_every_goal_can_be_missed() -> None:
    assert outcome({}).missed() == []
    assert outcome({"health": 0.24, "keyed": 0.9, "drawing": 2.05}).missed() == []
    assert outcome({"health": 0.26}).missed() == ["/health took 0.26 s (goal 0.25)"]
    assert outcome({"keyed": 1.5}).missed() == ["a keyed call took 1.50 s (goal 1.00)"]
    assert outcome({"drawing": 2.2}).missed() == ["a text to image took 2.20 s (goal 2.10)"]
    assert outcome({"drawing": 0.1}, 429).missed() == ["a text to image was refused 1 of 1 times"]
    grown = Peaks(10**9, 3 * 10**9, 0, 10**9, 10**8)
    memory, disk = outcome({}, peaks=grown).missed()
    assert memory == "2000 MB of memory more (goal 768)"
    assert disk == "100 MB of disk stay beyond what was sent (goal 32)"
    assert outcome({}, peaks=grown, sent=10**8).missed() == [memory]
    assert outcome({}, counted={"posts": 2, "messages": 1}).missed() == ["2 posts of 1 message that was taken at once"]


def test_what_came_of_it_is_told_in_every_form(tmp_path: Path) -> None:
    both = [outcome({}), outcome({"health": 3.0}, 0)]
    assert [report.table(both).row_count, report.markdown(both).count("\n")] == [2, 3]
    assert "| held |" in report.markdown(both)
    assert json.loads(json.dumps(both[1].as_json()))["missed"] == both[1].missed()
    report.plot(both, target := tmp_path / "made" / "plot.png")
    with Image.open(target) as drawn:
        assert drawn.format == "PNG"


def test_every_attack_says_what_it_does() -> None:
    docs = [one.__doc__ for one in ATTACKS.values()]
    assert all(docs)
    assert len({*docs}) == len(docs)
    assert all(issubclass(one, Attack) and one.name == name for name, one in ATTACKS.items())


@attacks
def test_an_attack_ends_by_the_clock_and_what_it_was_told_is_counted() -> None:
    class Twice(Attack):
        """Two calls that are answered, one that isn't."""

        async def run(self, me: Attacker) -> None:
            await me.always(1, lambda number: me.call("GET", f"/{number}"))

    async def attacked() -> Deed:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append(writer)
            if len(seen) > 2:
                await reader.read()
            writer.write(b"HTTP/1.1 418 No\r\n\r\nno coffee")
            await writer.drain()

        seen: list[object] = []
        async with listening(answer) as address:
            assert await call(address, "GET", "/") == (418, b"no coffee", pytest.approx(0, abs=60))
            return await act(Twice(), Attacker(Target(address, "SG_key", 4.0)))

    deed = asyncio.run(attacked())
    assert (deed.told, deed.words) == ({"418": 1, "gave up": 1}, {"418": "no coffee"})


@attacks
def test_a_real_server_is_attacked_while_others_call_it(tmp_path: Path) -> None:
    options = ("--only", RetryAfter.name, "--seconds", "1", "--patience", "60", "--output", str(tmp_path / "said.json"))
    command = [sys.executable, "-m", "benchmarks.abuse", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert RetryAfter.name in done.stdout
    [said] = json.loads((tmp_path / "said.json").read_text())["attacks"]
    assert (done.returncode == 1) == bool(said["missed"])
    assert said["deed"]["told"] == {"200": 1}
    assert said["deed"]["counted"]["messages"] == 1
    assert all(one["calls"] and not one["failed"] for one in said["latencies"].values())
    assert said["peaks"]["memory"] > 200e6
