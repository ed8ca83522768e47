"""Who did what: every command and every call that changes something leaves its row, in the act's own transaction."""

from __future__ import annotations

import json
import os
import pwd
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_type_hints

import httpx2
import pytest
from click import Context, Group
from sqlalchemy import select, text
from sqlalchemy.exc import DatabaseError
from structlog.testing import capture_logs
from tests.acceptance.harness import done, here
from tests.clients import NO_TLS
from tests.databases import moved_clock
from tests.integration.website import Website, serving
from tests.stores import store_on

from tintype.cli import tintype as root
from tintype.errors import Forbidden, TooManyRequests
from tintype.media.provenance.certificates import issue
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.delegation import KeyDelegation
from tintype.store.accounts.keys import Ceilings
from tintype.store.db.audit import ACTS, Actor, Audit, acting
from tintype.store.db.database import Database
from tintype.store.db.migrations import migrate
from tintype.store.db.records import DeliveryStatus, Event
from tintype.store.db.tables import audit, deliveries
from tintype.store.webhooks.outbox import Backoff, Outbox
from tintype.web.auth import Operator, Runner
from tintype.web.errors import REFUSES

ME = f"{pwd.getpwuid(os.getuid()).pw_name}@{socket.gethostname()}"
YEAR = 365 * 86_400.0
HOOK = "https://user:word@receiver.example.com/services/T000?token=hush"
#: What must be in no row and no log line.
SECRET = ("whsec_", "hush", "T000", "word", "a fox")

#: Commands that change something, and the act that they are.
COMMANDS = {
    "accounts create": "account.create",
    "accounts credit": "account.credit",
    "keys create": "key.create",
    "keys rotate": "key.rotate",
    "keys safety": "key.safety",
    "keys update": "key.update",
    "keys revoke": "key.revoke",
    "webhooks rotate": "webhook.rotate",
    "webhooks enable": "webhook.update",
    "webhooks replay": "webhook.replay",
    "queue pause": "queue.pause",
    "queue resume": "queue.resume",
    "storage adopt": "storage.adopt",
    "marks rotate": "signer.create",
    "marks distrust": "signer.distrust",
    "workers drain": "worker.drain",
    "workers recall": "worker.recall",
    "migrate": "database.migrate",
}
#: Commands that change nothing of the server's: they only look, ask as anybody may, or are about files of this machine.
LOOKS = {
    *("accounts list", "accounts show", "accounts check", "accounts usage", "audit", "backup"),
    *("config example", "config show", "demo", "generate", "keys list", "marks roots", "marks show"),
    *("models check", "models list", "models pull", "models remove", "models show", "models wait"),
    *(
        "processes",
        "queue status",
        "replay",
        "storage show",
        "verify",
        "webhooks list",
        "webhooks logs",
        "workers list",
    ),
}
#: Processes. What they do for somebody is the migration, the first key and the forgotten bases at a start.
PROCESSES = {"serve", "worker", "fleet"}

#: Calls that change something, and the act that they are.
CALLS = {
    "POST /v2/keys": "key.create",
    "POST /v2/keys/{key_id}/rotate": "key.rotate",
    "DELETE /v2/keys/{key_id}": "key.revoke",
    "POST /webhook/add": "webhook.add",
    "POST /webhook/update": "webhook.update",
    "POST /webhook/rotate": "webhook.rotate",
    "POST /webhook/replay": "webhook.replay",
    "GET /webhook/inactive": "webhook.remove",
    "POST /v2/operator/queue/pause": "queue.pause",
    "POST /v2/operator/queue/resume": "queue.resume",
    "POST /v2/operator/workers/{worker_id}/drain": "worker.drain",
    "POST /v2/operator/workers/{worker_id}/recall": "worker.recall",
    "POST /v2/models/{slug}/warm": "model.warm",
}
#: Calls that are use of the server: their rows are requests and files.
USES = {
    "POST /upload-asset",
    "POST /read-recipe",
    "POST /v1/verify",
    "DELETE /v2/requests/{request_id}",
    "PUT /v2/requests/{request_id}/cancel",
    *(f"POST /v1/images/{one}" for one in ("generations", "edits")),
    *(f"POST /v2/models/{{provider}}/{{model}}{end}" for end in ("", "/requests")),
    "PUT /v2/models/{provider}/{model}/requests/{request_id}/cancel",
    "POST /v2/images/keep",
    "POST /v2/images/delete",
    "POST /v2/images/zip",
    *(f"POST /sdapi/v1/{one}" for one in ("txt2img", "img2img", "interrupt", "skip", "options", "png-info")),
    *(f"POST /sdapi/v1/refresh-{one}" for one in ("checkpoints", "vae", "loras")),
    *(f"POST /sdapi/v1/{one}-checkpoint" for one in ("unload", "reload")),
    "POST /v1/predictions",
    "POST /v1/models/{owner}/{name}/predictions",
    "POST /v1/predictions/{prediction_id}/cancel",
    "POST /v1/files",
    "DELETE /v1/files/{file_id}",
    # The webhook that signs for an account is made when it is first needed, with its row, as by X-Webhook-URL.
    *(f"{method} /v1/webhooks/default/secret" for method in ("GET", "HEAD")),
    *(f"POST /v1/images/{one}" for one in ("generations", "edits")),
}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[str]:
    if isinstance(command, Group):
        context = Context(command)
        for name in command.list_commands(context):
            yield from leaves(command.get_command(context, name), (*path, name))
    else:
        yield " ".join(path)


def test_no_command_is_forgotten() -> None:
    known = {path if not path.startswith("generate ") else "generate" for path in leaves(root)}
    assert known == COMMANDS.keys() | LOOKS | PROCESSES


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("audit"), account_changes_daily=40) as website:
        yield website


def test_no_call_is_forgotten(site: Website) -> None:
    changing = set()
    for route in (route for route in site.app.routes if route.name != REFUSES):
        hints = get_type_hints(getattr(route, "endpoint", None) or (lambda: None), include_extras=True).values()
        for method in getattr(route, "methods", None) or ():
            if method not in ("GET", "HEAD") or {Runner, Operator} & {*hints}:
                changing.add(f"{method} {route.path}")
    models = {f"POST /{way}/{slug}" for way in ("v1", "v2") for slug in site.own.runtime.registry.served}
    assert changing == CALLS.keys() | USES | models


def test_every_act_is_one_of_a_command_or_a_call() -> None:
    """But for what `serve` does at a start that finds another TINTYPE_PUBLIC_URL."""
    assert {*ACTS} == {*COMMANDS.values(), *CALLS.values(), "webhook.rebase"}


def failed_delivery(db: Database, webhook: str, account: str) -> None:
    """One that can be replayed."""
    words = {"status": DeliveryStatus.FAILED, "event": "REQUEST_COMPLETED", "url": HOOK, "body": "{}", "receiver": "r"}
    times = {"attempt": 1, "earlier": 0, "due_at": 0, "created_at": 0, "ended_at": 1}
    with db.write() as tx:
        tx.execute(
            deliveries.insert().values(
                id=f"msg_{webhook[:8]}", webhook_id=webhook, account_id=account, request_id="r", **words, **times
            )
        )


def test_every_command_leaves_its_row(tmp_path: Path) -> None:
    said: list[str] = []

    def run(*arguments: object) -> str:
        said.append(" ".join(map(str, arguments[:2])))
        return done(here(*arguments[:2], "--data", tmp_path, *arguments[2:]))

    done(here("migrate", "--data", tmp_path))
    account = run("accounts", "create", "--name", "studio")
    run("accounts", "credit", account, 5, "--note", "invoice 7")
    secret = run("keys", "create", "--models", "sd1.5-img2img", "--spend-cap", 2)
    new = run("keys", "rotate", secret, "--overlap", 0)
    run("keys", "safety", new, "off")
    run("keys", "update", new, "--daily-spend", 0.5, "--spend-cap", "none")
    run("keys", "revoke", new)
    db = Database(f"sqlite:///{tmp_path}/tintype.db")
    hook = store_on(db).webhooks.add(account, HOOK, [Event.REQUEST_COMPLETED])
    failed_delivery(db, hook.id, account)
    with db.write() as tx:
        tx.execute(text("INSERT INTO workers (id, device, started_at, seen_at, forward_passes, rows)"
                        " VALUES ('w1', 'cpu', 0, 0, 0, 0)"))  # fmt: skip
    run("webhooks", "rotate", hook.id)
    run("webhooks", "enable", hook.id)
    run("webhooks", "replay", hook.id)
    for command in ("pause", "pause", "resume", "resume"):  # the second one of each changes nothing
        run("queue", command)
    others = issue("pictures.example", b"\x56\x78", datetime.now(UTC))
    store_on(db).signers.use(others.chain, others.root)  # to be distrusted: another pair follows one of ours at once
    run("marks", "rotate")
    run("marks", "distrust", 1)
    run("storage", "adopt")
    run("workers", "drain", "w1")
    run("workers", "drain", "w1")
    run("workers", "recall", "w1")
    rows = json.loads(here("audit", "--json", "--data", tmp_path).stdout)
    acts = [row["act"] for row in reversed(rows) if row["via"] == "cli"]
    assert acts == ["database.migrate", *(COMMANDS[one] for one in dict.fromkeys(said))]
    assert acts == [*dict.fromkeys(acts)]
    assert {*acts} == {*COMMANDS.values()}
    assert {row["who"] for row in rows if row["via"] == "cli"} == {ME}
    known = {row["act"]: row for row in rows}
    assert known["account.credit"]["details"] == {"name": "studio", "dollars": 5, "balance": 5, "note": "invoice 7"}
    made = {"key": f"{secret[:7]}…", "name": "key", "models": ["sd1.5-img2img"], "spend_cap": 2}
    assert known["key.create"]["details"] == made
    assert known["key.rotate"]["details"]["was"] == f"{secret[:7]}…"
    assert known["key.update"]["details"] == {
        "key": f"{new[:7]}…", "name": "key", "daily_spend": 0.5, "spend_cap": "none",
    }  # fmt: skip
    assert known["key.revoke"]["details"] == {"key": f"{new[:7]}…", "name": "key"}
    assert known["webhook.update"]["details"]["receiver"] == "https://receiver.example.com"
    told = json.dumps(rows)
    assert not [word for word in (*SECRET, secret, new) if word in told]
    db.close()


def test_acts_are_found_by_what_they_are_whose_they_are_and_when(tmp_path: Path) -> None:
    one, other = (done(here("accounts", "create", "--name", name, "--data", tmp_path)) for name in ("a", "b"))
    done(here("keys", "create", "--account", one, "--test", "--data", tmp_path))
    done(here("queue", "pause", "--data", tmp_path))

    def found(*arguments: str) -> list[str]:
        rows = json.loads(here("audit", "--json", "--data", tmp_path, *arguments).stdout)
        return [row["act"] for row in rows]

    assert found("--act", "queue.pause") == found("--act", "queue") == ["queue.pause"]
    assert found("--account", one) == ["key.create", "account.create", "account.create"], "its test keys' too"
    assert found("--account", other) == ["account.create"]
    assert found("--since", "2999-01-01") == []
    assert len(found("--since", "2020-01-01T10:00")) == 6
    assert found("--lines", "1") == ["queue.pause"]
    lines = here("audit", "--data", tmp_path).stdout.splitlines()
    assert lines[0].split() == ["at", "act", "who", "target", "details"]
    assert f"queue.pause       {ME}" in lines[1]
    assert done(here("audit", "--csv", "--lines", "1", "--data", tmp_path)).split(",")[1:5] == [
        "queue.pause",
        ME,
        "",
        "cli",
    ]
    assert "queue.nothing" in here("audit", "--act", "queue.nothing", "--data", tmp_path).output


def test_every_call_leaves_its_row(site: Website) -> None:
    own = site.own
    key, secret = own.store.accounts.keys.create(site.account_id, "own", operator=True)
    own.store.ops.workers.heartbeat("w1", "cpu", 0, 0)
    own.store.ops.workers.heartbeat("w2", "cpu", 0, 0)
    with capture_logs() as lines, site.http(secret) as http:
        http.headers["x-forwarded-for"] = "10.1.2.3"  # of nobody who is trusted

        def call(way: str, body: dict[str, Any] | None = None, **named: str) -> Any:
            method, path = way.split()
            answer = http.request(method, path.format(**named), json=body, params=named if "inactive" in path else None)
            assert answer.is_success, answer.text
            [newest], _ = own.store.audit.page(size=1)
            whose = (newest.act, newest.via, newest.who, newest.address, newest.by_key, newest.by_account)
            assert whose == (CALLS[way], "api", f"own {key.begins}…", "127.0.0.1", key.id, site.account_id)
            done.append(way)
            return answer.json()

        done: list[str] = []
        made = call("POST /v2/keys", {"name": "laptop", "spend_cap": 2})
        turned = call("POST /v2/keys/{key_id}/rotate", {"overlap": 0}, key_id=made["key"]["id"])
        call("DELETE /v2/keys/{key_id}", key_id=made["key"]["id"])
        types = {"types": ["REQUEST_COMPLETED"]}
        hook = {"webhook_url": "http://93.184.216.34/services/T000?token=hush", "event": types}
        added = call("POST /webhook/add", hook)["webhook"]
        call("POST /webhook/update", {**hook, "webhook_id": added["webhook_id"]})
        call("POST /webhook/rotate", {"webhook_id": added["webhook_id"]})
        failed_delivery(own.store.db, added["webhook_id"], site.account_id)
        call("POST /webhook/replay", {"delivery_id": f"msg_{added['webhook_id'][:8]}"})
        call("GET /webhook/inactive", webhook_id=added["webhook_id"])
        call("POST /v2/operator/queue/pause")
        call("POST /v2/operator/queue/resume")
        call("POST /v2/operator/workers/{worker_id}/drain", worker_id="w1")
        call("POST /v2/operator/workers/{worker_id}/recall", worker_id="w1")
        call("POST /v2/models/{slug}/warm", slug="sd1.5-img2img")
        assert {*done} == CALLS.keys()
        rows = http.get("/v2/operator/audit?per_page=100").json()
    told = json.dumps(rows["data"]) + json.dumps(lines, default=str)
    assert not [word for word in (*SECRET, made["secret"], turned["secret"], secret) if word in told]
    assert rows["total"] == len(rows["data"]) == own.store.audit.page(size=100)[1]
    with site.http(secret) as http:
        assert [one["act"] for one in http.get("/v2/operator/audit?act=worker&per_page=1").json()["data"]] == [
            "worker.recall"
        ]
        assert http.get("/v2/operator/audit?since=2999-01-01").json()["data"] == []
        assert http.get("/v2/operator/audit?act=worker.fire").status_code == 400


def test_an_act_is_a_log_line_where_there_is_a_log(site: Website) -> None:
    """A command's output is its answer: what it did is in the table alone."""
    laptop = Actor("api", "laptop SG_1a2b…", "10.0.0.1", "a", "k")
    with capture_logs() as lines, acting(laptop):
        site.own.store.queue.pause()
        site.own.store.queue.pause()
    [line] = lines
    assert (line["event"], line["act"], line["who"]) == ("audit", "queue.pause", laptop.who)
    assert (line["address"], line["by_account"], line["by_key"]) == ("10.0.0.1", "a", "k")
    with capture_logs() as lines, acting(Actor("cli", ME, logged=False)):
        site.own.store.queue.resume()
    assert lines == []


def test_only_who_may_see_accounts_sees_who_did_what(site: Website) -> None:
    wall = site.own.store.accounts.keys.create(site.account_id, "wall", operator=True, read_only=True)[1]
    for secret in (wall, site.secret):
        with site.http(secret) as http:
            assert [http.get(f"/v2/operator/{what}").status_code for what in ("audit", "usage")] == [403, 403]
    with httpx2.Client(base_url=site.address, verify=NO_TLS, timeout=60) as nobody:
        assert nobody.get("/v2/operator/audit").status_code == 401


def acts_of(db: Database) -> list[str]:
    """But for the migration of the copied database."""
    with db.read() as view:
        return [*view.scalars(select(audit.c.act).where(audit.c.act != "database.migrate").order_by(audit.c.id))]


def test_there_is_no_act_without_its_row_and_no_row_without_its_act(db: Database) -> None:
    accounts, controls = Accounts(db), store_on(db).queue
    account = accounts.create("one", 10).id
    key, _ = accounts.keys.create(account, "key", models=["a"])
    own = KeyDelegation(db, max_keys=5, daily=5, ceilings=Ceilings())
    with pytest.raises(Forbidden):  # found out once the key and its row are written
        own.create(key, {"name": "wider", "models": ["a", "b"]})
    before = acts_of(db)
    with db.write() as tx:
        tx.execute(text("ALTER TABLE audit RENAME TO elsewhere"))
    for act in (controls.pause, lambda: accounts.create("two", 5), lambda: accounts.credit(account, 5)):
        with pytest.raises(DatabaseError):
            act()
    with db.write() as tx:
        tx.execute(text("ALTER TABLE elsewhere RENAME TO audit"))
    assert (controls.paused_since(), len(accounts.list()), accounts.remaining(account)) == (None, 1, 10)
    assert acts_of(db) == before == ["account.create", "key.create"]


def test_what_one_account_can_write_is_bounded_and_a_leak_can_still_be_ended(db: Database) -> None:
    hooks, accounts = store_on(db).webhooks, Accounts(db)
    outbox = Outbox(db, Backoff(1, 1, 1), lease=60, retention=60)
    account = accounts.create("one", 0).id
    key, _ = accounts.keys.create(account, "key")
    caller = Actor("api", "key", "10.0.0.1", account, key.id, max_per_day=4)
    with acting(caller):
        hook = hooks.add(account, HOOK, [Event.REQUEST_COMPLETED])
        failed_delivery(db, hook.id, account)
        for _ in range(10):
            outbox.replay(f"msg_{hook.id[:8]}")
        hooks.rotate(hook.id, account)
        hooks.rotate(hook.id, account)
        with pytest.raises(TooManyRequests, match="4 changes to its keys and webhooks a day") as refused:
            hooks.rotate(hook.id, account)
        assert 86_000 < refused.value.retry_after <= 86_400
        outbox.replay(f"msg_{hook.id[:8]}")
        hooks.remove(hook.id, account)
        hooks.remove(hook.id, account)  # it is: no row
        accounts.keys.revoke(key.id)
    hooks.rotate(hook.id, account)  # an operator's acts are counted by nobody
    own = ["webhook.add", "webhook.replay", "webhook.rotate", "webhook.rotate", "webhook.remove", "key.revoke"]
    assert acts_of(db) == ["account.create", "key.create", *own, "webhook.rotate"]
    found, total = Audit(db, YEAR).page(size=10, act="webhook.replay")
    assert (total, found[0].times) == (1, 11)
    assert found[0].last_at >= found[0].at


def test_rows_go_when_their_time_is_over(db: Database) -> None:
    log = Audit(db, YEAR)
    with moved_clock(db, -YEAR - 1):
        store_on(db).queue.pause()
    store_on(db).queue.resume()
    assert log.expire() == 1
    assert acts_of(db) == ["queue.resume"]


def test_a_migration_says_who_did_it(empty_url: str) -> None:
    db = Database(empty_url)
    with acting(Actor("cli", "anna@host")):
        migrate(db)
        migrate(db)
    [one], _ = Audit(db, YEAR).page(size=5)
    assert (one.act, one.who, one.details) == ("database.migrate", "anna@host", {})
    db.close()


def test_the_first_key_is_an_act_too_and_so_is_another_public_address(db: Database) -> None:
    Accounts(db).bootstrap("first", 10, None)
    [account] = Accounts(db).list()
    store_on(db).webhooks.add(account.id, HOOK, [Event.REQUEST_COMPLETED], "http://here")
    for _ in range(2):
        store_on(db).webhooks.drop_base_urls()
    assert acts_of(db) == ["account.create", "key.create", "webhook.add", "webhook.rebase"]
