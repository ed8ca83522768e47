"""Logs: one line per event, as JSON or for a terminal, never with a key or a prompt; an outage is a few lines."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, TextIO

import structlog

from tintype import __version__

log = structlog.get_logger()

#: Seconds without a failure after which an outage is over: during one, some calls may succeed by chance.
QUIET = 2.0
#: Seconds between two lines during an outage.
REMIND = 60.0


class Lines:
    """Writes lines; one that can't be written, to a full disk or a closed pipe, is dropped, as `logging` does.

    Logging must not raise: many lines are about what has just been committed.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        """Write a line, with its end in one call: `print` makes two, between which another thread's line may come."""
        with suppress(OSError):
            self._file.write(f"{message}\n")
            self._file.flush()

    debug = info = warning = error = exception = critical = fatal = msg


def set_up_logs(*, process: str, level: int = logging.INFO) -> None:
    """Write log lines to stderr, each with the name of the process: plain text on a terminal, else JSON.

    level: lines below it are left out.
    """
    terminal = sys.stderr.isatty()

    def name_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        if terminal:
            event.pop("limits", None)  # twenty numbers at start, too many for a terminal
        return event

    prepare: list[structlog.typing.Processor] = [
        # Bound by the caller: the request's id, for code that knows no requests.
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        *([] if terminal else [structlog.processors.format_exc_info]),
    ]
    # A plain traceback: the fancy one shows local variables, prompts among them.
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if terminal
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[*prepare, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: Lines(sys.stderr),
    )
    # The same format for libraries' warnings, such as an exporter's whose collector is away.
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(
            structlog.stdlib.ProcessorFormatter(foreign_pre_chain=prepare, processors=processors)
        )


@contextmanager
def command_logs(process: str, verbose: bool) -> Iterator[None]:
    """Within the block, log warnings as `set_up_logs` does; with `verbose`, all lines."""
    before = structlog.get_config()
    set_up_logs(process=process, level=logging.INFO if verbose else logging.WARNING)
    try:
        yield
    finally:
        structlog.configure(**before)


def log_start(**about: Any) -> None:
    """Log that a process has started, with its version and what it was started with."""
    log.info("started", version=__version__, host=socket.gethostname(), pid=os.getpid(), **about)


class ProcessLog:
    """Logs a process's start and, at the block's end, why and after how long it stopped."""

    def __init__(self, **about: Any) -> None:
        self._about = about
        self._began = time.monotonic()
        self._reason = "done"

    def __enter__(self) -> ProcessLog:
        log_start(**self._about)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        reason = kind.__name__ if kind else self._reason
        log.info("stopped", reason=reason, seconds=round(time.monotonic() - self._began, 1))

    def stopping(self, reason: str | int) -> None:
        """Set why it stops: in words, or a signal's number; the first reason counts."""
        if self._reason == "done":
            self._reason = signal.Signals(reason).name if isinstance(reason, int) else reason


class Outage:
    """Logs an outage in a few lines, however many calls fail: its begin, a count every REMIND seconds, and its end.

    begun, over: the lines' events; about: further fields of each. Safe to share between threads.
    """

    def __init__(self, begun: str, over: str, clock: Callable[[], float] = time.monotonic, **about: object) -> None:
        self._about = about
        self._begun = begun
        self._over = over
        self._clock = clock
        self._lock = threading.Lock()
        self._since: float | None = None
        self._failed = self._logged = 0.0
        self._times = 0

    @property
    def lasts(self) -> bool:
        """Whether it has begun, and isn't known to be over."""
        return self._since is not None

    def failed(self, cause: str) -> None:
        """A call failed."""
        with self._lock:
            self._failed = now = self._clock()
            self._times += 1
            if self._since is None:
                self._since = self._logged = now
                log.warning(self._begun, **self._about, cause=cause)
            elif now - self._logged >= REMIND:
                self._logged = now
                self._count(self._begun, now, cause=cause)

    def succeeded(self) -> None:
        """A call succeeded."""
        if self._since is None:  # nearly always: without the lock
            return
        with self._lock:
            now = self._clock()
            if self._since is not None and now - self._failed >= QUIET:
                self._count(self._over, now)
                self._since, self._times = None, 0

    def _count(self, words: str, now: float, **cause: str) -> None:
        seconds = round(now - (now if self._since is None else self._since))
        log.warning(words, **self._about, **cause, times=self._times, seconds=seconds)
