"""What a real server's worker counts reaches `/metrics`; and what the processes log has ids and nothing private."""

from __future__ import annotations

import json

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.acceptance.harness import KEY, Server, until
from tests.acceptance.test_http_helpers import TEXT, quick, result, submit

PROMPT = "a fox in a very private forest"
STAGES = ("queue", "encode", "denoise", "decode", "deliver")


def told(http: httpx2.Client) -> dict[tuple[str, str], float]:
    """Values by sample and stage, all models together."""
    values: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(http.get("/metrics").text):
        for one in family.samples:
            key = one.name, one.labels.get("stage", "")
            values[key] = values.get(key, 0) + one.value
    return values


def test_a_request_is_counted_from_the_queue_to_its_charge(server: Server) -> None:
    http = server.http()
    before = told(http)
    result(http, submit(http, TEXT, quick(prompt=PROMPT)))

    def gained(name: str, stage: str = "") -> float:
        return told(http).get((name, stage), 0) - before.get((name, stage), 0)

    # The worker tells with its next heartbeat; what other tests left on this server may be counted as late.
    until(lambda: all(gained("tintype_stage_runs_total", stage) >= 1 for stage in STAGES))
    assert gained("tintype_forward_passes_total") >= 2
    assert gained("tintype_stage_seconds_total", "denoise") > 0
    assert gained("tintype_prompt_cache_total") >= 1
    assert gained("tintype_worker_transactions_total") >= 1
    assert gained("tintype_worker_transaction_seconds_total") > 0
    assert gained("tintype_database_transaction_seconds_count") >= 1
    assert told(http)["tintype_worker_versions", ""] >= 1
    assert min(gained("tintype_requests_total"), gained("tintype_charges_total")) >= 1
    assert told(http)["tintype_missed_charges_total", ""] == 0
    assert told(http)["tintype_worker_memory_bytes", ""] > 0


def test_logs_name_requests_and_hold_nothing_private(server: Server) -> None:
    http = server.http()
    request = submit(http, TEXT, quick(prompt=PROMPT))
    result(http, request)
    text = server.log.read_text()
    assert PROMPT not in text
    assert KEY not in text
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert {"process", "level", "timestamp", "event"} <= set.intersection(*(set(line) for line in lines))
    [queued] = [line for line in lines if line.get("request") == request and line["event"] == "queued"]
    assert (queued["model"], queued["process"]) == (TEXT, "web")
