"""What operators see and do, over HTTP and at the command line; and a fleet whose workers are drained."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from structlog.testing import capture_logs
from tests.acceptance.harness import done, here, until, words
from tests.clients import NO_TLS
from tests.databases import statements
from tests.integration.website import PATIENT, Website, serving
from tests.stores import new_request, store_on

from tintype.core import WorkerReport
from tintype.errors import Unauthorized
from tintype.fleet.supervisor import run_workers
from tintype.store.accounts.accounts import Accounts
from tintype.store.db.database import Database
from tintype.store.db.measurements import BUCKET
from tintype.store.db.migrations import migrate
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.ops.processes import Workers

ABOUT = {"tasks": [], "models": ["a"], "memory": {"process": 300, "reserved": 50}, "lately": {}}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    """The one in the folder that commands are told of."""
    db = Database(f"sqlite:///{tmp_path}/tintype.db")
    migrate(db)
    yield db
    db.close()


def test_a_fleet_leaves_a_drained_worker_s_place_empty_until_it_is_recalled(db: Database, tmp_path: Path) -> None:
    script = (
        "import sys, time; from tintype.store.db.database import Database\n"
        "from tintype.store.ops.processes import Workers\n"
        f"db = Database('sqlite:///{tmp_path}/tintype.db'); workers, id = Workers(db), sys.argv[-1]\n"
        "while not workers.heartbeat(id, 'cpu', 0, 0): time.sleep(0.02)\n"
        "workers.leave(id)"
    )
    workers = Workers(db)
    with run_workers([[sys.executable, "-c", script]], {}, 5, f"sqlite:///{tmp_path}/tintype.db") as [child]:
        until(lambda: workers.alive(60))
        [first] = workers.alive(60)
        workers.drain(first.id)
        until(lambda: child.process and child.process.poll() is not None)
        until(lambda: child.asked_at)  # the supervisor has asked, and starts no other
        time.sleep(0.3)
        assert workers.alive(60) == []
        workers.recall(first.id)
        until(lambda: workers.alive(60))
        [second] = workers.alive(60)
        assert second.id != first.id
    assert workers.shown()[1] == [], "a fleet forgets its workers"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("operator"), sync_timeout=0.05, **PATIENT) as website:
        yield website


@pytest.fixture(scope="module")
def boss(site: Website) -> Iterator[httpx2.Client]:
    _, secret = site.own.store.accounts.keys.create(site.account_id, "boss", operator=True)
    with site.http(secret) as http:
        yield http


WRITES = ["queue/pause", "queue/resume", "workers/w1/drain", "workers/w1/recall"]


def test_only_operators_see_and_only_those_that_may_write_change(site: Website, boss: httpx2.Client) -> None:
    _, looker = site.own.store.accounts.keys.create(site.account_id, "wall", operator=True, read_only=True)
    with site.http() as http:
        for answer in (http.get("/v2/operator"), http.get("/v2/operator/samples")):
            assert answer.status_code == 403
            assert "tintype keys create --operator" in answer.json()["error"]
        assert {http.post(f"/v2/operator/{path}").status_code for path in WRITES} == {403}
        assert http.get("/api/auth/authenticate").json()["api_key"]["operator"] is False
    with site.http(looker) as http:
        assert http.get("/v2/operator").status_code == 200
        assert {http.post(f"/v2/operator/{path}").status_code for path in WRITES} == {403}
    assert boss.get("/api/auth/authenticate").json()["api_key"]["operator"] is True
    assert site.own.store.queue.paused_since() is None


#: What an operator's key that may only read can call.
OF_THE_SERVER = {"/sdapi/v1/memory", "/metrics", "/v2/operator", "/v2/operator/samples", "/api/auth/authenticate"}


def test_an_operator_s_key_that_may_only_read_sees_nothing_of_its_account(site: Website) -> None:
    """As `tintype keys create --operator --scopes read` makes it: of the oldest account."""
    _, looker = site.own.store.accounts.keys.create(site.account_id, "wall", operator=True, read_only=True)
    request = site.submit(params={"prompt": "a covert fox"})
    seen = set()
    with site.http(looker) as http, httpx2.Client(base_url=site.address, verify=NO_TLS, timeout=60) as anybody:
        for route in site.app.routes:
            path = re.sub(r"\{\w+(:\w+)?\}", request.id, route.path)
            for method in sorted(route.methods):
                if anybody.request(method, path).status_code != 401:
                    continue
                answer = http.request(method, path)
                if answer.status_code != 403:
                    seen.add(route.path)
                assert "covert" not in answer.text
                assert "x-remaining-credits" not in answer.headers
        assert [*http.get("/api/auth/authenticate").json()] == ["api_key"]
        assert "sees the server alone" in http.get("/v2/ledger").json()["error"]
    assert seen == OF_THE_SERVER
    site.own.store.queue.cancel(request.id, site.account_id)


def test_who_guesses_keys_leaves_log_lines(tmp_path: Path) -> None:
    guess = "SG_" + "f" * 32
    with serving(tmp_path, trusted_proxies=["127.0.0.1"]) as site, site.http(guess) as http, capture_logs() as logs:
        behind = {"x-forwarded-for": "10.0.0.9, 203.0.113.7"}
        assert [http.get(path, headers=behind).status_code for path in ("/v2/keys", "/metrics")] == [401, 401]
    found = [line for line in logs if line["event"] == "authentication failed"]
    assert [(line["client"], line["log_level"]) for line in found[:1]] == [("203.0.113.7", "warning")]
    assert guess not in str(logs)


@pytest.mark.parametrize("sent", ["", "nonsense", "SG_' or 1=1 --", "x" * 5000, "SG_" + "\N{SUPERSCRIPT TWO}" * 12])
def test_what_can_be_no_key_is_not_looked_for(db: Database, sent: str) -> None:
    for secret, looks in ((sent, 0), ("SG_" + "f" * 32, 1)):
        with statements(db) as asked, pytest.raises(Unauthorized):
            Accounts(db).keys.authenticate(secret)
        assert sum("FROM api_keys" in statement for statement, _ in asked) == looks


def test_the_queue_is_paused_and_goes_on_over_http(site: Website, boss: httpx2.Client) -> None:
    site.own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
    there = {"worker": True, "database": True, "storage": True}
    assert boss.get("/ready").json() == {"ready": True, **there, "stopping": False, "paused": False}
    paused = boss.post("/v2/operator/queue/pause").json()
    assert paused["paused"] is True
    until(lambda: boss.get("/ready").json()["paused"])
    assert boss.get("/ready").status_code == 200
    request = site.submit()
    queue = boss.get("/v2/operator").json()["queue"]
    assert (queue["queued"], queue["running"], queue["paused_at"]) == (1, 0, paused["paused_at"])
    assert queue["oldest_seconds"] >= 0
    with site.http() as http:
        status = http.get(f"/v2/requests/{request.id}/status").json()
        assert (status["status"], status["queue_position"], status["eta"]) == ("QUEUED", 1, None)
        assert status["waiting_for"] == "resume"
        waited = http.post("/v1/stable-diffusion-3.5-turbo-txt2img", json={"prompt": "a fox"})
        assert waited.status_code == 504
        assert "paused" in waited.json()["error"]
        for id in (request.id, waited.headers["x-request-id"]):
            http.delete(f"/v2/requests/{id}")
    assert boss.post("/v2/operator/queue/resume").json() == {"paused": False, "paused_at": None}


def test_workers_are_shown_drained_and_recalled_over_http(site: Website, boss: httpx2.Client) -> None:
    task = {"request_id": "r", "model": "sd1.5-img2img", "pictures": 2, "step": 3, "steps": 20}
    about = ABOUT | {"tasks": [task], "lately": {"rows": 4.0, "step_seconds": 0.25}}
    site.own.store.ops.workers.heartbeat("w1", "cuda:0", 7, 28, max_rows=16, report=WorkerReport.from_json(about))
    [shown] = boss.get("/v2/operator").json()["workers"]
    assert (shown["state"], shown["runs"], shown["rows"], shown["max_rows"]) == ("working", [task], 4.0, 16)
    assert (shown["step_seconds"], shown["memory"]["process"], shown["models"]) == (0.25, 300, ["a"])
    assert boss.post("/v2/operator/workers/w1/drain").json()["id"] == "w1"
    assert boss.get("/v2/operator").json()["workers"][0]["state"] == "draining"
    until(lambda: boss.get("/ready").status_code == 503)  # nobody takes requests
    assert boss.get("/ready?web").status_code == 200
    assert boss.post("/v2/operator/workers/w1/recall").json() == {"id": "w1"}
    until(lambda: boss.get("/ready").status_code == 200)
    unknown = boss.post("/v2/operator/workers/w9/drain")
    assert (unknown.status_code, "/v2/operator" in unknown.json()["error_description"]) == (404, True)
    assert boss.post("/v2/operator/workers/w1/recall").status_code == 400


def test_a_fleet_that_gets_no_machine_says_why(site: Website, boss: httpx2.Client) -> None:
    assert boss.get("/v2/operator").json()["fleet"] is None, "there is no keeper"
    lead = LeaderLease(site.own.store.db, "k1", 15)
    lead.take()
    lead.set_wanted(2)
    assert boss.get("/v2/operator").json()["fleet"] == {"wanted": 2, "waits": None}
    lead.set_waits("ray:1: one needs 1 GPU")
    assert boss.get("/v2/operator").json()["fleet"] == {"wanted": 2, "waits": "ray:1: one needs 1 GPU"}
    lead.release()
    assert boss.get("/v2/operator").json()["fleet"] is None


def test_a_worker_whose_storage_refuses_is_not_counted_on(site: Website, boss: httpx2.Client) -> None:
    about = {"storage": "there is no such bucket", "memory": {"budget": 9}}
    site.own.store.ops.workers.heartbeat("refused", "cpu", 0, 0, report=WorkerReport.from_json(about))
    [shown] = [one for one in boss.get("/v2/operator").json()["workers"] if one["id"] == "refused"]
    assert (shown["state"], shown["paused"]) == ("paused", "there is no such bucket")
    assert [one.id for one in site.own.runtime.readiness.paused_workers()] == ["refused"]
    assert "refused" not in [one.id for one in site.own.runtime.readiness.workers()]
    assert not site.own.store.leases.idle_elsewhere("w1", needed=1)
    site.own.store.ops.workers.heartbeat(
        "refused", "cpu", 0, 0, report=WorkerReport.from_json({"memory": {"budget": 9}})
    )
    assert site.own.store.leases.idle_elsewhere("w1", needed=1)
    assert site.own.runtime.readiness.paused_workers() == []
    site.own.store.ops.workers.remove("refused")


def test_samples_over_http(site: Website, boss: httpx2.Client) -> None:
    site.submit()
    site.complete(site.claim())
    site.own.store.ops.time_series.measure()
    told = boss.get("/v2/operator/samples", params={"minutes": 15}).json()
    assert told["seconds"] == BUCKET
    assert sum(one["completed"] for one in told["samples"]) == 1
    assert any(one["queued"] is not None for one in told["samples"])
    for wrong in ("0", "1441", "soon"):
        refused = boss.get("/v2/operator/samples", params={"minutes": wrong})
        assert (refused.status_code, "1 to 1440" in refused.json()["error"]) == (400, True)


def test_the_levers_on_the_command_line(db: Database, tmp_path: Path) -> None:
    here_too = ("--data", tmp_path)
    accounts, workers = Accounts(db), Workers(db)
    key, _ = accounts.keys.create(accounts.create("one", 10).id, "key")
    store_on(db, lease=15, retention=60).queue.submit(new_request(key, "a", {}, 1))
    workers.heartbeat("host-1a2b", "cpu", 0, 0, max_rows=16, report=WorkerReport.from_json(ABOUT))
    assert done(here("queue", "pause", *here_too)).startswith("paused since 20")
    told = here("queue", "status", "--json", *here_too).stdout
    assert '"queued": 1' in told
    assert '"queue": "paused since' in told
    assert done(here("queue", "resume", *here_too)) == "the queue is open"
    assert "host-1a2b" in here("workers", "list", "--json", *here_too).stdout
    assert done(here("workers", "drain", "1a2b", *here_too)).startswith("host-1a2b claims nothing more")
    assert workers.is_drained("host-1a2b")
    assert "host-1a2b" in done(here("workers", "recall", "1a2b", *here_too))
    assert words(here("workers", "drain", "9", *here_too)) == "No worker 9 is known"


def test_operators_keys_on_the_command_line(db: Database, tmp_path: Path) -> None:
    Accounts(db).create("one", 0)
    secret = done(here("keys", "create", "--operator", "--data", tmp_path))
    assert Accounts(db).keys.authenticate(secret).operator
    assert "read, run, operator" in here("keys", "list", "--json", "--data", tmp_path).stdout
    refused = words(here("keys", "create", "--operator", "--test", "--data", tmp_path))
    assert refused.startswith("A test key can't be an operator's")


@pytest.mark.parametrize(("secret", "operator"), [("SG_0123456789abcdef", True), ("SG_test0123456789ab", False)])
def test_the_first_key_is_an_operators_unless_it_is_for_tests(db: Database, secret: str, operator: bool) -> None:
    Accounts(db).bootstrap("first", 5_000, secret)
    assert Accounts(db).keys.authenticate(secret).operator is operator
