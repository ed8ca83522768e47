"""The web process: routes, middleware, background jobs and the fake worker of test mode, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, suppress
from functools import cache, partial
from typing import Any

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from tintype import __version__
from tintype.catalog.spec import Catalogue
from tintype.errors import RequestUnknown, StorageUnavailable, StoreUnavailable, TintypeError
from tintype.hub.registry import Registry
from tintype.media.provenance.marker import Marker
from tintype.settings import Settings
from tintype.store.db.measurements import BUCKET
from tintype.store.db.notify import Channel, Listener
from tintype.store.ops.processes import SERVER_HEARTBEAT
from tintype.store.store import Store
from tintype.telemetry.logs import Outage
from tintype.testmode.fake_worker import FakeWorker
from tintype.testmode.images import FakeOutputs
from tintype.web.account import credits, history, images, keys, messages, webhooks
from tintype.web.cleanup import Cleanup
from tintype.web.dialects import model_list
from tintype.web.dialects.a1111 import A1111
from tintype.web.dialects.comfy import Comfy
from tintype.web.dialects.openai import OpenAI
from tintype.web.dialects.replicate import Replicate
from tintype.web.errors import add_error_handlers
from tintype.web.files import Files
from tintype.web.generate import events, operations, recipes, uploads
from tintype.web.generate.dialect import Dialect
from tintype.web.generate.models import models_router, warm_router
from tintype.web.generate.submit import submit_together
from tintype.web.generate.v1 import V1
from tintype.web.generate.v2 import V2
from tintype.web.middleware import CallMetrics, Exchanges
from tintype.web.openapi import ABOUT, CONTACT, LICENSE, TAGS, finish
from tintype.web.operator import server
from tintype.web.pages import public, shell, verify
from tintype.web.responses import Described
from tintype.web.runtime import Runtime
from tintype.web.shutdown import Shutdown
from tintype.web.threads import Bunches

log = structlog.get_logger()

#: Seconds between polls for requests that are past their deadline.
DEADLINES = 1.0
#: Seconds between samples for the time series; of several servers, the first one writes each.
SAMPLES = BUCKET / 2

#: What JavaScript libraries of other hosts' APIs send by themselves: a browser refuses the whole call for one of them.
OF_LIBRARIES = (
    "openai-organization",
    "openai-project",
    "prefer",
    "user-agent",
    "x-stainless-arch",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-timeout",
)
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
        *OF_LIBRARIES,
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
DIALECTS: tuple[Dialect, ...] = (OpenAI(), A1111(), Replicate(), V1(), Comfy(), V2())


class Origins:
    """Says which pages may call what: those of `allowed` origins everything, any page what is `anybodys`."""

    def __init__(self, app: ASGIApp, allowed: Collection[str], anybodys: Collection[str]) -> None:
        self._anybodys = anybodys
        self._to_any = CORSMiddleware(app, allow_origins=("*",), **CORS)
        self._to_allowed = CORSMiddleware(app, allow_origins=[*allowed], **CORS) if allowed else app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._to_any if scope.get("path") in self._anybodys else self._to_allowed
        await app(scope, receive, send)


def all_routers(catalogue: Catalogue) -> list[APIRouter]:
    """Every route of a server with these models; the first that matches answers."""
    return [
        warm_router,  # first: another API has addresses below /v2/models too
        *(dialect.routes(catalogue) for dialect in DIALECTS),
        events.router,
        public.router,
        public.samples_router(),
        shell.router,
        verify.router,
        webhooks.router,
        uploads.router,
        recipes.router,
        history.router,
        images.router,
        credits.router,
        keys.router,
        server.router,
        model_list.router(),
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
    # For test mode, whose one thread waits for no signer.
    marker = Marker.from_settings(settings.provenance, settings.web.public_url, store.signers, timeout=0.0)

    cleaning = Cleanup(store, files, settings.retention)

    def cleanup() -> None:
        cleaning.run()

    def end_overdue() -> None:
        _end_overdue(store, runtime)

    def heartbeat() -> None:
        store.ops.servers.heartbeat(name, registry.identities)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        outputs = FakeOutputs(store.queue.input_size, files.outputs, files.max_pixels, marker)
        fake = FakeWorker(store.leases, registry.served, outputs, settings.queue.heartbeat, runtime.test_accepted)
        jobs = (
            _every(settings.retention.cleanup_interval, cleanup),
            _every(DEADLINES, end_overdue),
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
        await run_in_threadpool(runtime.verifier.close)
        runtime.threads.close()
        store.close()

    app = FastAPI(
        title="tintype",
        version=__version__,
        description=ABOUT,
        contact=CONTACT,
        license_info=LICENSE,
        openapi_tags=[{"name": name, "description": words} for name, words in TAGS.items()],
        lifespan=lifespan,
        webhooks=messages.router,
        openapi_url=None,  # public.py's has the server's address, and is cached
        docs_url=None,  # its page loads scripts from the internet
        redoc_url=None,
        redirect_slashes=False,  # its 307 has no JSON
        # Spans are telemetry/'s: the framework's have the messages of errors, and asking for them costs each call.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.store, app.state.files, app.state.runtime = store, files, runtime
    app.state.submissions = Bunches(runtime.threads, partial(submit_together, store.queue))
    app.state.dialects = DIALECTS
    runtime.metrics.calls.expect({one.name for one in DIALECTS})
    shell.assets()  # now, not in the first caller's time
    _describe(app, registry.served)
    routers = all_routers(registry.served)
    routers.append(head_router(routers))
    # Not included: the framework would build every route again, with its models' validators.
    app.router.routes += (route for router in routers for route in router.routes)
    add_error_handlers(app, shell.missing)
    app.add_middleware(Exchanges, store=store, runtime=runtime)
    # Outside of errors, which need its headers too, and of authentication.
    app.add_middleware(Origins, allowed=settings.web.cors_origins, anybodys=verify.OPEN)
    app.add_middleware(CallMetrics, calls=runtime.metrics.calls)  # outermost: preflights are counted too
    return app


def _end_overdue(store: Store, runtime: Runtime) -> None:
    """End requests that are past their deadline, and those that were left while the database was away."""
    store.queue.end_overdue()
    for id, account_id in [*runtime.abandoned.items()]:
        with suppress(RequestUnknown):
            store.queue.cancel(id, account_id)
        del runtime.abandoned[id]


def _describe(app: FastAPI, catalogue: Catalogue) -> None:
    """Complete `/openapi.json` with what the framework doesn't know."""
    plain = app.openapi

    def schemes(path: str) -> Collection[str]:
        return next(one.schemes for one in app.state.dialects if one.owns(path))

    def openapi() -> dict[str, Any]:
        schemas = operations.bodies(catalogue) | events.schemas()
        return finish(plain(), app.routes, schemas, events.PreviewEvent, authorization=schemes)

    app.openapi = openapi  # type: ignore[method-assign]
    app.state.described = cache(lambda: Described(app.openapi()))


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
