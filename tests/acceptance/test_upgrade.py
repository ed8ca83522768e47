"""A database of an earlier version, with finished, running and queued requests in it, in the hands of this one."""

from __future__ import annotations

import io
import json
import re
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import httpx2
import pytest
from PIL import Image
from sqlalchemy import make_url

from tests.acceptance.harness import Server, here, until
from tests.databases import PostgresServer
from tests.integration.webhook_receiver import Receiver, receiving

FOLDER = Path(__file__).parents[1] / "upgrade" / "0020"
#: Columns of moments: everything in them is moved by the fixture's age.
MOMENTS = re.compile(r"(.*_)?(at|until|since)")
TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


class Upgraded:
    """A server of this version on the earlier one's data, which are as old as they were when that was killed."""

    def __init__(
        self, server: Server, notes: dict[str, Any], shift: int, receiver: Receiver, open: threading.Event
    ) -> None:
        self.server = server
        self.notes = notes
        self.shift = shift
        self.receiver = receiver
        #: Set, it lets the receiver answer.
        self.open = open

    def http(self, key: str) -> httpx2.Client:
        """A caller with the key of that name."""
        return self.server.http(self.notes["keys"][key])

    def get(self, key: str, path: str) -> Any:
        """What is answered there."""
        return self.http(key).get(path).json()

    def credits(self, key: str) -> int:
        """What the key's account may spend, in micro-dollars."""
        return micro(self.get(key, "/v1/get-user-credits")["credits"])

    def ledger(self, key: str, id: str) -> dict[str, tuple[int, int]]:
        """The lines of a request: by kind, what they add to the balance and to what is held, in micro-dollars."""
        lines = [one for one in self.get(key, "/v2/ledger?entries=all&per_page=100")["data"] if one["request_id"] == id]
        by_kind = {one["kind"]: (micro(one["amount"]), micro(one["held"])) for one in lines}
        assert len(by_kind) == len(lines), "no kind twice"
        return by_kind

    def moved(self, text: str) -> str:
        """What the earlier version said, with the addresses of now."""
        now = text.replace(self.notes["receiver"], self.receiver.host)
        return now.replace(self.notes["address"], self.server.address)

    def expected(self, name: str, value: Any) -> Any:
        """What this version must answer where the earlier one answered `value`."""
        if name == "error_description":
            return ANY  # not stored: advice in this version's words
        if isinstance(value, str) and TIMESTAMP.fullmatch(value):
            return pytest.approx(moment(value) + self.shift, abs=0.002)
        if isinstance(value, str):
            return self.moved(value)
        # A difference of two moments is only as exact as these: they have moved by months.
        if isinstance(value, int | float) and name.endswith(("_time", "_ms")):
            return pytest.approx(value, abs=2 if name.endswith("_ms") else 0.001)
        return value


def micro(dollars: float) -> int:
    return round(dollars * 1_000_000)


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def parsed(name: str, value: Any) -> Any:
    """A leaf of an answer; a moment as a number."""
    return moment(value) if isinstance(value, str) and TIMESTAMP.fullmatch(value) else value


def mapped(answer: Any, leaf: Callable[[str, Any], Any], name: str = "") -> Any:
    """A JSON value with each leaf, and its name, put through a function."""
    if isinstance(answer, dict):
        return {key: mapped(value, leaf, key) for key, value in answer.items()}
    if isinstance(answer, list):
        return [mapped(value, leaf, name) for value in answer]
    return leaf(name, answer)


def of_before(answer: Any, before: Any) -> Any:
    """An answer without the members that an earlier version's has not."""
    if isinstance(answer, dict) and isinstance(before, dict):
        return {key: of_before(value, before[key]) for key, value in answer.items() if key in before}
    if isinstance(answer, list) and isinstance(before, list) and len(answer) == len(before):
        return [of_before(*pair) for pair in zip(answer, before, strict=True)]
    return answer


# The earlier version's data, made as young as they were


@pytest.fixture(params=["sqlite", "postgres"])
def upgraded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Upgraded]:
    kind, data = request.param, tmp_path / "data"
    # The copies of the files are new: none has expired.
    shutil.copytree(FOLDER / kind / "data", data, copy_function=shutil.copyfile)
    notes = json.loads((FOLDER / kind / "answers.json").read_text())
    shift = round((time.time() - notes["saved_at"]) / 10) * 10  # time series have ten-second buckets
    settings = {"weights": "{}", "dtype": "auto", "webhook_allow": "127.0.0.1", "webhook_poll": 0.1}
    with ExitStack() as stack:
        receiver, open = stack.enter_context(receiving()), threading.Event()
        receiver.answer = lambda _: (204 if open.wait(30) else 503, {})
        if kind == "sqlite":
            move_sqlite(data / "tintype.db", shift, notes["receiver"], receiver.host)
        else:
            postgres: PostgresServer = request.getfixturevalue("postgres")
            settings["database_url"] = url = postgres.empty()
            stack.callback(postgres.drop, url)
            move_postgres(postgres, url, shift, notes["receiver"], receiver.host)
        server = Server(data, **settings)
        stack.callback(server.stop)
        yield Upgraded(server.start(wait_for_worker=False), notes, shift, receiver, open)


def move_sqlite(file: Path, shift: int, old: str, new: str) -> None:
    """Move moments by `shift` seconds, and messages from the `old` receiver to the `new` one."""
    with closing(sqlite3.connect(file)) as db, db:
        triggers = db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:  # rows of the ledger may not be changed
            db.execute(f"DROP TRIGGER {name}")
        columns = (
            "SELECT tables.name, columns.name, columns.type FROM sqlite_master AS tables,"
            " pragma_table_info(tables.name) AS columns WHERE tables.type = 'table'"
        )
        for statement in changes(db.execute(columns).fetchall(), shift, old, new):
            db.execute(statement)
        for _, sql in triggers:
            db.execute(sql)


def move_postgres(server: PostgresServer, url: str, shift: int, old: str, new: str) -> None:
    """Load the dump, and do the same."""
    name = make_url(url).database
    assert name
    with server.connection(name) as db:
        db.execute((FOLDER / "postgres" / "dump.sql").read_bytes())
        db.execute("SET search_path = public; SET session_replication_role = replica")  # no triggers
        columns = (
            "SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public'"
        )
        for statement in changes(db.execute(columns).fetchall(), shift, old, new):
            db.execute(statement.encode())


def changes(columns: list[tuple[str, str, str]], shift: int, old: str, new: str) -> Iterator[str]:
    """The statements for every (table, column, type)."""
    for table, column, type in columns:
        if MOMENTS.fullmatch(column) and type.lower() in ("double", "double precision", "bigint"):
            yield f'UPDATE "{table}" SET "{column}" = "{column}" + {shift}'
        if column in ("url", "receiver", "webhook_url"):
            yield f"""UPDATE "{table}" SET "{column}" = replace("{column}", '{old}', '{new}')"""


# What must be so


def test_an_upgrade_loses_nothing(upgraded: Upgraded) -> None:
    """The queue was paused: first everything answers as before, then all that waited is drawn, and paid for once."""
    answers_as_before(upgraded)
    replays_as_before(upgraded)
    upgraded.open.set()
    before = {key: upgraded.credits(key) for key in ("first", "studio")}
    upgraded.http("first").post("/v2/operator/queue/resume").raise_for_status()
    for one in upgraded.notes["unended"]:
        completes(upgraded, **one)
    paid_once(upgraded, before)
    listed_once(upgraded)
    messages_arrive(upgraded)
    assert upgraded.server.stop() == 0


def answers_as_before(upgraded: Upgraded) -> None:
    for known in upgraded.notes["answers"]:
        answer = upgraded.http(known["key"]).get(known["path"])
        assert (known["path"], answer.status_code) == (known["path"], known["status"])
        expected = mapped(known["body"], upgraded.expected)
        assert of_before(mapped(answer.json(), parsed), expected) == expected, known["path"]
        for image in answer.json().get("images", []):
            assert upgraded.http(known["key"]).get(image["url"]).is_success


def replays_as_before(upgraded: Upgraded) -> None:
    assert len(upgraded.notes["replays"]) == 2
    for sent in upgraded.notes["replays"]:
        headers = {name: upgraded.moved(value) for name, value in sent["headers"].items()}
        answer = upgraded.http(sent["key"]).post(sent["path"], json=sent["params"], headers=headers)
        assert answer.json() == sent["body"]
        assert answer.headers["idempotent-replayed"] == "true"
        assert {name: answer.headers[name] for name in sent["told"]} == sent["told"]


def completes(upgraded: Upgraded, key: str, id: str, made: tuple[int, str, int, int]) -> None:
    """With as many images as were asked for, each of that type, width and height."""
    path = f"/v2/requests/{id}"
    until(lambda: upgraded.get(key, f"{path}/status")["status"] in ("COMPLETED", "FAILED"))
    result = upgraded.get(key, path)
    assert result["status"] == "COMPLETED", result
    count, type, width, height = made
    assert [image["content_type"] for image in result["images"]] == [f"image/{type}"] * count
    for image in result["images"]:
        with Image.open(io.BytesIO(upgraded.http(key).get(image["url"]).content)) as opened:
            assert (opened.size, opened.format) == ((width, height), type.upper())
    if id == upgraded.notes["running"]:
        assert result["metrics"]["retry_count"] == 1


def paid_once(upgraded: Upgraded, before: dict[str, int]) -> None:
    """Each that was drawn has one hold and one charge; what was held and not charged can be spent again."""
    after = dict(before)
    for one in upgraded.notes["unended"]:
        key, cost = one["key"], micro(upgraded.get(one["key"], f"/v2/requests/{one['id']}")["metrics"]["cost"])
        if key == "test":
            assert cost == 0
            continue
        lines = upgraded.ledger(key, one["id"])
        assert lines.keys() == {"hold", "settle"}
        _, held = lines["hold"]
        assert 0 < cost <= held
        assert lines["settle"] == (-cost, -held)
        after["studio" if key == "studio" else "first"] += held - cost
    assert {key: upgraded.credits(key) for key in before} == after
    url = str(upgraded.server.settings.get("database_url", ""))
    sums = here("accounts", "check", "--data", upgraded.server.data, TINTYPE_DATABASE_URL=url)
    assert sums.exit_code == 0, sums.output


def listed_once(upgraded: Upgraded) -> None:
    """The history has the requests that it had, in the same order; those that waited are COMPLETED."""
    for known in upgraded.notes["answers"]:
        if "/request-history" in known["path"]:
            rows = upgraded.get(known["key"], known["path"])["data"]
            assert [row["request_id"] for row in rows] == [row["request_id"] for row in known["body"]["data"]]
            assert all(row["status"] in ("COMPLETED", "FAILED") for row in rows)


def messages_arrive(upgraded: Upgraded) -> None:
    """The one that its receiver had refused, and one of each request that ended now: signed, where it belongs."""
    ended = [one["id"] for one in upgraded.notes["unended"] if one["key"] in ("first", "laptop")]
    all_of_them = {upgraded.notes["undelivered"], *ended}
    until(lambda: all_of_them <= told(upgraded, "first", "/hook").keys())
    [queued] = [sent["body"]["request_id"] for sent in upgraded.notes["replays"] if "/one" in str(sent["headers"])]
    until(lambda: told(upgraded, "studio", "/one") == {queued: "COMPLETED"})


def told(upgraded: Upgraded, key: str, path: str) -> dict[str, str]:
    """What came to a path, signed with the secret of the account's webhook: by request, its status."""
    [webhook] = upgraded.get(key, "/webhook/get")["webhooks"]
    contents = [one.verified(webhook["secret"])["data"] for one in upgraded.receiver.messages if one.path == path]
    return {one["request_id"]: one["status"] for one in contents}
