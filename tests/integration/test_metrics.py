"""`/metrics` over HTTP: who may read it, in which form, and that several web processes tell the same."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.integration.website import Website, serving

from tintype.errors import StoreUnavailable
from tintype.store.ops.autoscaler import LeaderLease

TURBO = "/v2/stable-diffusion-3.5-turbo-txt2img"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics")


@pytest.fixture(scope="module")
def site(data: Path) -> Iterator[Website]:
    with serving(data) as website:
        yield website


@pytest.fixture(scope="module")
def boss(site: Website) -> Iterator[httpx2.Client]:
    _, secret = site.own.store.accounts.keys.create(site.account_id, "boss", operator=True, read_only=True)
    with httpx2.Client(base_url=site.address, headers={"authorization": f"Bearer {secret}"}, timeout=60) as http:
        yield http


def told(http: httpx2.Client, name: str, **labels: str) -> float:
    """The value of one sample, 0 where there is none; what is told must be what a client of Prometheus can read."""
    answer = http.get("/metrics")
    assert answer.status_code == 200, answer.text
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    return sum(one.value for one in samples if one.name == name and one.labels == labels)


def test_who_may_read_it(site: Website, boss: httpx2.Client) -> None:
    usual = site.app.state.runtime
    with site.http() as customer, httpx2.Client(base_url=site.address, timeout=60) as anybody:
        seen = {}
        for access in ("operator", "open", "off"):
            site.app.state.runtime = replace(usual, settings=usual.settings.replace(metrics=access))
            seen[access] = [http.get("/metrics").status_code for http in (boss, customer, anybody)]
        site.app.state.runtime = usual
    assert seen == {"operator": [200, 403, 401], "open": [200] * 3, "off": [404] * 3}


def test_the_queue_and_its_end(site: Website, boss: httpx2.Client) -> None:
    model = "sd1.5-img2img"
    ended = {"model": model, "outcome": "completed"}
    before = told(boss, "tintype_requests_total", **ended), told(boss, "tintype_charged_dollars_total", model=model)
    site.submit(params={"prompt": "a secret fox"})
    assert told(boss, "tintype_queue_length", model=model) == 1
    assert told(boss, "tintype_queue_age_seconds", model=model) > 0
    claimed = site.claim()
    assert told(boss, "tintype_requests_running", model=model) == 1
    site.complete(claimed)
    assert told(boss, "tintype_requests_total", **ended) - before[0] == 1
    assert told(boss, "tintype_charged_dollars_total", model=model) - before[1] == pytest.approx(0.001)
    assert told(boss, "tintype_workers", state="idle") == 1
    assert told(boss, "tintype_missed_charges_total") == 0
    text = boss.get("/metrics").text
    assert not [private for private in ("fox", site.secret, site.account_id, claimed.id) if private in text]


def test_workers_that_a_fleet_wants(site: Website, boss: httpx2.Client) -> None:
    assert "\ntintype_workers_wanted " not in boss.get("/metrics").text
    lead = LeaderLease(site.own.store.queue._db, "keeper", 15)
    assert lead.take()
    lead.set_wanted(2)
    assert told(boss, "tintype_workers_wanted") == 2
    lead.release()


def test_two_web_processes_tell_the_same_but_for_their_own_refusals(
    site: Website, boss: httpx2.Client, data: Path
) -> None:
    with serving(data) as other, httpx2.Client(base_url=other.address, headers=boss.headers, timeout=60) as there:
        site.submit()
        site.complete(site.claim())
        assert told(boss, "tintype_charges_total", model="sd1.5-img2img") >= 1
        for name in ("tintype_charges_total", "tintype_queue_length"):
            assert told(boss, name, model="sd1.5-img2img") == told(there, name, model="sd1.5-img2img")
        before = [told(http, "tintype_refusals_total", reason="InvalidParameter") for http in (boss, there)]
        with site.http() as customer:
            bad = {"prompt": "a fox", "steps": -1}
            assert customer.post(TURBO, json=bad).status_code == 400
        after = [told(http, "tintype_refusals_total", reason="InvalidParameter") for http in (boss, there)]
        assert (after[0] - before[0], after[1] - before[1]) == (1, 0)
        assert told(there, "tintype_refusals_total", reason="RequestUnknown") == 0
        with other.http(site.secret) as customer:
            assert customer.get("/v2/requests/1234/status").status_code == 404
        assert told(there, "tintype_refusals_total", reason="RequestUnknown") == 1


def test_log_lines_name_the_request_and_its_prompt_only_where_the_operator_wants_that(site: Website) -> None:
    usual = site.app.state.runtime
    lines = {}
    with site.http() as http:
        for wanted in (False, True):
            site.app.state.runtime = replace(usual, settings=usual.settings.replace(log_prompts=wanted))
            with capture_logs() as logged:
                answer = http.post(TURBO, json={"prompt": "a secret fox"})
            [line] = [line for line in logged if line["event"] == "queued"]
            assert line["request"] == answer.json()["request_id"]
            assert site.secret not in str(logged)
            lines[wanted] = "a secret fox" in str(logged)
            http.delete(f"/v2/requests/{line['request']}")
    site.app.state.runtime = usual
    assert lines == {False: False, True: True}


def test_open_metrics_for_who_asks(boss: httpx2.Client) -> None:
    answer = boss.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    strict = [*openmetrics.text_string_to_metric_families(answer.text)]
    assert {family.type for family in strict} >= {"counter", "gauge", "histogram", "info"}
    counters = {one.name for family in strict if family.type == "counter" for one in family.samples}
    assert {name for name in counters if not name.endswith(("_total", "_created"))} == set()
    assert [family.name for family in strict if not family.documentation] == []


def sent(site: Website, *head: str, body: bytes = b"") -> bytes:
    """How the answer to this begins, which no HTTP client would send."""
    lines = (*head, "host: a", f"x-api-key: {site.secret}", "content-type: application/json", "", "")
    with socket.create_connection(("127.0.0.1", int(site.address.rpartition(":")[2]))) as one:
        one.sendall("\r\n".join(lines).encode() + body)
        return one.recv(65536)


def answers(site: Website) -> dict[tuple[str, str, str], float]:
    """How many this process gave, by route, method and status."""
    return {
        (one.labels["route"], one.labels["method"], one.labels["status"]): one.value
        for family in site.own.runtime.metrics.calls.collect()
        for one in family.samples
        if one.name == "tintype_http_answers_total"
    }


def gained(site: Website, before: Mapping[tuple[str, str, str], float]) -> dict[tuple[str, str, str], float]:
    return {key: value - before.get(key, 0) for key, value in answers(site).items() if value != before.get(key, 0)}


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_answers_are_counted_by_route_whoever_gives_them(site: Website, boss: httpx2.Client) -> None:
    _, testing = site.own.store.accounts.keys.create(site.account_id, "ci", test=True)
    request = site.submit()
    before = answers(site)
    with site.http() as http, site.http(testing) as ci:
        http.get("/health")
        http.head("/health")
        http.get(f"/v2/requests/{request.id}/status")
        http.get("/v2/requests/1234/status")
        http.delete("/health")
        http.get("/v1/no-such-model")
        http.get("/sd-img2img-input.jpeg")
        http.get("/static/modules/nothing.js")
        http.post(TURBO, json={"prompt": "a fox", "steps": -1})
        assert b" 413 " in sent(site, f"POST {TURBO} HTTP/1.1", "content-length: 99999999999")
        ci.post(TURBO, json={"prompt": "test:refuse:internal"})
        http.request("FOO", "/health")
        for number in range(20):
            http.get(f"/nothing/{number}")
            http.request(f"BAR{number}", f"/{number}")
        http.delete(f"/v2/requests/{request.id}")
    assert gained(site, before) == {
        ("/health", "GET", "200"): 1,
        ("/health", "HEAD", "200"): 1,
        ("/health", "DELETE", "405"): 1,
        ("/health", "other", "405"): 1,
        ("/v2/requests/{request_id}/status", "GET", "200"): 1,
        ("/v2/requests/{request_id}/status", "GET", "404"): 1,
        ("/v2/requests/{request_id}", "DELETE", "200"): 1,
        ("/v1/{slug}", "GET", "404"): 1,
        ("samples", "GET", "200"): 1,
        ("/static/{path:path}", "GET", "404"): 1,
        (TURBO, "POST", "400"): 1,
        (TURBO, "POST", "413"): 1,
        ("test-mode", "POST", "500"): 1,
        ("unmatched", "GET", "404"): 20,
        ("unmatched", "other", "404"): 20,
    }


def test_what_is_answered_without_a_call_is_counted_too(site: Website) -> None:
    """By the connection, before anything was asked, or while the body of a call was waited for."""
    before = answers(site)
    assert b" 400 " in sent(site, "nonsense")
    assert b" 400 " in sent(site, f"POST {TURBO} HTTP/1.1", "transfer-encoding: chunked", body=b"1\r\n \r\n" * 300)
    until(lambda: len(gained(site, before)) == 2)
    assert gained(site, before) == {
        ("connection", "other", "400"): 1,
        (TURBO, "POST", "400"): 1,
    }


def test_who_hangs_up_and_what_breaks_is_counted_as_that(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    before = answers(site)
    body = b'{"prompt": "a fox"}'
    head = "POST /v1/stable-diffusion-3.5-turbo-txt2img HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    head += f"content-length: {len(body)}\r\nx-api-key: {site.secret}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", int(site.address.rpartition(":")[2]))) as one:
        one.sendall(head.encode() + body)
        until(lambda: site.own.runtime.metrics.calls.open._value.get() == 1)
        until(lambda: site.own.runtime.watcher._waits)
    until(lambda: gained(site, before))
    assert gained(site, before) == {("/v1/stable-diffusion-3.5-turbo-txt2img", "POST", "499"): 1}
    assert site.own.runtime.metrics.calls.open._value.get() == 0

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(type(site.own.store.accounts), "account", broken)
    with site.http() as http, capture_logs():  # structlog's own way to show a traceback takes half a minute
        assert http.get("/api/auth/authenticate").status_code == 500
    assert gained(site, before)["/api/auth/authenticate", "GET", "500"] == 1


def test_refusals_of_keys_are_counted_by_why(site: Website, boss: httpx2.Client) -> None:
    """Also before the first of each: a rate can't tell of a series that begins at 1."""
    accounts = site.own.store.accounts
    _, looks = accounts.keys.create(site.account_id, "looks", read_only=True)
    _, watches = accounts.keys.create(site.account_id, "watches", read_only=True, operator=True)
    wanted = {("401", "missing"): 1, ("401", "unknown"): 2, ("403", "read_only"): 1, ("403", "not_operator"): 1}
    wanted |= {("403", "server_only"): 2}
    before = {key: told(boss, "tintype_denied_total", status=key[0], reason=key[1]) for key in wanted}
    with httpx2.Client(base_url=site.address, timeout=60) as http:
        http.get("/v1/get-user-credits")
        for secret in ("SG_0000000000000000", "what?"):
            http.get("/v1/get-user-credits", headers={"x-api-key": secret})
    with site.http(looks) as http:
        http.post(TURBO, json={"prompt": "a fox"})
        http.get("/v2/operator")
    with site.http(watches) as http:
        for path in ("/v2/usage", "/v2/operator/usage"):
            http.get(path)
    after = {key: told(boss, "tintype_denied_total", status=key[0], reason=key[1]) for key in wanted}
    assert {key: after[key] - before[key] for key in wanted} == wanted
    text = boss.get("/metrics").text
    assert 'tintype_refusals_total{reason="LedgerBroken"} 0.0' in text
    assert 'tintype_denied_total{reason="expired",status="401"} 0.0' in text


def test_without_the_database_a_process_tells_of_itself(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable

    usual = site.app.state.runtime
    opened = usual.settings.replace(metrics="open")
    site.app.state.runtime = replace(usual, settings=opened)
    monkeypatch.setattr(site.own.store.db, "read", away)
    try:
        with httpx2.Client(base_url=site.address, timeout=60) as http:
            assert told(http, "tintype_database_up") == 0
            text = http.get("/metrics").text
    finally:
        site.app.state.runtime = usual
    assert "tintype_queue_length" not in text
    assert "tintype_http_answers_total" in text
