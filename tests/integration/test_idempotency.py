"""What is sent again with its Idempotency-Key, after a restart and after the end of its record.

The rest of what an Idempotency-Key means is in tests/acceptance/contract/test_idempotency.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.acceptance.contract.test_idempotency import ONCE, replayed, told
from tests.acceptance.test_http_helpers import TEXT, quick
from tests.integration.website import Website, serving


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    with serving(tmp_path) as site:
        yield site


def test_a_submit_is_answered_alike_after_a_restart(site: Website, tmp_path: Path) -> None:
    body = quick(x=1, seed=-1)
    with site.http() as http:
        first = http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
    site.complete(site.claim())
    with serving(tmp_path) as restarted, restarted.http(site.secret) as http:
        elsewhere = http.post(f"/v2/{TEXT}", json=body, headers=ONCE)
    assert told(elsewhere) == told(first)
    assert replayed(elsewhere)


def test_a_key_is_free_again_when_the_record_is_over(site: Website) -> None:
    with site.http() as http:
        first = http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE)
        site.complete(site.claim())
        site.own.store.db.move_clock(site.own.runtime.settings.retention.record_ttl)
        again = http.post(f"/v2/{TEXT}", json=quick(), headers=ONCE)
    assert not replayed(again)
    assert again.json()["request_id"] != first.json()["request_id"]


def test_the_vendor_s_addresses_have_no_query(site: Website) -> None:
    """As before other APIs came, to which a query means something."""
    with site.http() as http:
        answers = [http.post(f"/v2/{TEXT}{query}", json=quick(), headers=ONCE) for query in ("", "?a=1", "?a=2")]
    assert len({answer.json()["request_id"] for answer in answers}) == 1
