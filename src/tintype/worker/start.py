"""A worker process: everything put together, and a clean end on SIGTERM."""

from __future__ import annotations

import os
import signal

import structlog
import torch

from tintype.engine import Engine
from tintype.hub.registry import Registry
from tintype.media.storage import open_storage
from tintype.settings import Settings
from tintype.store.bell import Bell
from tintype.store.database import Database
from tintype.store.previews import Previews
from tintype.store.requests import Requests
from tintype.store.warmups import Warmups
from tintype.store.workers import Workers
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

log = structlog.get_logger()


def run_worker(settings: Settings, registry: Registry, device: str, parent: int | None, worker_id: str) -> None:
    """Work until SIGTERM or SIGINT, until drained, or until the process `parent` is no longer this one's."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    db = Database(settings.database, patience=settings.database_patience)
    models = Models.from_settings(settings, registry.weights, device, registry.keep_alive)
    outputs = open_storage(settings, settings.outputs_folder, settings.picture_life)
    pictures = Pictures.from_settings(settings)
    requests = Requests(
        db,
        lease=settings.lease,
        retention=settings.retention,
        warm_wait=settings.warm_wait,
        discard=pictures.inputs.discard,
    )
    pinned = settings.pin | registry.pinned
    models.pin(registry.catalogue.find(slug) for slug in pinned)
    warming = Warming(
        worker_id,
        registry.catalogue,
        models,
        Warmups(db),
        pinned,
        interval=settings.heartbeat,
    )
    tracing = open_tracing(settings.traces, "worker")
    guard = Guard.from_settings(settings)
    if settings.safety != "off" and settings.safety_checker != "none":
        guard.load()  # what is wrong with it is said now, not at the first picture
    worker = Worker(
        worker_id,
        requests,
        registry.catalogue,
        models,
        pictures,
        Delivery(requests, outputs, guard, with_recipe=settings.embed_recipe),
        Engine(settings.max_rows),
        warming,
        max_pictures=settings.max_pictures,
        poll=settings.poll_with_bell if db.has_bell else settings.poll,
        grace=settings.grace,
        warm_wait=settings.warm_wait,
        tracing=tracing,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.signalled())
    heart = Heart(
        worker_id,
        str(models.device),
        requests,
        Workers(db),
        worker.tasks,
        worker.engine,
        Looker(Previews(db), guard.hides),
        Reporter(worker.tasks, worker.engine, models, worker.stages).report,
        settings.heartbeat,
        parent,
        worker.stop,
        worker.drain,
    )
    log.info("worker ready", worker=worker_id, device=str(models.device))
    with pictures, heart, Bell(db, worker.look):
        worker.run()
    tracing.close()
    db.close()
    log.info("worker stopped", worker=worker_id)
    # At once: Python would wait for downloads under way, and for an address that never answers that is long.
    os._exit(0)
