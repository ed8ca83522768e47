"""Two ways to reach the API: the app in this process with a worker that draws gradients, and a server's processes."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
from segmind import SegmindClient

from tests.acceptance.harness import KEY, Server, here, until
from tests.clients import NO_TLS
from tests.integration.website import Website, serving
from tests.stores import store_on
from tests.toy_weights import BUILTIN
from tintype.catalog.models import MODELS
from tintype.core import GenerationParams, Output, Recipe, Result, Role
from tintype.media.decoder import Decoded
from tintype.media.images import Encoded, encode
from tintype.media.network import Cancellation
from tintype.media.scaling import output_size
from tintype.running import RunningRequest, fail
from tintype.store.billing.ledger import micro
from tintype.store.db.database import Database
from tintype.store.db.records import LeaseStatus, Progress, Request
from tintype.store.store import Store
from tintype.testmode.images import draw

#: Seconds of the model's work, as the gradients' worker tells it.
SECONDS = 0.25
#: Seconds between its heartbeats: the server takes it for dead five after the last one.
BEAT = 1.0
#: Steps from which on that worker never ends a request: it is running until it is cancelled.
MANY = 100


class Api:
    """Where the API is, and the store behind it; KEY is its first account's, an operator's."""

    def __init__(self, address: str, data: Path, url: str, store: Store) -> None:
        self.address = address
        self.data = data
        self.store = store
        self._url = url
        self._closing = ExitStack()

    def http(self, key: str | None = KEY) -> httpx2.Client:
        """A plain HTTP client."""
        headers = {"x-api-key": key} if key else {}
        client = httpx2.Client(base_url=self.address, headers=headers, timeout=120, verify=NO_TLS)
        return self._closing.enter_context(client)

    def sdk(self, key: str = KEY) -> SegmindClient:
        """The vendor's own client."""
        client = SegmindClient(api_key=key, base_url=f"{self.address}/v1", timeout=120)
        self._closing.callback(client._client.close)  # the package itself has no way to close it
        return client

    def new_key(self, dollars: float, **limits: Any) -> str:
        """A key of a new account with this much money."""
        accounts = self.store.accounts
        return accounts.keys.create(accounts.create("other", micro(dollars)).id, "key", **limits)[1]

    def caller(self, dollars: float = 1, **limits: Any) -> httpx2.Client:
        """A client with such a key."""
        return self.http(self.new_key(dollars, **limits))

    def cli(self, *arguments: str) -> str:
        """Run a `tintype` command on the same data; its output."""
        result = here(*arguments, "--data", self.data, TINTYPE_DATABASE_URL=self._url)
        assert result.exit_code == 0, result.output
        return result.stdout.strip()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is submitted while the block lasts stays queued for so long."""
        self.store.queue.pause()
        try:
            yield
        finally:
            self.store.queue.resume()

    def close(self) -> None:
        """Close its clients."""
        self._closing.close()


@contextmanager
def in_process(data: Path, url: str, **settings: Any) -> Iterator[Api]:
    """The app on this empty database, behind a socket of this process, while the block lasts.

    settings: of the web process; without `devices` it has no worker, as a server of its own has none then.
    """
    with _opened(url) as db:
        store_on(db).accounts.bootstrap("first", micro(1_000), KEY)
    works = settings.pop("devices", "auto")
    needed = {slug: str(data) for slug in MODELS.keys() - BUILTIN.keys()}
    settings = {"weights": json.dumps(needed), **settings}
    with serving(data, database_url=url, **settings) as site, ExitStack() as working:
        if works:
            working.enter_context(_drawing(site))
        api = Api(site.address, data, url, site.own.store)
        yield api
        api.close()


@contextmanager
def in_processes(server: Server) -> Iterator[Api]:
    """A running server."""
    with _opened(server.url) as db:
        api = Api(server.address, server.data, server.url, store_on(db))
        yield api
        api.close()


@contextmanager
def _opened(url: str) -> Iterator[Database]:
    db = Database(url)
    yield db
    db.close()


@contextmanager
def _drawing(site: Website) -> Iterator[None]:
    worker = Gradients(site)
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    until(lambda: site.own.store.ops.workers.alive(60))
    yield
    worker.stopped.set()
    thread.join(60)


class Gradients:
    """A worker without weights: it reads input images as any does, and draws what follows from the parameters."""

    def __init__(self, site: Website) -> None:
        self.stopped = threading.Event()
        self._store = site.own.store
        self._storage = site.own.files.outputs
        self._settings = site.own.runtime.settings
        self._endless: dict[str, Request] = {}

    def run(self) -> None:
        """Work until it is stopped."""
        from tintype.worker.inputs import Inputs  # noqa: PLC0415

        with Inputs.from_settings(self._settings) as self._inputs:
            beaten = -math.inf
            while not self.stopped.wait(0.005):
                if time.monotonic() > beaten + BEAT:
                    self._store.ops.workers.heartbeat("gradients", "cpu", 0, 0)
                    beaten = time.monotonic()
                self._renew()
                if request := self._store.leases.claim("gradients", idle=True):
                    self._begin(request)

    def _renew(self) -> None:
        """Say of what never ends that it is at its first step, and end what was cancelled."""
        held = [Progress(one.id, one.attempt, 1, one.steps) for one in self._endless.values()]
        for id, lease in (self._store.leases.renew(held) if held else {}).items():
            if lease is not LeaseStatus.KEEP:
                one = self._endless.pop(id)
                self._store.leases.end_cancelled([(one.id, one.attempt)])

    def _begin(self, request: Request) -> None:
        params = request.generation
        assert params is not None
        if params.steps >= MANY:
            self._endless[request.id] = request
            return
        fetched: Future[Mapping[Role, Decoded]] = Future()
        if params.inputs:
            fetched = self._inputs.submit(params, request.account_id, lambda: None, Cancellation())
        else:
            fetched.set_result({})
        one = RunningRequest[None, Any, None](request, params, fetched)
        try:
            self._store.leases.complete(*one.held, self._draw(request, params, fetched.result()))
        except Exception as error:  # noqa: BLE001 - this worker's own errors fail a request too
            fail(self._store.leases, one, error, storage_shut=False)

    def _draw(self, request: Request, params: GenerationParams, inputs: Mapping[Role, Decoded]) -> Result:
        """The same for the same parameters and pixels to start from, however they were sent."""
        size = output_size(params.width, params.height, inputs["init"].size if inputs else None)
        words = params.prompt + "".join(one.digest for one in inputs.values())

        def output(seed: int) -> Output:
            image = encode(draw(request.slug, words, seed, *size), params.format, params.quality)
            return Encoded(image, *size, seed).store(self._storage, params.format)

        outputs = tuple(map(output, params.seeds))
        recipe = Recipe(model=request.slug, params=params, weights="none", dtype="float32", t5_tokens=1, source="")
        return Result(outputs=outputs, format=params.format, seed=params.seed, inference_time=SECONDS, recipe=recipe)
