"""What callers are told, and the log, while the database is away: true words of every route, and few lines for all."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs
from tests.integration.website import Website, serving

from tintype.errors import StoreUnavailable
from tintype.telemetry import logs


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture(autouse=True)
def _each_test_is_alone(site: Website, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Its outage ends with it, and so do its requests."""
    monkeypatch.setattr(logs, "QUIET", 0.0)
    yield
    site.cancel_all()


@contextmanager
def refusing(site: Website, *ways: str | None) -> Iterator[None]:
    """What these ways of change begin with fails: `write`, `note`; None is all other statements."""

    def refuse(connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        begins = (
            {"FULL": "write", "NORMAL": "note"}[connection.info["synchronous"]] if "IMMEDIATE" in statement else None
        )
        if begins in ways:
            error = sqlite3.OperationalError("unable to open database file")
            error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN
            raise OperationalError("BEGIN", None, error)

    event.listen(site.own.store.db._engine, "before_cursor_execute", refuse)
    try:
        yield
    finally:
        event.remove(site.own.store.db._engine, "before_cursor_execute", refuse)


def every_call(site: Website, http: httpx2.Client, id: str) -> dict[str, httpx2.Response]:
    """One answer of each route, with nothing in its body."""
    answers = {}
    for route in site.app.routes:
        path = re.sub(r"\{\w+(:\w+)?\}", id, route.path)
        for method in sorted(route.methods - {"HEAD"}):
            answers[f"{method} {route.path}"] = http.request(method, path)
    return answers


def test_of_every_route_the_words_are_true_and_the_log_stays_short(
    site: Website, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the server's own loops had begun before may succeed in the midst of it.
    monkeypatch.setattr(logs, "QUIET", 60.0)
    _, boss = site.own.store.accounts.keys.create(site.account_id, "boss", operator=True)
    request = site.submit()
    with site.http(boss) as http, refusing(site, None, "write", "note"), capture_logs() as lines:
        answers = every_call(site, http, request.id)
    refused = {
        route: answer for route, answer in answers.items() if answer.status_code == 503 and route != "GET /ready"
    }
    assert len(refused) > 30, refused.keys()
    assert {"GET /metrics", "GET /v2/requests/{request_id}/status", "DELETE /v2/requests/{request_id}"} <= set(refused)
    for answer in refused.values():
        assert answer.headers["retry-after"] == "2"
        # Errors of other hosts' APIs have no place for it.
        words = answer.json().get("error_description", StoreUnavailable.advice)
        assert words == StoreUnavailable.advice
    assert "this call has queued and charged nothing" in StoreUnavailable.advice
    assert "queued and running requests are not affected" in StoreUnavailable.advice
    assert [line["event"] for line in lines] == ["database unavailable"]
    assert lines[0]["cause"] == "its file can't be opened: unable to open database file"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/stable-diffusion-3.5-turbo-txt2img", {"prompt": "a fox"}),
        ("POST", "/v1/stable-diffusion-3.5-turbo-txt2img", {"prompt": "a fox"}),
        ("DELETE", "/v2/requests/{id}", None),
        ("POST", "/v2/keys", {"name": "x"}),
    ],
)
def test_what_can_be_read_and_not_changed(site: Website, method: str, path: str, body: dict[str, str] | None) -> None:
    request = site.submit()
    with site.http() as http:
        with refusing(site, "write"):
            answer = http.request(method, path.format(id=request.id), json=body)
            assert http.get(f"/v2/requests/{request.id}/status").json()["status"] == "QUEUED"
        assert answer.status_code == 503
        assert answer.json()["error_description"] == StoreUnavailable.advice
    assert site.own.store.queue.depth()[0] == 1, "it has queued nothing, and what is queued goes on"
