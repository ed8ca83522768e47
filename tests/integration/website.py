"""The web process's own app behind a real socket, without workers: tests play the worker, so that nothing is timed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import httpx2
import uvicorn
from fastapi import FastAPI
from sqlalchemy import select
from tests.clients import NO_TLS
from tests.databases import migrated
from tests.tenants import Tenant

from tintype.cli.web_server import listen, web_server
from tintype.core import GenerationParams, Recipe
from tintype.hub.registry import build_registry
from tintype.settings import Settings
from tintype.store.db.records import Progress, Request
from tintype.store.db.tables import requests
from tintype.store.store import Store
from tintype.web.cleanup import Cleanup
from tintype.web.files import Files
from tintype.web.runtime import Runtime

#: What its requests have unless they say otherwise.
ASKS = {
    "slug": "sd1.5-img2img",
    "params": {"prompt": "a fox"},
    "price": 1_000,
    "steps": 4,
    "speed_key": "sd1.5-img2img 18 1",
}
PARAMS = GenerationParams(prompt="a fox", steps=4, guidance=5.0, seed=7, sampler="euler")
RECIPE = Recipe(model="m", params=PARAMS, weights="w", dtype="float32", t5_tokens=1, source="")
#: Settings with which a worker is alive for as long as a test takes, whenever it had a heartbeat.
PATIENT: dict[str, Any] = {"heartbeat": 60}
RESULT = {"pictures": [], "format": "png", "seed": 7, "inference_time": 1.5, "recipe": RECIPE.to_json()}


class Inside(NamedTuple):
    """What handlers are given."""

    store: Store
    files: Files
    runtime: Runtime


class Website(Tenant):
    """A server in a thread, what is inside of it, and a tenant of its."""

    def __init__(self, server: uvicorn.Server, address: str) -> None:
        self.server = server
        self.app: FastAPI = cast(Any, server.config.app)
        state = self.app.state
        self.own = Inside(state.store, state.files, state.runtime)
        self.address = address
        super().__init__(self.own.store, 1_000_000, asks=ASKS)

    @contextmanager
    def http(self, secret: str | None = None) -> Iterator[httpx2.Client]:
        """A client; of the account, unless told otherwise."""
        headers = {"x-api-key": secret or self.secret}
        with httpx2.Client(base_url=self.address, headers=headers, timeout=120, verify=NO_TLS) as client:
            yield client

    def cancel_all(self) -> None:
        """Cancel what the account has in the queue."""
        mine = select(requests.c.id).where(requests.c.account_id == self.account_id, requests.c.status == "QUEUED")
        with self.db.read() as view:
            queued = view.scalars(mine).all()
        for id in queued:
            self.store.queue.cancel(id, self.account_id)

    def claim(self, worker: str = "w1", **about: Any) -> Request:
        """What a worker is given that the server has heard of."""
        self.beat(worker)
        return super().claim(worker, **about)

    def clean_up(self) -> None:
        """Delete what has expired, as the server does again and again."""
        Cleanup(self.own.store, self.own.files, self.own.runtime.settings.retention).run()

    def step(self, request: Request, step: int) -> None:
        """Say how far it is, as a worker's heartbeat does."""
        self.store.leases.renew([Progress(request.id, request.attempt, step, 4)])

    def complete(self, request: Request | None = None, images: int = 1) -> Request:
        """End a claimed request, or the next one, with images that are there."""
        made = [
            {"name": self.own.files.outputs.put(b"picture", "png"), "size": 7, "width": 8, "height": 8, "seed": 7}
            for _ in range(images)
        ]
        return super().complete(request, steps=4, **{**RESULT, "pictures": made})


@contextmanager
def serving(data: Path, **settings: Any) -> Iterator[Website]:
    """A website on this data while the block lasts; it may be one of several."""
    wanted = Settings.of(
        data=data, **{"events_poll": 0.01, "cleanup_interval": 3600, "web_drain": 0, "web_grace": 10, **settings}
    )
    migrated(wanted.sqlalchemy_url)
    listener = listen("127.0.0.1", 0)
    server = web_server(wanted, build_registry(wanted))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener.socket]}, daemon=True)
    thread.start()
    try:
        yield Website(server, listener.url)
    finally:
        server.stop()
        thread.join(60)
