"""The worker's two ways in: a process that claims requests until it is stopped, and one request without a queue."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from tintype.core import GenerationParams
from tintype.diffusion.image_state import ImageState
from tintype.engine import Engine
from tintype.hub.registry import Registry
from tintype.media.images import Encoded
from tintype.media.provenance.marker import NO_MARKS, Marker
from tintype.media.storage import open_storage
from tintype.settings import Settings
from tintype.store.db.notify import Channel, Listener, can_wake
from tintype.store.store import Store
from tintype.telemetry.logs import ProcessLog
from tintype.telemetry.traces import open_tracing
from tintype.worker.heartbeat import Heartbeat
from tintype.worker.inputs import Images, Inputs
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.models import LoadedModel, ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter, finish
from tintype.worker.plan import make_plan
from tintype.worker.previews import PreviewRenderer


def run_worker(
    settings: Settings, registry: Registry, device: str, parent: int | None, worker_id: str, about: Mapping[str, Any]
) -> None:
    """Work until SIGTERM or SIGINT, until drained, or until the process `parent` is no longer this one's.

    about: what the line at its start says in addition to device and id.
    """
    if settings.worker.threads:
        torch.set_num_threads(settings.worker.threads)
    inputs = Inputs.from_settings(settings)
    store = Store.open(settings, process="worker", discard=inputs.inputs.discard)
    config = _config(settings, registry, worker_id, parent, notified=can_wake(store.db))
    models = ModelPool.from_settings(settings, registry, device)
    models.pin(map(registry.served.find, config.pinned))
    safety = SafetyFilter.from_settings(settings)
    if settings.safety.level != "off" and settings.safety.checker != "none":
        safety.load()  # what is wrong with it is raised now, not at the first image
    storage = open_storage(settings.storage, settings.outputs_folder, settings.retention.file_ttl)
    marker = Marker.from_settings(settings.provenance, settings.web.public_url, store.signers)
    outputs = Outputs(store.leases, storage, safety, marker, with_recipe=settings.worker.embed_recipe)
    tracing = open_tracing(settings.telemetry.traces, "worker", worker_id)
    worker = Worker(store, models, inputs, outputs, config, tracing)
    process_log = ProcessLog(worker=worker_id, device=str(models.device), **about)

    def stop(number: int, _frame: object) -> None:
        process_log.stopping(number)
        worker.signalled()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    heartbeat = Heartbeat(worker, PreviewRenderer(store.queue.previews, safety, marker), process_log)

    def told(_: str) -> None:
        marker.refresh()
        worker.told()

    heard = {Channel.QUEUED: lambda _: worker.timer.wake(), Channel.WORKERS: told}
    with process_log:
        with inputs, heartbeat, Listener(store.db, heard):
            inputs.warm()
            models.check()
            worker.run()
            outputs.breaker.stop()
        tracing.close()
        store.close()
    # Immediately: Python would wait for downloads under way, which takes long for an address that never answers.
    os._exit(0)


def _config(
    settings: Settings, registry: Registry, worker_id: str, parent: int | None, *, notified: bool
) -> WorkerConfig:
    return WorkerConfig(
        id=worker_id,
        max_images=settings.worker.max_images,
        max_rows=settings.worker.max_rows,
        poll=settings.queue.poll_with_notify if notified else settings.queue.poll,
        grace=settings.worker.grace,
        heartbeat=settings.queue.heartbeat,
        warm_wait=settings.queue.warm_wait,
        pinned=settings.memory.pin | registry.pinned,
        parent=parent,
    )


def generate(
    loaded: LoadedModel,
    slug: str,
    params: GenerationParams,
    inputs: Images,
    max_rows: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    marker: Marker = NO_MARKS,
    mark: str | None = None,
) -> list[Encoded]:
    """The files of one request, made in this process; what `tintype generate` and `tintype replay` do.

    progress: is told model evaluations done and in all. mark: of the watermark, the number in hex, or an empty text for
    none; the marker's own where it is None. Raises what the model raises, MarkUnavailable and StoreUnavailable.
    """
    engine, plan = Engine(max_rows), make_plan(loaded, slug, params, inputs)
    with torch.inference_mode():
        images = plan.begin()
        for one in images:
            engine.add(one, exact=params.exact)
        while engine.live:
            engine.step()
            progress(sum(one.step for one in images), sum(one.steps for one in images))
        pixels = [one.family.autoencoder.decode(_latents(one), exact=one.exact) for one in images]
    recipes = [plan.recipe.of(seed) for seed in params.seeds]
    recipes = [marker.numbered(one) if mark is None else replace(one, mark=mark) for one in recipes]
    finished = zip(pixels, recipes, strict=True)
    return [finish(marker, params, plan, drawn, recipe, with_recipe=True)[0] for drawn, recipe in finished]


def _latents(image: ImageState) -> torch.Tensor:
    if image.latents is None:
        raise image.error or RuntimeError("an image ended without latents")
    return image.latents
