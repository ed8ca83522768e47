"""Every denied call, at whichever route, is a log line; one a second per address."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs
from tests.integration.website import Website, serving

from tintype.web import clients


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Website]:
    monkeypatch.setattr(clients, "PAUSE", 0.0)  # a line for each
    monkeypatch.setattr(clients, "MAX_LINES", 1000)
    with serving(tmp_path) as site:
        yield site


def turned_away(site: Website, http: httpx2.Client, status: int) -> list[str]:
    """Routes that answer with this status, each asked once with each of its methods."""
    found = []
    for route in site.app.routes:
        path = re.sub(r"\{\w+(:\w+)?\}", "1234", route.path)
        for method in sorted(route.methods):
            with http.stream(method, path) as answer:
                if answer.status_code == status:
                    found.append(f"{method} {route.path}")
    return found


def test_every_401_and_403_of_every_route_is_told(site: Website) -> None:
    wrong = "SG_" + "f" * 32
    with site.http(wrong) as http, capture_logs() as lines:
        unknown = turned_away(site, http, 401)
    assert len(unknown) > 40
    assert {"GET /metrics", "GET /v2/operator", "GET /v2/requests/{request_id}/events"} <= set(unknown)
    assert [line["event"] for line in lines] == ["authentication failed"] * len(unknown)
    key, secret = site.own.store.accounts.keys.create(site.account_id, "looks", read_only=True)
    with site.http(secret) as http, capture_logs() as lines:
        forbidden = turned_away(site, http, 403)
    assert {"GET /metrics", "POST /v1/sd1.5-img2img", "POST /v2/operator/queue/pause"} <= set(forbidden)
    told = [line for line in lines if line["event"] == "not allowed"]
    assert len(told) == len(forbidden) == len(lines)
    whose = {"client": "127.0.0.1", "account": site.account_id, "key_id": key.id, "key": key.begins}
    assert all(line.items() >= whose.items() for line in told)
    assert secret not in str(lines)
