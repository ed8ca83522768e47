"""Server-sent events as a client reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2


@dataclass(frozen=True)
class Event:
    """One event; a comment has a name of its own and no id."""

    id: str
    name: str
    data: dict[str, Any]


@contextmanager
def following(http: httpx2.Client, request_id: str, last: str = "") -> Iterator[Iterator[Event]]:
    """The events of a request, as they come."""
    headers = {"last-event-id": last} if last else {}
    with http.stream("GET", f"/v2/requests/{request_id}/events", headers=headers) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _parsed(response.iter_lines())


def told(http: httpx2.Client, request_id: str, last: str = "") -> list[Event]:
    """All events to the end of the stream, comments left out."""
    with following(http, request_id, last) as events:
        return [event for event in events if event.name != "comment"]


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name or "comment"] = value
            continue
        if "comment" in fields:
            yield Event("", "comment", {})
        else:
            yield Event(fields["id"], fields["event"], json.loads(fields["data"]))
        fields = {}
