"""`/metrics` over HTTP: who may read it, in which form, and that several web processes tell the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs
from tests.integration.website import Website, serving

from tintype.store.keepers import Lead


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("metrics")


@pytest.fixture(scope="module")
def site(data: Path) -> Iterator[Website]:
    with serving(data) as website:
        yield website


@pytest.fixture(scope="module")
def boss(site: Website) -> Iterator[httpx2.Client]:
    _, secret = site.own.accounts.create_key(site.account_id, "boss", operator=True, read_only=True)
    with httpx2.Client(base_url=site.address, headers={"authorization": f"Bearer {secret}"}) as http:
        yield http


def told(http: httpx2.Client, name: str, **labels: str) -> float:
    """The value of one sample, 0 where there is none; what is told must be what a client of Prometheus can read."""
    answer = http.get("/metrics")
    assert answer.status_code == 200, answer.text
    samples = [one for family in text_string_to_metric_families(answer.text) for one in family.samples]
    return sum(one.value for one in samples if one.name == name and one.labels == labels)


def test_who_may_read_it(site: Website, boss: httpx2.Client) -> None:
    usual = site.own
    with site.http() as customer, httpx2.Client(base_url=site.address) as anybody:
        seen = {}
        for access in ("operator", "open", "off"):
            site.app.state.services = replace(usual, settings=usual.settings.model_copy(update={"metrics": access}))
            seen[access] = [http.get("/metrics").status_code for http in (boss, customer, anybody)]
        site.app.state.services = usual
    assert seen == {"operator": [200, 403, 401], "open": [200] * 3, "off": [404] * 3}


def test_the_queue_and_its_end(site: Website, boss: httpx2.Client) -> None:
    model = "sd1.5-img2img"
    site.submit(prompt="a secret fox")
    assert told(boss, "tintype_queue_length", model=model) == 1
    assert told(boss, "tintype_queue_age_seconds", model=model) > 0
    claimed = site.claim()
    assert told(boss, "tintype_requests_running", model=model) == 1
    site.complete(claimed)
    assert told(boss, "tintype_requests_total", model=model, outcome="completed") == 1
    assert told(boss, "tintype_charged_dollars_total", model=model) == pytest.approx(0.001)
    assert told(boss, "tintype_workers", state="idle") == 1
    assert told(boss, "tintype_missed_charges_total") == 0
    text = boss.get("/metrics").text
    assert not [private for private in ("fox", site.secret, site.account_id, claimed.id) if private in text]


def test_workers_that_a_fleet_wants(site: Website, boss: httpx2.Client) -> None:
    assert "\ntintype_workers_wanted " not in boss.get("/metrics").text
    lead = Lead(site.own.requests._db, "keeper", 15)
    assert lead.take()
    lead.tell(2)
    assert told(boss, "tintype_workers_wanted") == 2
    lead.leave()


def test_two_web_processes_tell_the_same_but_for_their_own_refusals(
    site: Website, boss: httpx2.Client, data: Path
) -> None:
    with serving(data) as other, httpx2.Client(base_url=other.address, headers=boss.headers) as there:
        site.submit()
        site.complete(site.claim())
        assert told(boss, "tintype_charges_total", model="sd1.5-img2img") >= 1
        for name in ("tintype_charges_total", "tintype_queue_length"):
            assert told(boss, name, model="sd1.5-img2img") == told(there, name, model="sd1.5-img2img")
        before = [told(http, "tintype_refusals_total", reason="InvalidParameter") for http in (boss, there)]
        with site.http() as customer:
            bad = {"prompt": "a fox", "steps": -1}
            assert customer.post("/v2/stable-diffusion-3.5-turbo-txt2img", json=bad).status_code == 400
        after = [told(http, "tintype_refusals_total", reason="InvalidParameter") for http in (boss, there)]
        assert (after[0] - before[0], after[1] - before[1]) == (1, 0)
        assert told(there, "tintype_refusals_total", reason="RequestUnknown") == 0
        with other.http(site.secret) as customer:
            assert customer.get("/v2/requests/1234/status").status_code == 404
        assert told(there, "tintype_refusals_total", reason="RequestUnknown") == 1


def test_log_lines_name_the_request_and_its_prompt_only_where_the_operator_wants_that(site: Website) -> None:
    usual = site.own
    lines = {}
    with site.http() as http:
        for wanted in (False, True):
            site.app.state.services = replace(usual, settings=usual.settings.model_copy(update={"log_prompts": wanted}))
            with capture_logs() as logged:
                answer = http.post("/v2/stable-diffusion-3.5-turbo-txt2img", json={"prompt": "a secret fox"})
            [line] = [line for line in logged if line["event"] == "queued"]
            assert line["request"] == answer.json()["request_id"]
            assert site.secret not in str(logged)
            lines[wanted] = "a secret fox" in str(logged)
            http.delete(f"/v2/requests/{line['request']}")
    site.app.state.services = usual
    assert lines == {False: False, True: True}


def test_open_metrics_for_who_asks(boss: httpx2.Client) -> None:
    answer = boss.get("/metrics", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
