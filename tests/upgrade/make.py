"""Writes `tests/upgrade/0020`: a database as this version leaves it when it is killed, and what it answered before.

Run once, at commit ce21cd9 (tintype 0.1.0, schema 0020), never by a test; a later schema gets a folder of its own:

    unshare --uts sh -c 'hostname tintype.example; .venv/bin/python -m tests.upgrade.make'

Two real servers write it, on SQLite and on PostgreSQL: one whose records expire immediately, for the history; then one
with finished, failed and cancelled requests, a running one whose worker is frozen, and a paused queue. That one records
what it answers, and is killed. When its leases have lapsed, the folder is copied: `data`, `dump.sql` of PostgreSQL, and
`answers.json`.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from sqlalchemy import make_url

from tests.acceptance.harness import KEY, Server, here, until
from tests.acceptance.test_http_helpers import MEDIUM, OLD, TEXT, TURBO, gradient
from tests.databases import postgres_server, server_program
from tests.integration.webhook_receiver import Receiver, receiving

FOLDER = Path(__file__).parent / "0020"
#: A slug of the models file, priced per second.
FURTHER = "small-foxes"
MODELS_FILE = f"""
[models.{FURTHER}]
like = "{OLD}"
title = "Small foxes"
sizes = [128, 192]
price = {{ dollars = 0.001, per = "second", most_seconds = 20 }}
"""
EVENTS = {"types": ["REQUEST_COMPLETED", "REQUEST_FAILED"]}
#: Seconds until a refused webhook message is sent again, and until a dead worker's lease has lapsed.
BACKOFF, LEASE = 20, 15
#: What an account can list; a test key's own account goes on while the rest of the queue is paused.
LISTS = (
    "/inference-request/request-history?per_page=100",
    "/inference-request/generations",
    "/v2/ledger?entries=all&per_page=100",
    "/v2/keys",
    "/v1/get-user-credits",
    "/webhook/get",
)


Made = tuple[int, str, int, int]


class Scene:
    """One server's life, and the notes that become `answers.json`."""

    def __init__(self, data: Path, database_url: str, receiver: Receiver) -> None:
        self.receiver = receiver
        self.url = database_url
        self.server = Server(data)
        self.server.settings = {
            "bootstrap_key": KEY,
            "database_url": database_url,
            "lease": LEASE,
            "threads": 1,
            "webhook_allow": "127.0.0.1",
            "webhook_backoff": BACKOFF,
        }
        #: Secrets by name.
        self.keys = {"first": KEY}
        self.ended: list[dict[str, str]] = []
        self.unended: list[dict[str, Any]] = []
        self.notes: dict[str, Any] = {}

    def http(self, name: str) -> httpx2.Client:
        """A caller with the key of that name."""
        return self.server.http(self.keys[name])

    def cli(self, *arguments: str) -> str:
        """What a command prints."""
        result = here(*arguments, "--data", self.server.data, TINTYPE_DATABASE_URL=self.url)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    def submit(self, key: str, slug: str, headers: dict[str, str] | None = None, **params: Any) -> str:
        """Queue a request; its id."""
        answer = self.http(key).post(f"/v2/{slug}", json=params, headers=headers or {})
        assert answer.is_success, answer.text
        id = str(answer.json()["request_id"])
        if headers and "idempotency-key" in headers:
            told = {name: answer.headers[name] for name in ("x-request-id", "x-warning") if name in answer.headers}
            sent = {"key": key, "path": f"/v2/{slug}", "headers": headers, "params": params}
            self.notes.setdefault("replays", []).append({**sent, "body": answer.json(), "told": told})
        return id

    def finished(self, key: str, slug: str, headers: dict[str, str] | None = None, **params: Any) -> str:
        """Queue a request and wait for its end; its id."""
        id = self.submit(key, slug, headers, **params)
        until(lambda: self.status(key, id)["status"] in ("COMPLETED", "FAILED"))
        self.ended.append({"key": key, "id": id})
        return id

    def waiting(self, key: str, slug: str, made: Made, headers: dict[str, str] | None = None, **params: Any) -> str:
        """Queue a request that the next version will complete; its id.

        made: how many images it will have, of which type, width and height.
        """
        id = self.submit(key, slug, headers, **params)
        self.unended.append({"key": key, "id": id, "made": made})
        return id

    def status(self, key: str, id: str) -> dict[str, Any]:
        """The state of a request."""
        return dict(self.http(key).get(f"/v2/requests/{id}/status").json())

    def record(self) -> None:
        """Ask for everything that the next version must answer alike."""
        asked = [(one["key"], f"/v2/requests/{one['id']}{tail}") for one in self.ended for tail in ("", "/status")]
        asked += [(key, path) for key in ("first", "studio") for path in LISTS]
        for key, path in asked:
            answer = self.http(key).get(path)
            assert answer.status_code in (200, 422), answer.text
            known = {"key": key, "path": path, "status": answer.status_code, "body": answer.json()}
            self.notes.setdefault("answers", []).append(known)
        self.notes |= {
            "address": self.server.address,
            "receiver": self.receiver.host,
            "keys": self.keys,
            "ended": self.ended,
            "unended": self.unended,
        }


def play(scene: Scene) -> None:
    """From an empty folder to a killed server."""
    scene.server.data.mkdir()
    (scene.server.data / "models.toml").write_text(MODELS_FILE)
    history(scene)
    scene.server.start()
    make_keys(scene)
    finish(scene)
    fail(scene)
    leave_a_message(scene)
    run(scene)
    scene.http("first").post("/v2/operator/queue/pause").raise_for_status()
    queue(scene)
    scene.record()
    scene.server.kill()
    time.sleep(max(BACKOFF, LEASE) + 5)
    scene.notes["saved_at"] = time.time()


def history(scene: Scene) -> None:
    """Requests whose records have expired."""
    settings = dict(scene.server.settings)
    scene.server.settings |= {"retention": 0.5, "sweep": 0.2}
    scene.server.start()
    scene.finished("first", TEXT, prompt="an old fox", width=128, height=128, steps=2, batch_size=2, seed=1)
    scene.finished("first", OLD, prompt="an old fox", image="http://127.0.0.1:9/fox.png")
    for one in scene.ended:
        until(lambda id=one["id"]: scene.http("first").get(f"/v2/requests/{id}").status_code == 404)
    scene.ended.clear()
    scene.server.stop()
    scene.server.settings = settings


def make_keys(scene: Scene) -> None:
    """A second account, and keys of several kinds, one of them with a secret before the last rotation."""
    studio = scene.cli("accounts", "create", "--name", "studio", "--credits", "25")
    for name, options in (
        ("studio", ("--account", studio, "--rpm", "600", "--spend-cap", "20", "--max-pixels", "4000000")),
        ("test", ("--test",)),
        ("reader", ("--scopes", "read", "--expires", "3650", "--models", f"{TEXT},{OLD}")),
    ):
        scene.keys[name] = scene.cli("keys", "create", "--name", name, *options)
    made = scene.http("first").post("/v2/keys", json={"name": "laptop", "models": [TEXT, FURTHER], "spend_cap": 5})
    scene.keys["laptop"] = made.json()["secret"]
    scene.cli("keys", "rotate", scene.cli("keys", "create", "--name", "rotated"))
    scene.cli("keys", "revoke", scene.cli("keys", "create", "--name", "revoked"))


def finish(scene: Scene) -> None:
    """One COMPLETED request or more of every model, with all that a result may have."""
    hook = {"webhook_url": scene.receiver.url(), "event": EVENTS}
    scene.http("first").post("/webhook/add", json=hook).raise_for_status()
    small = {"width": 128, "height": 128}
    once = {"idempotency-key": "finished-once"}
    # The worker's first, with a cold start. The sampler has a warning; the prompt is longer than what the model reads.
    warned = {"prompt": "a fox in the snow, " * 8, "sampler": "dpmpp_2m", "scheduler": "normal"}
    scene.finished("first", TEXT, once, **warned, **small, steps=3, batch_size=3, seed=7, unheard_of=1)
    scene.finished("first", TEXT, prompt="a fox", aspect_ratio="1:1 square 1024x1024", steps=1, image_quality=20)
    upload = scene.http("first").post("/upload-asset", json={"data_urls": [data_uri()]}).json()["file_urls"][0]
    scene.notes["upload"] = path = upload.removeprefix(scene.server.address)
    few = {"num_inference_steps": 4, "samples": 2, "strength": 0.5}
    scene.finished("first", MEDIUM, prompt="a cat", image=path, **few, exact=True, seed=2**60, base64=True)
    scene.finished("first", TURBO, prompt="a dog", image=data_uri(), mode="image-to-image", output_format="png")
    scene.finished("laptop", FURTHER, prompt="a fox", image=data_uri(), img_width=128, img_height=192, strength=0.2)
    scene.finished("studio", TEXT, prompt="a boat", image_format="webp", **small, steps=2)
    scene.finished("test", TEXT, prompt="test:retries:1", **small)
    until(lambda: len(scene.receiver.messages) >= 5)


def fail(scene: Scene) -> None:
    """FAILED requests: by their caller's fault, cancelled, given up, and as a test key's prompt says."""
    scene.finished("first", OLD, prompt="a fox", image="http://127.0.0.1:9/fox.png")
    scene.finished("test", TEXT, prompt="test:fail:model")
    operator = scene.http("first")
    operator.post("/v2/operator/queue/pause").raise_for_status()
    cancelled = scene.submit("studio", TEXT, prompt="a fox", batch_size=2)
    scene.http("studio").put(f"/v2/requests/{cancelled}/cancel").raise_for_status()
    scene.ended.append({"key": "studio", "id": cancelled})
    scene.finished("first", TEXT, {"cancel-after": "0.2"}, prompt="a fox")
    operator.post("/v2/operator/queue/resume").raise_for_status()


def leave_a_message(scene: Scene) -> None:
    """A webhook message that its receiver has refused once."""
    scene.receiver.answer = lambda _: (503, {})
    hook = scene.http("first").get("/webhook/get").json()["webhooks"][0]["webhook_id"]
    id = scene.finished("first", TEXT, prompt="a message", width=128, height=128, steps=1)
    logs = f"/webhook/dispatch-logs?webhook_id={hook}"

    def refused() -> bool:
        told = scene.http("first").get(logs).json()["logs"]
        return any(one["request_id"] == id and one["response_status"] == 503 for one in told)

    until(refused)
    scene.notes["undelivered"] = id


def run(scene: Scene) -> None:
    """A request that is at a step when its worker freezes, with previews."""
    long = {"width": 256, "height": 256, "steps": 70, "batch_size": 4, "seed": 11}
    id = scene.waiting("studio", TEXT, (4, "jpeg", 256, 256), prompt="a long way", **long)
    with scene.http("studio").stream("GET", f"/v2/requests/{id}/events") as events:
        next(line for line in events.iter_lines() if line == "event: preview")
    until(lambda: scene.status("studio", id)["step"] > 0)
    for worker in scene.server.workers():
        worker.suspend()
    assert scene.status("studio", id)["status"] == "PROCESSING"
    scene.notes["running"] = id


def queue(scene: Scene) -> None:
    """QUEUED requests in every model's own words; nothing runs any more, but what test keys ask for."""
    sample = {"prompt": "a castle", "image": "/sd-img2img-input.jpeg", "strength": 0.1}
    wide = {"scheduler": "DPM Multi", "img_width": 768, "img_height": 512}
    scene.waiting("first", OLD, (2, "jpeg", 768, 512), **sample, **wide, samples=2, seed=-1)
    alone = {"num_inference_steps": 20, "guidance_scale": 1, "base64": True, "exact": True}
    scene.waiting("first", OLD, (1, "jpeg", 512, 512), **sample, **alone)
    # From the body: the row names a file in `inputs`.
    few = {"num_inference_steps": 3, "sampler": "euler_ancestral", "scheduler": "karras", "seed": 3}
    scene.waiting("first", MEDIUM, (2, "jpeg", 128, 128), prompt="a cat", image=data_uri(), **few, samples=2)
    fixed = {"mode": "image-to-image", "image": scene.notes["upload"], "output_format": "png"}
    scene.waiting("first", TURBO, (1, "png", 128, 128), **fixed)
    shaped = {"aspect_ratio": "16:9 landscape 1344x768", "image_format": "webp", "batch_size": 2, "steps": 1}
    scene.waiting("first", TEXT, (2, "webp", 1344, 768), {"cancel-after": "3600"}, prompt="a fox", **shaped)
    small = {"img_width": 128, "img_height": 192, "strength": 0.2}
    scene.waiting("laptop", FURTHER, (1, "jpeg", 128, 192), prompt="a fox", image=data_uri(), **small)
    told = {"idempotency-key": "queued-once", "x-webhook-url": scene.receiver.url("/one")}
    once = {"prompt": "a boat", "width": 128, "height": 128, "steps": 2, "sampler": "dpmpp_2m", "scheduler": "normal"}
    scene.waiting("studio", TEXT, (1, "jpeg", 128, 128), told, **once)
    later = {"prompt": "test:queued:20 test:processing:1", "width": 128, "height": 128}
    scene.waiting("test", TEXT, (1, "jpeg", 128, 128), **later)
    scene.waiting("test", OLD, (1, "jpeg", 512, 512), prompt="test:processing:1 test:retries:2", image=sample["image"])


def data_uri() -> str:
    """A small input picture."""
    return "data:image/png;base64," + b64encode(gradient(128, 128)).decode()


def keep(scene: Scene, target: Path) -> None:
    """Copy what the next version gets."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(scene.server.data, target / "data", ignore=shutil.ignore_patterns("*.log", "tintype.db-*"))
    (target / "answers.json").write_text(json.dumps(scene.notes, indent=1, ensure_ascii=False) + "\n")


def on_sqlite(folder: Path) -> None:
    with played(folder / "sqlite", "") as scene:
        with closing(sqlite3.connect(scene.server.data / "tintype.db", isolation_level=None)) as db:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        keep(scene, FOLDER / "sqlite")


def on_postgres(folder: Path) -> None:
    folder.chmod(0o755)  # the server runs as another user
    with postgres_server(folder / "server") as postgres:
        url = postgres.empty()
        with played(folder / "postgres", url) as scene:
            keep(scene, FOLDER / "postgres")
        (FOLDER / "postgres" / "dump.sql").write_text(dump(url))


def dump(url: str) -> str:
    """A database as statements that any client may send."""
    program = server_program("pg_dump")
    assert program
    whole = ("--inserts", "--rows-per-insert=100", "--no-owner", "--no-privileges")
    plain = make_url(url).set(drivername="postgresql").render_as_string()
    written = subprocess.run([program, *whole, plain], check=True, capture_output=True, text=True).stdout
    lines = (line for line in written.splitlines() if line and not line.startswith(("--", "\\")))  # psql's own commands
    return "\n".join(lines) + "\n"


@contextmanager
def played(data: Path, url: str) -> Iterator[Scene]:
    with receiving() as receiver:
        scene = Scene(data, url, receiver)
        try:
            play(scene)
            yield scene
        finally:
            if scene.server.process and scene.server.process.poll() is None:
                scene.server.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tintype-upgrade-") as place:
        on_sqlite(Path(place))
        on_postgres(Path(place))
