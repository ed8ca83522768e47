"""The web process: routes, middleware, background jobs and the fake worker of test mode, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware

from tintype import __version__
from tintype.catalog.spec import Catalogue
from tintype.errors import StorageUnavailable, StoreUnavailable, TintypeError
from tintype.hub.registry import Registry
from tintype.settings import Settings
from tintype.store.db.measurements import BUCKET
from tintype.store.db.notify import Channel, Listener
from tintype.store.ops.processes import SERVER_HEARTBEAT
from tintype.store.store import Store
from tintype.telemetry.logs import Outage
from tintype.testmode.fake_worker import FakeWorker
from tintype.testmode.images import FakeOutputs
from tintype.web.account import credits, history, keys, messages, webhooks
from tintype.web.errors import add_error_handlers
from tintype.web.files import Files
from tintype.web.generate import events, operations, uploads
from tintype.web.generate.dialect import Dialect
from tintype.web.generate.models import models_router, warm_router
from tintype.web.generate.v1 import V1
from tintype.web.generate.v2 import V2
from tintype.web.middleware import CallMetrics, Exchanges
from tintype.web.openapi import ABOUT, TAGS, finish
from tintype.web.operator import server
from tintype.web.pages import public, shell
from tintype.web.responses import json_bytes
from tintype.web.runtime import Runtime
from tintype.web.shutdown import Shutdown

log = structlog.get_logger()

#: Seconds between polls for requests that are past their deadline.
DEADLINES = 1.0
#: Seconds between samples for the time series; of several servers, the first one writes each.
SAMPLES = BUCKET / 2

#: What pages of other origins may send and read, if they are allowed.
CORS: dict[str, Any] = {
    "allow_methods": ("GET", "HEAD", "POST", "PUT", "DELETE"),
    "allow_headers": (
        "content-type",
        "x-api-key",
        "authorization",
        "idempotency-key",
        "cancel-after",
        "x-webhook-url",
        "last-event-id",
        "traceparent",
    ),
    "expose_headers": (
        "x-request-id",
        "x-cost",
        "x-remaining-credits",
        "x-seed-value",
        "x-generation-time",
        "x-output-metadata",
        "x-warning",
        "x-ignored-parameters",
        "x-weights",
        "x-cold-start",
        "x-mode",
        "x-should-retry",
        "x-rate-limit-remaining",
        "x-rate-limit-reset-at-utc",
        "retry-after",
        "idempotent-replayed",
    ),
    # Allowed origins may be on the internet, and this server on a private network.
    "allow_private_network": True,
    # Seconds for which browsers cache it; Chromium's maximum.
    "max_age": 7200,
}

#: Addresses whose GET changes something, or doesn't end.
NO_HEAD = ("/webhook/inactive", "/v2/requests/{request_id}/events")


#: The public APIs. An address is the first one's that owns it; the last one owns whatever is left.
DIALECTS: tuple[Dialect, ...] = (V1(), V2())


def all_routers(catalogue: Catalogue) -> list[APIRouter]:
    """Every route of a server with these models; the first that matches answers."""
    return [
        *(dialect.routes(catalogue) for dialect in DIALECTS),
        warm_router,
        events.router,
        public.router,
        public.samples_router(),
        shell.router,
        webhooks.router,
        uploads.router,
        history.router,
        credits.router,
        keys.router,
        server.router,
        # Last: it answers for every slug that no earlier route matched.
        models_router(),
    ]


def head_router(routers: Iterable[APIRouter]) -> APIRouter:
    """HEAD wherever these routers take GET, but for NO_HEAD; `/openapi.json` has none of them."""
    heads = APIRouter()  # the endpoints run in their callers' threads already
    for route in (route for router in routers for route in router.routes):
        if isinstance(route, APIRoute) and "GET" in (route.methods or ()) and route.path not in NO_HEAD:
            heads.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                name=route.name,
                include_in_schema=False,
                response_model_exclude_unset=True,
            )
    return heads


def create_app(settings: Settings, registry: Registry, shutdown: Shutdown, name: str = "") -> FastAPI:
    """The ASGI application of a server whose stopping `shutdown` reports.

    name: the server's in the database; without one, it isn't registered there.
    """
    inputs = Files.open_inputs(settings)
    store = Store.open(settings, process="web", discard=inputs.discard)
    files = Files.open(settings, inputs, store)
    runtime = Runtime.open(settings, registry, store, shutdown, name)

    def cleanup() -> None:
        delete_expired(store, files)

    def heartbeat() -> None:
        store.ops.servers.heartbeat(name, registry.identities)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        outputs = FakeOutputs(store.queue.input_size, files.outputs, files.max_pixels)
        fake = FakeWorker(store.leases, registry.catalogue, outputs, settings.queue.heartbeat, runtime.test_accepted)
        jobs = (
            _every(settings.retention.cleanup_interval, cleanup),
            _every(DEADLINES, store.queue.end_overdue),
            _every(SAMPLES, runtime.readiness.keep_samples),
        )
        presence = [_every(SERVER_HEARTBEAT, heartbeat)] if name else []
        tasks = [asyncio.create_task(job) for job in (*jobs, *presence)]
        heard = {Channel.ENDED: runtime.watcher.heard, Channel.TEST_QUEUED: lambda _: runtime.test_accepted.set()}
        listener = Listener(store.db, heard)
        listener.start()
        fake.start()
        yield
        await run_in_threadpool(listener.stop)
        for task in tasks:
            task.cancel()
        # Work in threads runs to its end; only then can its connections be closed.
        await asyncio.gather(runtime.watcher.close(), *tasks, return_exceptions=True)
        await run_in_threadpool(fake.stop)
        if name:
            with suppress(StoreUnavailable):  # it counts as gone soon
                await run_in_threadpool(store.ops.servers.leave, name)
        await run_in_threadpool(runtime.tracing.close)
        runtime.threads.close()
        store.close()

    app = FastAPI(
        title="tintype",
        version=__version__,
        description=ABOUT,
        contact={"name": "The operator of this server"},
        license_info={"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        openapi_tags=[{"name": name, "description": words} for name, words in TAGS.items()],
        lifespan=lifespan,
        webhooks=messages.router,
        openapi_url=None,  # public.py's has the server's address, and is cached
        docs_url=None,  # its page loads scripts from the internet
        redoc_url=None,
        redirect_slashes=False,  # its 307 has no JSON
    )
    app.state.store, app.state.files, app.state.runtime = store, files, runtime
    app.state.dialects = DIALECTS
    _describe(app, registry.catalogue)
    routers = all_routers(registry.catalogue)
    routers.append(head_router(routers))
    # Not included: the framework would build every route again, with its models' validators.
    app.router.routes += (route for router in routers for route in router.routes)
    add_error_handlers(app)
    app.add_middleware(Exchanges, store=store, runtime=runtime)
    if settings.web.cors_origins:  # outside of errors, which need its headers too, and of authentication
        app.add_middleware(CORSMiddleware, allow_origins=settings.web.cors_origins, **CORS)
    app.add_middleware(CallMetrics, calls=runtime.metrics.calls)  # outermost: preflights are counted too
    return app


def delete_expired(store: Store, files: Files) -> None:
    """Delete what has expired: records, and files but for those that requests still need."""
    store.webhooks.outbox.expire()
    store.queue.previews.expire()
    store.ops.preloads.expire()
    store.queue.history.expire()
    store.uploads.expire()
    store.delegation.expire()
    store.audit.expire()
    store.queue.expire()
    # Last: a storage that is away delays these until a later cleanup.
    files.expire(store.queue.needed_inputs())


def _describe(app: FastAPI, catalogue: Catalogue) -> None:
    """Complete `/openapi.json` with what the framework doesn't know."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        return finish(plain(), app.routes, operations.bodies(catalogue) | events.schemas(), events.PreviewEvent)

    app.openapi = openapi  # type: ignore[method-assign]
    #: As bytes, cached: all but the server's own address is the same for all callers.
    app.state.described = cache(lambda: json_bytes(app.openapi()))


async def _every(seconds: float, job: Callable[[], None]) -> None:
    """Run a job periodically, whatever it raises; a lasting failure is logged once, with its traceback."""
    failing = Outage("housekeeping fails", "housekeeping goes on", job=job.__name__)
    while True:
        try:
            await run_in_threadpool(job)
        except (StoreUnavailable, StorageUnavailable):
            pass  # the database and the storage log it themselves
        except TintypeError as error:
            failing.failed(_in_words(error))
        except Exception as error:
            if not failing.lasts:
                log.exception("housekeeping failed", job=job.__name__, error=type(error).__name__)
            failing.failed(type(error).__name__)
        else:
            failing.succeeded()
        await asyncio.sleep(seconds)


def _in_words(error: TintypeError) -> str:
    cause = next(iter(str(error.__cause__ or "").splitlines()), "")
    return f"{error.message} ({cause})" if cause else error.message
