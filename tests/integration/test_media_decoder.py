"""Decoding in real child processes: what they give back, and that nothing a file does outlives them or gets around."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import ExifTags, Image
from tests.acceptance.harness import until
from tests.image_files import saved, scanned

from tintype.errors import BadPicture
from tintype.media.decoder import Decoder, reduced
from tintype.media.images import decode, digest
from tintype.media.network import Cancellation
from tintype.media.scaling import fit, fitted_size

LIMIT = 50_000_000
PLENTY = 60.0


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(LIMIT, PLENTY) as one:
        yield one


@cache
def large(scans: int = 100) -> bytes:
    """A JPEG that takes seconds: each of its scans passes over 49 megapixels."""
    return scanned(saved(Image.new("L", (7000, 7000), 99), "JPEG", progressive=True), scans)


def children() -> list[psutil.Process]:
    """Decoders of this process that live."""
    return [one for one in psutil.Process().children() if decodes(one)]


def decodes(one: psutil.Process) -> bool:
    """Whether it is a decoder; not one that was killed and waits to be reaped."""
    with suppress(psutil.NoSuchProcess):
        return "tintype.media.decoder" in one.cmdline()
    return False


def at_work(known: set[int]) -> psutil.Process:
    """The child that is not one of those, once it decodes."""
    until(lambda: busy(known), PLENTY)
    return busy(known)[0]


def busy(known: set[int]) -> list[psutil.Process]:
    """Those of the others that have taken a part of a second."""
    found = []
    for one in children():
        with suppress(psutil.NoSuchProcess):
            found += [one] if one.pid not in known and one.cpu_times().user > 0.3 else []
    return found


PICTURES: dict[str, Callable[[], bytes]] = {
    "as it is": lambda: saved(Image.effect_noise((64, 64), 90).convert("RGB")),
    "made smaller": lambda: saved(Image.effect_noise((1500, 1100), 90).convert("RGB"), "JPEG"),
    "cropped": lambda: saved(Image.effect_noise((999, 333), 90).convert("RGB"), "WEBP"),
    "transparent": lambda: saved(Image.effect_noise((700, 700), 90).convert("LA"), "PNG"),
    "made larger": lambda: saved(Image.effect_noise((20, 3000), 90), "TIFF"),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("size", [(0, 0), (512, 256)])
def test_what_comes_back_is_what_decoding_here_gives(decoder: Decoder, name: str, size: tuple[int, int]) -> None:
    """To the bit: a recipe names the digest, and is replayed with the same pixels."""
    data = PICTURES[name]()
    whole = decode(data, LIMIT)
    wanted = size if size[0] else fitted_size(*whole.size)
    decoded = decoder.reduced(data, *size, Cancellation())
    assert decoded.image.tobytes() == fit(whole, *wanted).tobytes() == reduced(data, LIMIT, *size).image.tobytes()
    assert (decoded.image.size, decoded.size, decoded.digest) == (wanted, whole.size, digest(whole))


def strokes(mode: str = "L", white: Any = 255) -> Image.Image:
    """A mask of 60×40 pixels whose left 20 are white."""
    mask = Image.new(mode, (60, 40))
    mask.paste(white, (0, 0, 20, 40))
    return mask


def clear() -> Image.Image:
    """White strokes, transparent elsewhere, as a brush leaves them; what is there is white, too."""
    mask = Image.new("LA", (60, 40), (255, 0))
    mask.paste((255, 255), (0, 0, 20, 40))
    return mask


def turned() -> bytes:
    """On its side, as EXIF says."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return saved(strokes().transpose(Image.Transpose.ROTATE_90), exif=exif)


MASKS: dict[str, Callable[[], bytes]] = {
    "grey": lambda: saved(strokes()),
    "black and white": lambda: saved(strokes("1")),
    "colours": lambda: saved(strokes("RGB", (255, 255, 255)), "JPEG", quality=95),
    "a palette": lambda: saved(strokes("RGB", (255, 255, 255)).quantize(4)),
    "16 bits": lambda: saved(Image.fromarray(np.asarray(strokes(), np.uint16) * 257)),
    "transparent": lambda: saved(clear()),
    "colours, transparent": lambda: saved(clear().convert("RGBA")),
    "a transparent grey": lambda: saved(strokes("L", 250).point(lambda level: level or 255), transparency=255),
    "turned": turned,
}


@pytest.mark.parametrize("name", MASKS)
@pytest.mark.parametrize("over", [(60, 40), (600, 400), (90, 40)])
def test_a_mask_lies_on_its_image(decoder: Decoder, name: str, over: tuple[int, int]) -> None:
    """It is scaled to the image, and cropped as that is: of 90×40, a square keeps the middle."""
    decoded = decoder.reduced(MASKS[name](), 64, 64, Cancellation(), over)
    assert decoded.size == (60, 40)
    assert decoded.digest == digest(decode(MASKS[name](), LIMIT, "black"))
    white = np.asarray(decoded.image.convert("L")) >= 128
    [edge] = {int(row.sum()) for row in white}
    assert white[:, :edge].all()
    left, scale = (over[0] - over[1]) / 2, 64 / over[1]
    assert edge == pytest.approx((over[0] / 3 - left) * scale, abs=1)


def test_one_child_serves_one_call_after_the_other(decoder: Decoder) -> None:
    decoder.warm()  # an idle one is enough
    before = {one.pid for one in children()}
    for number in range(5):
        decoder.reduced(saved(Image.new("RGB", (64, 64), (number, 0, 0))), 0, 0, Cancellation())
        with pytest.raises(BadPicture, match="a JPEG, PNG"):
            decoder.reduced(b"%PDF-1.7", 0, 0, Cancellation())
    decoder.warm()
    assert {one.pid for one in children()} == before


def test_a_cancelled_calls_child_is_killed() -> None:
    cancellation = Cancellation()
    with Decoder(LIMIT, PLENTY) as own, ThreadPoolExecutor(1) as threads:
        known = {one.pid for one in children()}
        call = threads.submit(own.reduced, large(), 0, 0, cancellation)
        child = at_work(known)
        cancellation.cancel()
        with pytest.raises(CancelledError):
            call.result(PLENTY)
        assert not child.is_running()
        with pytest.raises(CancelledError):
            own.reduced(b"", 0, 0, cancellation)
        assert own.reduced(saved(Image.new("RGB", (64, 64))), 0, 0, Cancellation()).size == (64, 64)


def test_a_child_that_crashes_is_the_pictures_fault_and_is_replaced() -> None:
    with Decoder(LIMIT, PLENTY) as own, ThreadPoolExecutor(1) as threads:
        known = {one.pid for one in children()}
        call = threads.submit(own.reduced, large(), 0, 0, Cancellation())
        child = at_work(known)
        os.kill(child.pid, signal.SIGSEGV)
        with pytest.raises(BadPicture, match="damaged"):
            call.result(PLENTY)
        assert own.reduced(saved(Image.new("RGB", (64, 64))), 0, 0, Cancellation()).size == (64, 64)


def test_a_child_that_is_killed_is_not_the_pictures_fault() -> None:
    """Where memory is short, the kernel kills what it likes, idle or not, whoever's picture it has."""
    small = saved(Image.new("RGB", (64, 64)))
    with Decoder(LIMIT, PLENTY) as own, ThreadPoolExecutor(1) as threads:
        known = {one.pid for one in children()}
        own.reduced(small, 0, 0, Cancellation())
        [idle] = [one for one in children() if one.pid not in known]
        os.kill(idle.pid, signal.SIGKILL)
        until(lambda: not _alive(idle.pid), PLENTY)  # one that isn't dead yet would be given the image: one try of two
        call = threads.submit(own.reduced, large(30), 0, 0, Cancellation())
        first = at_work(known | {idle.pid})
        os.kill(first.pid, signal.SIGKILL)
        assert call.result(PLENTY).size == (7000, 7000)
    with Decoder(LIMIT, PLENTY) as own, ThreadPoolExecutor(1) as threads:
        known = {one.pid for one in children()}
        call = threads.submit(own.reduced, large(), 0, 0, Cancellation())
        for _ in range(2):
            child = at_work(known)
            known.add(child.pid)
            os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(BadPicture, match="too much memory"):
            call.result(PLENTY)
        assert own.reduced(small, 0, 0, Cancellation()).size == (64, 64)


def test_time_and_memory_have_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    with Decoder(LIMIT, 1) as hasty, pytest.raises(BadPicture, match="too long to decode"):
        hasty.reduced(large(), 0, 0, Cancellation())
    monkeypatch.setattr("tintype.media.decoder.MEMORY_PER_PIXEL", 0)
    with Decoder(LIMIT, PLENTY) as small:
        with pytest.raises(BadPicture, match=r"too much memory|damaged"):
            small.reduced(saved(Image.new("RGBA", (7000, 7000)), compress_level=1), 0, 0, Cancellation())
        assert small.reduced(saved(Image.new("RGB", (64, 64))), 0, 0, Cancellation()).size == (64, 64)


def test_a_child_has_nothing_of_its_parent(decoder: Decoder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No secret, and no file or socket that it could write to."""
    monkeypatch.setenv("TINTYPE_STORAGE_SECRET", "hush")
    with (tmp_path / "open").open("w") as file, Decoder(LIMIT, PLENTY) as own:
        os.set_inheritable(file.fileno(), True)
        known = {one.pid for one in children()}
        own.reduced(saved(Image.new("RGB", (64, 64))), 0, 0, Cancellation())
        [child] = [one for one in children() if one.pid not in known]
        assert [*child.environ()] == ["PYTHONPATH"]
        assert not child.open_files()
        assert child.nice() > psutil.Process().nice()


ORPHAN = """
import sys, threading, time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any
from PIL import Image

import psutil
from tintype.media.decoder import Decoder
from tintype.media.network import Cancellation

one, other = Decoder(50_000_000, 60), Decoder(50_000_000, 60)
one.reduced(Path(sys.argv[1]).read_bytes(), 0, 0, Cancellation())
[idle] = psutil.Process().children()
bomb = Path(sys.argv[2]).read_bytes()
threading.Thread(target=other.reduced, args=(bomb, 0, 0, Cancellation()), daemon=True).start()
while not (busy := [one for one in psutil.Process().children() if one != idle and one.cpu_times().user > 0.3]):
    time.sleep(0.02)
print(idle.pid, busy[0].pid, flush=True)
sys.stdin.read()
"""


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    """Killed, so that it can't tell them: one with an image in hand, one without."""
    small, bomb = tmp_path / "small", tmp_path / "bomb"
    small.write_bytes(saved(Image.new("RGB", (64, 64))))
    bomb.write_bytes(large())
    command = [sys.executable, "-c", ORPHAN, str(small), str(bomb)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        parent.kill()
    until(lambda: not any(_alive(pid) for pid in pids), PLENTY)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_children_ignore_what_is_meant_for_the_worker(decoder: Decoder) -> None:
    """Ctrl+C, or a service's end: the worker finishes what it has."""
    decoder.reduced(saved(Image.new("RGB", (64, 64))), 0, 0, Cancellation())
    for child in children():
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(child.pid, number)
    pids = {one.pid for one in children()}
    assert decoder.reduced(saved(Image.new("RGB", (64, 64))), 0, 0, Cancellation()).size == (64, 64)
    assert {one.pid for one in children()} == pids


def test_calls_at_the_same_time_have_a_child_each(decoder: Decoder) -> None:
    gate = threading.Barrier(3)

    def call(shade: int) -> tuple[int, ...]:
        gate.wait(PLENTY)
        decoded = decoder.reduced(saved(Image.new("RGB", (64, 64), (shade, 0, 0))), 0, 0, Cancellation())
        return decoded.image.getpixel((0, 0))  # type: ignore[return-value]

    with ThreadPoolExecutor(3) as threads:
        for _ in range(5):
            assert [*threads.map(call, (1, 2, 3))] == [(1, 0, 0), (2, 0, 0), (3, 0, 0)]
