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
from tintype.store.db.database import Database
from tintype.store.db.notify import Bell
from tintype.store.ops.preload import Warmups
from tintype.store.ops.workers import Workers
from tintype.store.queue.previews import Previews
from tintype.store.queue.requests import Requests
from tintype.telemetry.logs import Life
from tintype.telemetry.traces import open_tracing
from tintype.worker.heartbeat import Heartbeat, Reporter
from tintype.worker.inputs import Inputs
from tintype.worker.loop import Worker
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.preload import Preloader
from tintype.worker.previews import PreviewRenderer


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
    db = Database(settings.database, patience=settings.database_patience, process="worker")
    models = ModelPool.from_settings(settings, registry.weights, device, registry.keep_alive)
    outputs = open_storage(settings, settings.outputs_folder, settings.picture_life)
    pictures = Inputs.from_settings(settings)
    requests = Requests(
        db,
        lease=settings.lease,
        retention=settings.retention,
        warm_wait=settings.warm_wait,
        discard=pictures.inputs.discard,
    )
    pinned = settings.pin | registry.pinned
    models.pin(registry.catalogue.find(slug) for slug in pinned)
    warming = Preloader(
        worker_id,
        registry.catalogue,
        models,
        Warmups(db),
        pinned,
        interval=settings.heartbeat,
    )
    tracing = open_tracing(settings.traces, "worker", worker_id)
    guard = SafetyFilter.from_settings(settings)
    if settings.safety != "off" and settings.safety_checker != "none":
        guard.load()  # what is wrong with it is said now, not at the first picture
    worker = Worker(
        worker_id,
        requests,
        registry.catalogue,
        models,
        pictures,
        Outputs(requests, outputs, guard, with_recipe=settings.embed_recipe),
        Engine(settings.max_rows),
        warming,
        max_pictures=settings.max_pictures,
        poll=settings.poll_with_bell if db.has_bell else settings.poll,
        grace=settings.grace,
        warm_wait=settings.warm_wait,
        tracing=tracing,
    )
    life = Life(worker=worker_id, device=str(models.device), **about)

    def stop(number: int, _frame: object) -> None:
        life.ends(number)
        worker.signalled()

    def end() -> None:
        life.ends("its parent is gone" if parent not in (None, os.getppid()) else "its heartbeat failed")
        worker.stop()

    def drain() -> None:
        life.ends("drained")
        worker.drain()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    heart = Heartbeat(
        worker_id,
        str(models.device),
        requests,
        Workers(db),
        worker.tasks,
        worker.engine,
        PreviewRenderer(Previews(db), guard.hides),
        Reporter(worker.tasks, worker.engine, models, worker.stages, worker.outlet, db.times).report,
        settings.heartbeat,
        parent,
        end,
        drain,
    )
    with life:
        with pictures, heart, Bell(db, worker.look):
            worker.run()
            worker.outlet.close()
        tracing.close()
        db.close()
    # At once: Python would wait for downloads under way, and for an address that never answers that is long.
    os._exit(0)
