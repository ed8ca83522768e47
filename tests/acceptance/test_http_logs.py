"""What a real server's log says of requests, however they end: lines are counted, and held against their records."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import OLD, TEXT, quick, slow
from tests.clients import under_way
from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.ledger import micro

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations.md"
PRIVATE = ("a secret fox", "127.0.0.1:9/private", "token-1234")


class Caller:
    """An account of its own, with a key of each kind; its requests, and the lines about them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        with server.store() as db:
            accounts = Accounts(db)
            account = accounts.create("logs", micro(10))
            self.key, self.secret = accounts.keys.create(account.id, "key")
            self.test_key, self.test_secret = accounts.keys.create(account.id, "test", test=True)
            self.accounts = (account.id, self.test_key.account_id)
        self.http = server.http(self.secret)

    def submit(self, slug: str = TEXT, http: httpx2.Client | None = None, **asked: Any) -> str:
        headers = asked.pop("headers", {})
        answer = (http or self.http).post(f"/v2/{slug}", json=asked, headers=headers)
        assert answer.is_success, answer.text
        return str(answer.json()["request_id"])

    def lines(self) -> list[dict[str, Any]]:
        written = self.server.log.read_text().splitlines(keepends=True)
        mine = [line for line in written if any(whose in line for whose in self.accounts)]
        return [json.loads(line) for line in mine if line.endswith("\n")]  # else it is being written

    def of(self, event: str) -> dict[str, dict[str, Any]]:
        """Lines of one event by request; there is one at most of each."""
        found = [line for line in self.lines() if line["event"] == event]
        assert len({line["request"] for line in found}) == len(found), found
        return {line["request"]: line for line in found}


@pytest.fixture
def caller(server: Server) -> Caller:
    return Caller(server)


def test_a_line_for_each_event_of_each_request(server: Server, caller: Caller) -> None:
    private: dict[str, Any] = quick(prompt=PRIVATE[0])
    tests = server.http(caller.test_secret)
    drawn = caller.submit(**private, headers={"x-webhook-url": f"https://hooks.invalid/{PRIVATE[2]}"})
    blocking = caller.http.post(f"/v1/{TEXT}", json=private)
    refused = caller.submit(OLD, prompt=PRIVATE[0], image=f"http://{PRIVATE[1]}.png")
    played = caller.submit(http=tests, **private)
    running = caller.submit(OLD, **slow(prompt=PRIVATE[0]))
    until(lambda: caller.http.get(f"/v2/requests/{running}/status").json()["status"] == "PROCESSING")
    waiting = caller.submit(OLD, **slow(prompt=PRIVATE[0]), headers={"cancel-after": "0.3"})
    with under_way(server.address, caller.secret, f"/v1/{OLD}", slow(prompt=PRIVATE[0])):
        until(lambda: len(caller.of("queued")) == 7)
    caller.http.delete(f"/v2/requests/{running}")
    until(lambda: len(caller.of("ended")) == 7)
    queued, claimed, ended = (caller.of(event) for event in ("queued", "claimed", "ended"))
    [left] = set(queued) - {drawn, refused, played, running, waiting, blocking.headers["x-request-id"]}
    assert {id: line["outcome"] for id, line in ended.items()} == {
        drawn: "completed",
        blocking.headers["x-request-id"]: "completed",
        refused: "refused",
        played: "completed",
        running: "cancelled",
        waiting: "cancelled",
        left: "cancelled",
    }
    assert set(claimed) <= set(queued) == set(ended)
    for id, line in ended.items():
        http = tests if id == played else caller.http
        state = http.get(f"/v2/requests/{id}/status").json()
        assert (state["status"] == "COMPLETED") == (line["outcome"] == "completed")
        by_worker = id in claimed and not line.get("test")
        # What is overdue is ended by whoever finds it first: the web process, or a worker that looks for requests.
        assert line.get("by") == "deadline" or line["process"] == ("worker cpu" if by_worker else "web")
        assert ("worker" in line) == (id in claimed)
    assert {line.get("by") for line in ended.values()} == {None, "caller", "deadline"}
    assert ended[drawn]["cost"] == pytest.approx(0.0035)
    assert [id for id, line in queued.items() if line.get("test")] == [played]
    assert queued[played]["key"] == caller.test_key.begins
    assert queued[drawn].items() >= {"key": caller.key.begins, "key_id": caller.key.id, "client": "127.0.0.1"}.items()
    log = server.log.read_text()
    for secret in (*PRIVATE, caller.secret, caller.test_secret):
        assert secret not in log


def test_the_commands_of_the_documents_answer(caller: Caller, tmp_path: Path) -> None:
    """Each `jq` of operations.md's section on logs, on this server's own log."""
    if shutil.which("jq") is None:
        pytest.skip("jq is not on this machine (Debian: apt-get install jq)")
    id = caller.submit(**quick())
    until(lambda: id in caller.of("ended"))
    section = DOCUMENT.read_text().partition("\n## Logs\n")[2].partition("\n## ")[0]
    commands = [
        one.replace("\n", " ") for one in re.findall(r"^    (jq .*(?:\n      .*)*< log)$", section, re.MULTILINE)
    ]
    (tmp_path / "log").write_text(caller.server.log.read_text())
    answers = [_answer(one, tmp_path, X=id, Y=caller.key.id) for one in commands]
    request, today, cost, slow = answers
    assert [json.loads(line)["event"] for line in request.splitlines()] == ["queued", "claimed", "ended"]
    assert id in today
    assert float(cost) >= 0.0035
    assert all({"request", "waited", "ran"} <= json.loads(line).keys() for line in slow.splitlines())
    assert len(slow.splitlines()) <= 10


def _answer(command: str, folder: Path, **names: str) -> str:
    day = datetime.now(UTC).date().isoformat()
    for name, meant in {f'"{name}"': f'"{value}"' for name, value in names.items()}.items():
        command = command.replace(name, meant)
    command = re.sub(r"\d{4}-\d\d-\d\d", day, command)
    return subprocess.run(command, shell=True, cwd=folder, check=True, capture_output=True, text=True).stdout
