"""Decoding in sandboxed child processes: whatever a file does to a decoder is limited, cancellable, and contained.

`python -m tintype.media.decoder` is the child. It has none of its parent's secrets, descriptors or memory, a limit of
CPU time per image and one of memory, and ends with its parent. It returns the image in the size that a model takes, not
in the file's.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self, get_args

from PIL import Image

from tintype.core import Fit, Size
from tintype.errors import BadPicture
from tintype.media.images import CUT_SHORT, decode, digest
from tintype.media.scaling import fit, output_size

if TYPE_CHECKING:
    from tintype.media.network import Cancellation  # which children do without: it brings httpcore

#: Max bytes of a child's address space: base, and per pixel of the largest allowed image. An image with transparency
#: is decoded into two canvases (WebP), a copy and the result, of 4 bytes each. Measured at 50 megapixels: at most
#: 905 MB of address space, 815 MB of memory; most formats take half of it.
BASE_MEMORY, MEMORY_PER_PIXEL = 2**28, 16
#: Lower priority than the machine's main work, the denoising.
NICENESS = 10
#: Timeout in seconds per second of CPU time: the machine may be busy with other work.
WALL_PER_CPU = 4
#: Max decodings of an image whose child is killed from outside: where memory is short, the kernel chooses a victim.
TRIES = 2
#: Timeout of a child's start, in seconds.
START_TIMEOUT = 60.0
#: A child's first byte: any failure after it is due to the file.
READY = b"+"
TOO_LONG = "the image takes too long to decode; save it anew, or smaller"
TOO_MUCH = "the image takes too much memory to decode; send it smaller"


class DecodeJob(NamedTuple):
    """Sent to a child before the file's bytes."""

    #: Bytes of the file.
    length: int
    #: Size in pixels to return; 0 × 0 for the size that a model takes for an image of this size.
    width: int
    height: int
    #: Of a mask: the size in pixels of the image that it lies on; else 0 × 0.
    over_width: int = 0
    over_height: int = 0
    #: How it is fitted: its place in FITS.
    fit: int = 0

    @property
    def over(self) -> Size | None:
        return (self.over_width, self.over_height) if self.over_width else None


JOB_HEAD, ANSWER_HEAD = struct.Struct("!QIIIIB"), struct.Struct("!II")
FITS: tuple[Fit, ...] = get_args(Fit)


class Decoded(NamedTuple):
    """An input image as a model takes it."""

    #: RGB, in the size that the job names.
    image: Image.Image
    #: Pixels of the file's image.
    size: Size
    #: `images.digest` of all its pixels.
    digest: str
    #: The file, where it may carry C2PA manifests, which what is made of it keeps.
    carrier: bytes | None = None


def reduced(
    data: bytes, max_pixels: int, width: int = 0, height: int = 0, over: Size | None = None, how: Fit = "cover"
) -> Decoded:
    """Decode in this process, and fit to a size, 0 × 0 being the size that a model takes; raises BadPicture.

    over: of a mask, the size of the image that it lies on: it is scaled to that first, and black where transparent.
    """
    image = decode(data, max_pixels, "black" if over else "white")
    laid = image.convert("L").resize(over).convert("RGB") if over and over != image.size else image
    return Decoded(fit(laid, *output_size(width, height, laid.size), how), image.size, digest(image))


class Decoder:
    """A pool of as many child processes as there are concurrent calls; safe to share between threads.

    max_pixels: of an image. seconds: CPU time that decoding one may take.
    """

    def __init__(self, max_pixels: int, seconds: float) -> None:
        self.max_pixels = max_pixels
        self._seconds = seconds
        self._memory = BASE_MEMORY + MEMORY_PER_PIXEL * max_pixels
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the idle children; the others end with their image."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def warm(self) -> None:
        """Start a child for the next call, which takes a fifth of a second; raises RuntimeError."""
        self._put(self._take())

    def reduced(
        self,
        data: bytes,
        width: int,
        height: int,
        cancellation: Cancellation,
        over: Size | None = None,
        how: Fit = "cover",
    ) -> Decoded:
        """The function `reduced`, in a child. Raises BadPicture, also when the child crashes or reaches a limit.

        When cancelled, from another thread, it kills the child and raises CancelledError immediately.
        """
        job = DecodeJob(len(data), width, height, *(over or (0, 0)), FITS.index(how))
        for _ in range(TRIES):
            try:
                return self._decoded(data, job, cancellation)
            except _Killed as error:
                cause = error
        raise BadPicture(TOO_MUCH) from cause

    def _decoded(self, data: bytes, job: DecodeJob, cancellation: Cancellation) -> Decoded:
        cancellation.check()
        child = self._take()
        try:
            with cancellation.interrupting(child.kill):
                decoded = child.reduced(data, job)
        except BadPicture:
            self._put(child)
            raise
        except BaseException:
            child.end()
            raise
        self._put(child)
        return decoded

    def _take(self) -> _Child:
        """An idle child that is alive, else a new one."""
        with self._lock:
            while self._idle:
                if (child := self._idle.pop()).alive:
                    return child
                child.end()
        return _Child(self._memory, self.max_pixels, self._seconds)

    def _put(self, child: _Child) -> None:
        with self._lock:
            if child.alive and not self._closed:
                self._idle.append(child)
                return
        child.end()


class _DecoderFailed(Exception):
    """The cause, for the log."""


class _Killed(Exception):
    """A child was killed, not by its parent."""


class _Child:
    """The parent's side of a child; raises RuntimeError when it can't be started."""

    def __init__(self, memory: int, max_pixels: int, seconds: float) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._timeout = WALL_PER_CPU * seconds
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "tintype.media.decoder", str(memory), str(max_pixels), str(seconds)],
                # Held open only by this process: the child ends with it.
                stdin=subprocess.PIPE,
                stdout=theirs.fileno(),
                # Libraries write warnings about files to it, in lines that aren't the log's.
                stderr=subprocess.DEVNULL,
                # The import path, and no other variable of this process.
                env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        try:
            started = _received(ours, len(READY), time.monotonic() + START_TIMEOUT) == READY
        except (OSError, EOFError):
            started = False
        if not started:
            self.end()
            raise RuntimeError("a decoder can't be started")

    @property
    def alive(self) -> bool:
        """Whether it can decode another image."""
        return self._process.poll() is None and self._channel.fileno() >= 0

    def reduced(self, data: bytes, job: DecodeJob) -> Decoded:
        """See Decoder; it ends when it crashes or takes too long. Raises _Killed when it is killed."""
        end = time.monotonic() + self._timeout
        try:
            self._channel.settimeout(self._timeout)
            self._channel.sendall(JOB_HEAD.pack(*job))
            self._channel.sendall(data)
            length, pixels = ANSWER_HEAD.unpack(_received(self._channel, ANSWER_HEAD.size, end))
            answer = json.loads(_received(self._channel, length, end))
            if answer["error"]:
                raise BadPicture(answer["error"]) from (_DecoderFailed(answer["cause"]) if answer["cause"] else None)
            image = Image.frombytes("RGB", tuple(answer["fitted"]), bytes(_received(self._channel, pixels, end)))
            return Decoded(image, tuple(answer["size"]), answer["digest"])
        except TimeoutError as error:
            self.end()
            raise BadPicture(TOO_LONG) from error
        except (OSError, EOFError) as error:
            code = self.end()
            if code == -signal.SIGKILL:
                raise _Killed(repr(error)) from error
            words = TOO_LONG if code == -signal.SIGXCPU else CUT_SHORT
            raise BadPicture(words) from _DecoderFailed(f"exit code {code}, {error!r}")

    def kill(self) -> None:
        """End it immediately; may be called from any thread."""
        self._process.kill()

    def end(self) -> int:
        """End it; its exit code, negative for the signal that it died of."""
        self._channel.close()
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        try:
            return self._process.wait(0.2)  # dead or idle, it ends by itself
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _received(channel: socket.socket, count: int, end: float | None) -> bytearray:
    """`count` bytes; raises EOFError, OSError, and TimeoutError at `end` of the monotonic clock."""
    received = bytearray(count)
    view = memoryview(received)
    while view:
        channel.settimeout(None if end is None else max(0.001, end - time.monotonic()))
        if not (got := channel.recv_into(view)):
            raise EOFError
        view = view[got:]
    return received


# The child


def main() -> None:
    """Decode images, one at a time, for the parent at the other end of stdin and stdout."""
    channel = socket.socket(fileno=os.dup(1))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # for the worker, which finishes its requests first
    os.nice(NICENESS)
    memory, max_pixels, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    Image.preinit()  # the first image waits for no imports
    channel.sendall(READY)
    while True:
        try:
            job = DecodeJob(*JOB_HEAD.unpack(_received(channel, JOB_HEAD.size, None)))
        except EOFError:
            return
        data = bytes(_received(channel, job.length, None))
        _limit_cpu(seconds)
        answer, pixels = _answer(data, max_pixels, job)
        words = json.dumps(answer).encode()
        channel.sendall(ANSWER_HEAD.pack(len(words), len(pixels)) + words)
        channel.sendall(pixels)


def _answer(data: bytes, max_pixels: int, job: DecodeJob) -> tuple[dict[str, Any], bytes]:
    try:
        decoded = reduced(data, max_pixels, job.width, job.height, job.over, FITS[job.fit])
    except BadPicture as error:
        return {"error": error.message, "cause": error.__cause__ and repr(error.__cause__)}, b""
    except MemoryError as error:
        return {"error": TOO_MUCH, "cause": repr(error)}, b""
    except Exception as error:  # noqa: BLE001 - any other error of Pillow's readers is due to the file
        return {"error": CUT_SHORT, "cause": repr(error)}, b""
    answer = {"error": "", "size": decoded.size, "fitted": decoded.image.size, "digest": decoded.digest}
    return answer, decoded.image.tobytes()


def _limit_cpu(seconds: float) -> None:
    """Have SIGXCPU end this process after that many more seconds of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _end_with_parent() -> None:
    os.read(0, 1)  # returns only at the end: the parent sends nothing
    os._exit(1)


if __name__ == "__main__":
    main()
