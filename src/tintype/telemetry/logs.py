"""Logs: one line per event, as JSON or for a person, never with a key or a prompt."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog


def set_up_logs(*, process: str) -> None:
    """Write log lines to stderr, each with the name of the process: for a person on a terminal, else JSON."""
    terminal = sys.stderr.isatty()

    def name_process(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    about: list[structlog.typing.Processor] = [
        # What whoever began the work has bound: the request's id, for those who know of no requests.
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
        processors=[*about, render],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    # What libraries warn of looks no different: an exporter whose collector is away, say.
    own = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, render]
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=about, processors=own))
