"""Decoding in child processes: whatever a file does to a decoder is bounded, can be stopped, and stays there.

`python -m tintype.media.decoder` is the child. It has none of its parent's secrets, descriptors or memory, a limit of
CPU time per image and one of memory, and ends with its parent. What comes back is as large as a model takes it, not as
large as the file's image.
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
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from PIL import Image

from tintype.errors import BadPicture
from tintype.media.images import CUT_SHORT, decode, digest
from tintype.media.scaling import fit, output_size

if TYPE_CHECKING:
    from tintype.media.network import Cancellation  # which children do without: it brings httpcore

#: Bytes that a child may take of itself, and per pixel of the largest image that may be sent: an image with
#: transparency is decoded into two canvases (WebP), a copy and the result, of 4 bytes each. Measured at 50 megapixels:
#: at most 905 MB of address space, 815 MB of memory; most formats take half of it.
BASE_MEMORY, MEMORY_PER_PIXEL = 2**28, 16
#: Below the work that the machine is there for: decoding may wait for it, not the other way round.
NICENESS = 10
#: Seconds of the clock for each of CPU time: the machine may be busy with other things.
PATIENCE = 4
#: How often an image is decoded whose child is killed from outside: where memory is short, the kernel chooses whom.
TRIES = 2
#: Seconds that a child may take to start.
STARTING = 60.0
#: What a child says first: any failure after it is the file's.
READY = b"+"
TOO_LONG = "the picture takes too long to decode; save it anew, or smaller"
TOO_MUCH = "the picture takes too much memory to decode; send it smaller"


class ImageSpec(NamedTuple):
    """What a child is told before the file's bytes."""

    length: int
    #: Width and height that are wanted; 0 and 0 for those that a model takes for an image of this size.
    width: int
    height: int


JOB, ANSWER = struct.Struct("!QII"), struct.Struct("!II")


class Decoded(NamedTuple):
    """An input image as a model takes it."""

    #: RGB, in the size that was wanted.
    image: Image.Image
    #: Width and height in pixels that it had.
    size: tuple[int, int]
    #: Of all its pixels, as `images.digest` gives it.
    digest: str


def reduced(data: bytes, max_pixels: int, width: int = 0, height: int = 0) -> Decoded:
    """Decode in this process, and fit to a size, or to that which a model takes; raises BadPicture."""
    image = decode(data, max_pixels)
    return Decoded(fit(image, *output_size(width, height, image.size)), image.size, digest(image))


class Decoder:
    """As many child processes as there are calls at the same time; safe to share between threads.

    max_pixels: most pixels of an image. seconds: CPU time that decoding one may take.
    """

    def __init__(self, max_pixels: int, seconds: float) -> None:
        self._max_pixels = max_pixels
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
        """End the children that are idle; the others end with their image."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def reduced(self, data: bytes, width: int, height: int, cancellation: Cancellation) -> Decoded:
        """As the function, in a child. Raises BadPicture, also when the child crashes or reaches a limit.

        Raises CancelledError as soon as it is cancelled, from another thread: the child is killed then.
        """
        job = ImageSpec(len(data), width, height)
        for _ in range(TRIES):
            try:
                return self._decoded(data, job, cancellation)
            except _Killed as error:
                cause = error
        raise BadPicture(TOO_MUCH) from cause

    def _decoded(self, data: bytes, job: ImageSpec, cancellation: Cancellation) -> Decoded:
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
        """One that is idle and lives, else a new one."""
        with self._lock:
            while self._idle:
                if (child := self._idle.pop()).lives:
                    return child
                child.end()
        return _Child(self._memory, self._max_pixels, self._seconds)

    def _put(self, child: _Child) -> None:
        with self._lock:
            if child.lives and not self._closed:
                self._idle.append(child)
                return
        child.end()


class _DecoderFailed(Exception):
    """Why, for the log."""


class _Killed(Exception):
    """A child was killed, and not by its parent."""


class _Child:
    """A child as its parent has it; raises RuntimeError when it can't be started."""

    def __init__(self, memory: int, max_pixels: int, seconds: float) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._timeout = PATIENCE * seconds
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", "tintype.media.decoder", str(memory), str(max_pixels), str(seconds)],
                # Held open by this process alone: the child ends with it.
                stdin=subprocess.PIPE,
                stdout=theirs.fileno(),
                # Where libraries complain of files, in lines that are no log's.
                stderr=subprocess.DEVNULL,
                # What this process imports, and nothing else that it knows.
                env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            )
        try:
            started = _received(ours, len(READY), time.monotonic() + STARTING) == READY
        except (OSError, EOFError):
            started = False
        if not started:
            self.end()
            raise RuntimeError("a decoder can't be started")

    @property
    def lives(self) -> bool:
        """Whether it can be given another image."""
        return self._process.poll() is None and self._channel.fileno() >= 0

    def reduced(self, data: bytes, job: ImageSpec) -> Decoded:
        """See Decoder; once it has crashed or taken too long, it lives no more. Raises _Killed when it is killed."""
        end = time.monotonic() + self._timeout
        try:
            self._channel.settimeout(self._timeout)
            self._channel.sendall(JOB.pack(*job))
            self._channel.sendall(data)
            length, pixels = ANSWER.unpack(_received(self._channel, ANSWER.size, end))
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
        """Have it end at once, whatever it does; may be called from any thread."""
        self._process.kill()

    def end(self) -> int:
        """Its exit code, negative for the signal that it died of."""
        self._channel.close()
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.close()
        try:
            return self._process.wait(0.2)  # it may be dead, or have nothing to do, and say so itself
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _received(channel: socket.socket, count: int, end: float | None) -> bytearray:
    """So many bytes by a moment of the monotonic clock, or whenever; raises EOFError, TimeoutError, OSError."""
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
    """Decode one image after the other for the parent, which is at the other end of stdin and stdout."""
    channel = socket.socket(fileno=os.dup(1))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they mean the worker, which finishes what it has
    os.nice(NICENESS)
    memory, max_pixels, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    channel.sendall(READY)
    while True:
        try:
            job = ImageSpec(*JOB.unpack(_received(channel, JOB.size, None)))
        except EOFError:
            return
        data = bytes(_received(channel, job.length, None))
        _limit_cpu(seconds)
        answer, pixels = _answer(data, max_pixels, job)
        words = json.dumps(answer).encode()
        channel.sendall(ANSWER.pack(len(words), len(pixels)) + words)
        channel.sendall(pixels)


def _answer(data: bytes, max_pixels: int, job: ImageSpec) -> tuple[dict[str, Any], bytes]:
    try:
        decoded = reduced(data, max_pixels, job.width, job.height)
    except BadPicture as error:
        return {"error": error.message, "cause": error.__cause__ and repr(error.__cause__)}, b""
    except MemoryError as error:
        return {"error": TOO_MUCH, "cause": repr(error)}, b""
    except Exception as error:  # noqa: BLE001 - whatever a reader raises that nobody has met, it is the file's doing
        return {"error": CUT_SHORT, "cause": repr(error)}, b""
    about = {"error": "", "size": decoded.size, "fitted": decoded.image.size, "digest": decoded.digest}
    return about, decoded.image.tobytes()


def _limit_cpu(seconds: float) -> None:
    """Die of SIGXCPU after so many more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _end_with_parent() -> None:
    """Nothing ever comes but the end."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main()
