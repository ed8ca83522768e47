"""The deploy files' own commands, outside of containers: weights come from a hub, and a picture is drawn with them."""

from __future__ import annotations

import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO

import httpx2
import pytest
from PIL import Image

from tests.acceptance.harness import KEY, READY, until
from tests.clients import NO_TLS
from tests.databases import PostgresServer
from tests.deploy_files import Compose, Folders, Kubernetes, Process, Systemd
from tests.integration.toyhub import TOKEN, ToyHub, toy_hub
from tests.object_storage import ObjectStorage, object_storage
from tests.toy_weights import toy_weights
from tintype.catalog.models import SOURCES

SD15 = "sd1.5-img2img"


@pytest.fixture
def hub(weights: Path) -> Iterator[ToyHub]:
    """Stable Diffusion 1.5's own repository with toy weights, for whoever has a token."""
    with toy_hub() as hub:
        hub.add(SOURCES[SD15].repository, toy_weights("sd15", weights)).gated = True
        yield hub


@pytest.fixture
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


class Site:
    """The processes of a deployment, one after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folders = Folders(folder)
        self.closing = ExitStack()
        #: What each wrote, by its file of notes.
        self.notes: dict[Path, Process] = {}

    def start(self, process: Process, **others: str) -> subprocess.Popen[str]:
        note = self.folder.parent / f"writes-{len(self.notes)}"
        self.notes[note] = process
        return self.closing.enter_context(process.running(note, **others))

    def pull(self, process: Process, **others: str) -> None:
        """The one-shot that brings weights."""
        said = self.start(process, **others).communicate(timeout=150)
        assert f"{SD15}: {SOURCES[SD15].repository} at " in said[0], said

    def serve(self, process: Process, **others: str) -> httpx2.Client:
        """A server; a client of it."""
        started = self.start(process, TINTYPE_PORT="0", **others)
        line = _drained(started, READY)
        base = line.removeprefix(READY).strip().replace("0.0.0.0", "127.0.0.1")
        keyed = {"x-api-key": KEY}
        return self.closing.enter_context(httpx2.Client(base_url=base, headers=keyed, timeout=120, verify=NO_TLS))

    def draws(self, http: httpx2.Client) -> None:
        """A picture is made, and not with the built-in weights."""
        until(lambda: http.get("/ready").is_success)
        picture = BytesIO()
        Image.new("RGB", (64, 64), "teal").save(picture, "png")
        body = {"prompt": "a fox", "image": b64encode(picture.getvalue()).decode(), "strength": 0.1}
        drawn = http.post(f"/v1/{SD15}", json=body)
        assert (drawn.status_code, drawn.headers.get("x-weights")) == (200, None), drawn.text

    def close(self) -> None:
        """Everything ends by SIGTERM, and nothing was written but where the files have a place for it."""
        self.closing.close()
        assert {path for note, process in self.notes.items() for path in process.elsewhere(note)} == set()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "volumes")
    with site.closing:
        yield site


def test_kubernetes(site: Site, hub: ToyHub, storage: ObjectStorage, postgres: PostgresServer) -> None:
    url = postgres.empty()
    own = {"TINTYPE_DATABASE_URL": url, "TINTYPE_STORAGE_ENDPOINT": storage.settings["storage_endpoint"]}
    own["TINTYPE_BOOTSTRAP_KEY"] = KEY
    cluster = Kubernetes(site.folders, {"tintype": own, "tintype-hub": {"HF_TOKEN": TOKEN}})
    waiting = site.start(cluster.process("Deployment", "tintype-worker", first=True))
    assert _drained(waiting, "waiting for weights: ", "stderr").startswith(f"waiting for weights: {SD15}: ")
    http = site.serve(cluster.process("Deployment", "tintype-web"))
    assert waiting.poll() is None
    site.pull(cluster.process("Job", "tintype-models"), HF_ENDPOINT=hub.address)
    assert waiting.wait(150) == 0
    site.start(cluster.process("Deployment", "tintype-worker"))
    site.draws(http)
    site.close()
    postgres.drop(url)


@pytest.mark.nightly
def test_compose(site: Site, hub: ToyHub, storage: ObjectStorage, postgres: PostgresServer) -> None:
    url = postgres.empty()
    own = {"TINTYPE_DATABASE_URL": url, "TINTYPE_STORAGE_ENDPOINT": storage.settings["storage_endpoint"]}
    shell = {"TINTYPE_BOOTSTRAP_KEY": KEY, "HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.address, "STORAGE_SECRET": "secret"}
    compose = Compose(site.folders, shell)
    site.pull(compose.process("models"))
    http = site.serve(compose.process("web"), **own)
    site.start(compose.process("worker"), **own)
    site.draws(http)
    site.close()
    postgres.drop(url)


@pytest.mark.nightly
def test_systemd(site: Site, hub: ToyHub) -> None:
    files = {
        "/etc/tintype.env": f"TINTYPE_BOOTSTRAP_KEY={KEY}",
        "/etc/tintype-hub.env": f"HF_TOKEN={TOKEN}\nHF_ENDPOINT={hub.address}",
    }
    machine = Systemd(site.folders, files)
    site.pull(machine.process("tintype-models"))
    site.draws(site.serve(machine.process("tintype")))
    site.close()


def _drained(process: subprocess.Popen[str], begins: str, stream: str = "stdout") -> str:
    """The first line of a stream that begins so; what comes after it, and what the other says, is forgotten."""
    streams: dict[str, IO[str] | None] = {"stdout": process.stdout, "stderr": process.stderr}
    heard = streams.pop(stream)
    [other] = streams.values()
    assert heard
    assert other
    said: list[str] = []
    threading.Thread(target=said.extend, args=(other,), daemon=True).start()
    line = next((line for line in heard if line.startswith(begins)), "")
    assert line, said
    threading.Thread(target=heard.read, daemon=True).start()
    return line
