"""A worker process: everything put together, and a clean end on SIGTERM."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import torch

from tintype.engine import Engine
from tintype.hub.registry import Registry
from tintype.media.storage import open_storage
from tintype.settings import Settings
from tintype.store.db.notify import Listener
from tintype.store.store import Store
from tintype.telemetry.logs import ProcessLog
from tintype.telemetry.traces import open_tracing
from tintype.worker.delivery import Delivery
from tintype.worker.guard import Guard
from tintype.worker.heart import Heart
from tintype.worker.looker import Looker
from tintype.worker.loop import Worker
from tintype.worker.models import Models
from tintype.worker.pictures import Pictures
from tintype.worker.report import Reporter
from tintype.worker.warming import Warming


def run_worker(
    settings: Settings,
    registry: Registry,
    device: str,
    parent: int | None,
    worker_id: str,
    about: Mapping[str, Any],
) -> None:
    """Work until SIGTERM or SIGINT, until drained, or until the process `parent` is no longer this one's.

    about: what the line at its start says beside device and id.
    """
    if settings.threads:
        torch.set_num_threads(settings.threads)
    models = Models.from_settings(settings, registry.weights, device, registry.keep_alive)
    outputs = open_storage(settings, settings.outputs_folder, settings.picture_life)
    pictures = Pictures.from_settings(settings)
    store = Store.open(settings, process="worker", discard=pictures.inputs.discard)
    pinned = settings.pin | registry.pinned
    models.pin(registry.catalogue.find(slug) for slug in pinned)
    warming = Warming(
        worker_id,
        registry.catalogue,
        models,
        store.ops.preloads,
        pinned,
        interval=settings.heartbeat,
    )
    tracing = open_tracing(settings.traces, "worker", worker_id)
    guard = Guard.from_settings(settings)
    if settings.safety != "off" and settings.safety_checker != "none":
        guard.load()  # what is wrong with it is said now, not at the first picture
    worker = Worker(
        worker_id,
        store.leases,
        registry.catalogue,
        models,
        pictures,
        Delivery(store.leases, outputs, guard, with_recipe=settings.embed_recipe),
        Engine(settings.max_rows),
        warming,
        max_pictures=settings.max_pictures,
        poll=settings.poll_with_bell if store.db.can_notify else settings.poll,
        grace=settings.grace,
        warm_wait=settings.warm_wait,
        tracing=tracing,
    )
    life = ProcessLog(worker=worker_id, device=str(models.device), **about)

    def stop(number: int, _frame: object) -> None:
        life.stopping(number)
        worker.signalled()

    def end() -> None:
        life.stopping("its parent is gone" if parent not in (None, os.getppid()) else "its heartbeat failed")
        worker.stop()

    def drain() -> None:
        life.stopping("drained")
        worker.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    heart = Heart(
        worker_id,
        str(models.device),
        store.leases,
        store.ops.workers,
        worker.tasks,
        worker.engine,
        Looker(store.queue.previews, guard.hides),
        Reporter(worker.tasks, worker.engine, models, worker.stages, worker.breaker, store.db.times).report,
        settings.heartbeat,
        parent,
        end,
        drain,
    )
    with life:
        with pictures, heart, Listener(store.db, worker.look):
            worker.run()
            worker.breaker.stop()
        tracing.close()
        store.close()
    # At once: Python would wait for downloads under way, and for an address that never answers that is long.
    os._exit(0)
