"""Sandboxed child processes that read strangers' files: what a file does to a library is limited, and contained.

A child has none of its parent's secrets, descriptors or memory, a limit of CPU time per file and one of memory, and
ends with its parent. It is a module that calls `serve` when it is run.
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
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from tintype.errors import BadPicture
from tintype.media.images import CUT_SHORT

if TYPE_CHECKING:
    from tintype.media.network import Cancellation  # which children do without: it brings httpcore

#: Lower priority than the machine's main work, the denoising.
NICENESS = 10
#: Timeout in seconds per second of CPU time: the machine may be busy with other work.
WALL_PER_CPU = 4
#: Max tries of a file whose child is killed from outside: where memory is short, the kernel chooses a victim.
TRIES = 2
#: Timeout of a child's start, in seconds.
START_TIMEOUT = 60.0
#: A child's first byte: any failure after it is due to the file.
READY = b"+"
#: Bytes of a job, in JSON, and of the file that follows it.
JOB_HEAD = struct.Struct("!IQ")
#: Bytes of an answer's JSON, and of what follows that.
ANSWER_HEAD = struct.Struct("!IQ")
TOO_LONG = "the image takes too long to decode; save it anew, or smaller"
TOO_MUCH = "the image takes too much memory to decode; send it smaller"

Json = dict[str, Any]


class Limits(NamedTuple):
    """What a child may use."""

    #: Bytes of address space.
    memory: int
    #: CPU seconds per file.
    seconds: float


class Sandbox:
    """A pool of as many children as there are concurrent calls; safe to share between threads.

    module: what a child runs, with `arguments` of its own. environment: of a child, in addition to the import path.
    """

    def __init__(
        self, module: str, limits: Limits, *arguments: str, environment: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        self._module = module
        self._environment = environment
        self._limits = limits
        self._arguments = arguments
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the idle children; the others end with their file."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def warm(self) -> None:
        """Start a child for the next call, which takes a fifth of a second; raises RuntimeError."""
        self._put(self._take())

    def ask(self, job: Json, data: bytes, cancellation: Cancellation) -> tuple[Json, bytes]:
        """What a child's `answer` returns; raises BadPicture, also when the child crashes or reaches a limit.

        When cancelled, from another thread, it kills the child and raises CancelledError immediately.
        """
        for _ in range(TRIES):
            try:
                return self._answer(job, data, cancellation)
            except _Killed as error:
                cause = error
        raise BadPicture(TOO_MUCH) from cause

    def _answer(self, job: Json, data: bytes, cancellation: Cancellation) -> tuple[Json, bytes]:
        cancellation.check()
        child = self._take()
        try:
            with cancellation.interrupting(child.kill):
                answer = child.ask(job, data)
        except BadPicture:
            self._put(child)
            raise
        except BaseException:
            child.end()
            raise
        self._put(child)
        return answer

    def _take(self) -> _Child:
        """An idle child that is alive, else a new one."""
        with self._lock:
            while self._idle:
                if (child := self._idle.pop()).alive:
                    return child
                child.end()
        return _Child(self._module, self._limits, self._arguments, self._environment)

    def _put(self, child: _Child) -> None:
        with self._lock:
            if child.alive and not self._closed:
                self._idle.append(child)
                return
        child.end()


class _ChildFailed(Exception):
    """The cause, for the log."""


class _Killed(Exception):
    """A child was killed, not by its parent."""


class _Child:
    """The parent's side of a child; raises RuntimeError when it can't be started."""

    def __init__(self, module: str, limits: Limits, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        ours, theirs = socket.socketpair()
        self._channel = ours
        self._timeout = WALL_PER_CPU * limits.seconds
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-m", module, str(limits.memory), str(limits.seconds), *arguments],
                # Held open only by this process: the child ends with it.
                stdin=subprocess.PIPE,
                stdout=theirs.fileno(),
                # Libraries write warnings about files to it, in lines that aren't the log's.
                stderr=subprocess.DEVNULL,
                # The import path, and no other variable of this process.
                env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **environment},
            )
        try:
            started = _received(ours, len(READY), time.monotonic() + START_TIMEOUT) == READY
        except (OSError, EOFError):
            started = False
        if not started:
            self.end()
            raise RuntimeError(f"no child that runs {module} can be started")

    @property
    def alive(self) -> bool:
        """Whether it can take another file."""
        return self._process.poll() is None and self._channel.fileno() >= 0

    def ask(self, job: Json, data: bytes) -> tuple[Json, bytes]:
        """See Sandbox; it ends when it crashes or takes too long. Raises _Killed when it is killed."""
        end = time.monotonic() + self._timeout
        asked = json.dumps(job).encode()
        try:
            self._channel.settimeout(self._timeout)
            self._channel.sendall(JOB_HEAD.pack(len(asked), len(data)) + asked)
            self._channel.sendall(data)
            length, more = ANSWER_HEAD.unpack(_received(self._channel, ANSWER_HEAD.size, end))
            answer = json.loads(_received(self._channel, length, end))
            if answer["error"]:
                raise BadPicture(answer["error"]) from (_ChildFailed(answer["cause"]) if answer["cause"] else None)
            return answer, bytes(_received(self._channel, more, end))
        except TimeoutError as error:
            self.end()
            raise BadPicture(TOO_LONG) from error
        except (OSError, EOFError) as error:
            code = self.end()
            if code == -signal.SIGKILL:
                raise _Killed(repr(error)) from error
            words = TOO_LONG if code == -signal.SIGXCPU else CUT_SHORT
            raise BadPicture(words) from _ChildFailed(f"exit code {code}, {error!r}")

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


def serve(answer: Callable[[Json, bytes], tuple[Json, bytes]], prepare: Callable[[], None]) -> None:
    """Answer jobs, one at a time, for the parent at the other end of stdin and stdout.

    prepare: what the first file needn't wait for. answer: of a job and its file, a record and what goes with it.
    """
    channel = socket.socket(fileno=os.dup(1))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # for the parent, which finishes its requests first
    os.nice(NICENESS)
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare()
    channel.sendall(READY)
    while True:
        try:
            length, size = JOB_HEAD.unpack(_received(channel, JOB_HEAD.size, None))
        except EOFError:
            return
        job = json.loads(_received(channel, length, None))
        data = bytes(_received(channel, size, None))
        _limit_cpu(seconds)
        about, more = _answered(answer, job, data)
        words = json.dumps(about).encode()
        channel.sendall(ANSWER_HEAD.pack(len(words), len(more)) + words)
        channel.sendall(more)


def _answered(answer: Callable[[Json, bytes], tuple[Json, bytes]], job: Json, data: bytes) -> tuple[Json, bytes]:
    try:
        about, more = answer(job, data)
    except BadPicture as error:
        return {"error": error.message, "cause": error.__cause__ and repr(error.__cause__)}, b""
    except MemoryError as error:
        return {"error": TOO_MUCH, "cause": repr(error)}, b""
    except Exception as error:  # noqa: BLE001 - any other error of the libraries is due to the file
        return {"error": CUT_SHORT, "cause": repr(error)}, b""
    return {"error": "", **about}, more


def _limit_cpu(seconds: float) -> None:
    """Have SIGXCPU end this process after that many more seconds of CPU time."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(used.ru_utime + used.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


def _end_with_parent() -> None:
    os.read(0, 1)  # returns only at the end: the parent sends nothing
    os._exit(1)
