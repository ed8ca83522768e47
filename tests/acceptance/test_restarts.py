"""Two servers behind the shipped nginx.conf that are restarted in turn: callers notice nothing, and pay once."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import func, select

from tests.acceptance.harness import KEY, Server, until
from tests.acceptance.nginx import nginx, shipped
from tests.acceptance.test_http_helpers import PRICES, TEXT, quick, refused
from tests.clients import NO_TLS
from tests.databases import PostgresServer
from tests.toy_weights import small_setting
from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.ledger import micro
from tintype.store.db.tables import ledger

PRICE = micro(PRICES[TEXT])


class Site:
    """Two servers, one worker, and nginx in front."""

    def __init__(self, servers: tuple[Server, Server], worker: subprocess.Popen[bytes], address: str) -> None:
        self.servers = servers
        self.worker = worker
        self.address = address
        #: Which have how long for calls under way, once they have been restarted.
        self.graces = dict(zip(servers, (30, 0.2), strict=True))

    @contextmanager
    def http(self, address: str = "") -> Iterator[httpx2.Client]:
        """A caller, who comes through nginx unless told otherwise."""
        headers = {"x-api-key": KEY}
        with httpx2.Client(base_url=address or self.address, headers=headers, timeout=60, verify=NO_TLS) as client:
            yield client

    @contextmanager
    def without_worker(self) -> Iterator[None]:
        """Nothing is drawn meanwhile."""
        self.worker.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.worker.send_signal(signal.SIGCONT)

    def charges(self) -> list[int]:
        """How often each request was charged that was."""
        with self.servers[0].store() as db, db.read() as view:
            assert Accounts(db).imbalances() == []
            settled = select(func.count()).where(ledger.c.kind == "settle").group_by(ledger.c.request_id)
            return list(view.scalars(settled))


@pytest.fixture
def site(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Site]:
    data, url = tmp_path_factory.mktemp("data"), postgres.empty()
    shared = {"database_url": url, "weights": small_setting(weights), "trusted_proxies": "127.0.0.1"}
    with ExitStack() as closing:
        ports = [closing.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(2)]
        closing.close()
        # A drain with which connections that nginx keeps are told to close before they are.
        one, other = (Server(data, **shared, fleet="none", web_drain=0.5, port=port) for port in ports)
        env = {**os.environ, **{f"TINTYPE_{name.upper()}": str(value) for name, value in one.settings.items()}}
        command = [sys.executable, "-m", "tintype", "worker", "--device", "cpu", "--data", str(data)]
        with (data / "worker.log").open("w") as log:
            worker = closing.enter_context(subprocess.Popen(command, env=env, stderr=log))
        closing.callback(worker.terminate)
        for server in (one, other):
            server.start(wait_for_worker=False)
            closing.callback(server.stop)
        until(lambda: one.http().get("/ready").is_success)
        proxy = closing.enter_context(
            nginx(tmp_path_factory.mktemp("nginx"), shipped(one.address, other.address, calls="burst=9999 nodelay"))
        )
        yield Site((one, other), worker, proxy)
    postgres.drop(url)


# One test: what it needs takes seconds to start.
def test_two_servers_are_restarted_in_turn(site: Site) -> None:
    nobody_notices_a_restart_of_each(site)
    what_is_not_done_in_time_costs_nothing_or_is_had_from_the_other(site)
    what_is_done_in_time_is_answered(site)
    without_any_server_the_proxy_says_so_as_the_api_would(site)


def nobody_notices_a_restart_of_each(site: Site) -> None:
    over = threading.Event()

    def calling() -> list[httpx2.Response]:
        answers: list[httpx2.Response] = []
        with site.http() as http:
            while not over.is_set():
                for answer in chain(blocking(http), queued(http)):
                    answers.append(answer)
                    if answer.status_code != 200:
                        return answers
        return answers

    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(calling) for _ in range(3)]
        try:
            for server in site.servers:
                before = len(site.charges())
                until(lambda: len(site.charges()) > before + 2 or any(call.done() for call in calls))  # noqa: B023
                assert server.stop() == 0
                server.settings["web_grace"] = site.graces[server]
                server.start(wait_for_worker=False)
        finally:
            over.set()
        answers = [answer for call in calls for answer in call.result()]
    assert {answer.status_code for answer in answers} == {200}, [one.text for one in answers if not one.is_success]
    made = {answer.headers["x-request-id"] for answer in answers if "x-request-id" in answer.headers}
    made |= {answer.json()["request_id"] for answer in answers if answer.headers["content-type"] == "application/json"}
    assert site.charges() == [1] * len(made)
    assert site.servers[0].money()[1] == 0


def blocking(http: httpx2.Client) -> Iterator[httpx2.Response]:
    yield http.post(f"/v1/{TEXT}", json=quick())


def queued(http: httpx2.Client) -> Iterator[httpx2.Response]:
    """A submit, the looks at it, its result and its file."""
    yield (submitted := http.post(f"/v2/{TEXT}", json=quick()))
    places = submitted.json()
    yield (status := http.get(places["status_url"]))
    while status.json()["status"] != "COMPLETED":
        time.sleep(0.05)
        yield (status := http.get(places["status_url"]))
    yield (result := http.get(places["response_url"]))
    yield http.get(result.json()["output"])


def what_is_not_done_in_time_costs_nothing_or_is_had_from_the_other(site: Site) -> None:
    _, hasty = site.servers
    charged, again = len(site.charges()), {"idempotency-key": "again"}
    with ThreadPoolExecutor(2) as threads, site.http(hasty.address) as http, site.http() as proxied:
        with site.without_worker():
            lost, kept = waiting(site, http, threads), waiting(site, http, threads, **again)
            assert hasty.stop() == 0
            refused(lost.result(), 503, "restarted")
            refused(kept.result(), 504, "is still running")
            for answer in (lost.result(), kept.result()):
                assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")
            refused(proxied.post(f"/v1/{TEXT}", json=quick(), headers=again), 409)
        status = f"/v2/requests/{kept.result().json()['request_id']}/status"
        until(lambda: proxied.get(status).json()["status"] == "COMPLETED")
        picture = proxied.post(f"/v1/{TEXT}", json=quick(), headers=again)
        assert (picture.status_code, picture.headers["idempotent-replayed"]) == (200, "true")
        ended = proxied.get(f"/v2/requests/{lost.result().headers['x-request-id']}/status").json()
        assert (ended["status"], ended["error"]) == ("FAILED", "cancelled")
    assert site.charges() == [1] * (charged + 1)


def what_is_done_in_time_is_answered(site: Site) -> None:
    patient, _ = site.servers
    charged = len(site.charges())
    with site.http(patient.address) as http, ThreadPoolExecutor(1) as threads:
        with site.without_worker():
            call = waiting(site, http, threads)
            assert patient.process
            patient.process.terminate()
            until(lambda: not listens(patient))
            assert not call.done()
        assert call.result().headers["content-type"] == "image/png"
    assert patient.stop() == 0
    assert site.charges() == [1] * (charged + 1)


def without_any_server_the_proxy_says_so_as_the_api_would(site: Site) -> None:
    with site.http() as http:
        for answer in (http.post(f"/v2/{TEXT}", json=quick()), http.get("/ready?web")):
            refused(answer, 502)
            assert (answer.headers["retry-after"], answer.headers["x-should-retry"]) == ("2", "true")
            assert "nothing was queued" in answer.json()["error_description"]


def waiting(site: Site, http: httpx2.Client, threads: ThreadPoolExecutor, **headers: str) -> Future[httpx2.Response]:
    """A v1 call whose request is queued."""
    held = site.servers[0].money()[1]
    call = threads.submit(http.post, f"/v1/{TEXT}", json=quick(), headers=headers)
    until(lambda: site.servers[0].money()[1] > held)
    return call


def listens(server: Server) -> bool:
    host, port = server.address.removeprefix("http://").split(":")
    try:
        socket.create_connection((host, int(port))).close()
    except ConnectionRefusedError:
        return False
    return True
