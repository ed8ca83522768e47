"""Replicate's API: predictions. A body's `input` is read in replicate_input.py; models and files have modules too."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi import Request as HttpRequest
from starlette.exceptions import HTTPException

from tintype import errors as e
from tintype.catalog.spec import Catalogue, ModelSpec, Parsed, Purpose
from tintype.core import OWN_FILE, Callback, Json
from tintype.errors import InvalidParameter, MissingParameter, StoreUnavailable, TintypeError
from tintype.store.billing.ledger import plain
from tintype.store.db.records import Request, Status
from tintype.store.queue.queue import Place
from tintype.store.webhooks import predictions
from tintype.store.webhooks.predictions import request_id
from tintype.web.account.webhooks import own_webhook
from tintype.web.auth import Reader, Runner
from tintype.web.clients import own_path
from tintype.web.dependencies import BaseUrl, RuntimeDep, StoreDep
from tintype.web.dialects import replicate_files
from tintype.web.dialects.common import check_json, naming
from tintype.web.dialects.replicate_files import FILES
from tintype.web.dialects.replicate_input import has_image, read_input, translated
from tintype.web.dialects.replicate_models import (
    Name,
    Owner,
    model_named,
    model_of_version,
    models_router,
    version_id,
    versions_of,
)
from tintype.web.dialects.replicate_words import (
    ASKED,
    EVENTS,
    FAULTS,
    MADE,
    TOLD,
    CursorQuery,
    Prediction,
    PredictionPage,
    described,
    in_error,
    read_cursor,
    write_cursor,
)
from tintype.web.errors import REFUSES
from tintype.web.generate import answers
from tintype.web.generate.dialect import Accepted, Call
from tintype.web.generate.submit import OPTIONS, accept, read_call, seconds_of
from tintype.web.generate.v2 import polled
from tintype.web.generate.wait import up_to
from tintype.web.runtime import Runtime
from tintype.web.threads import Threaded, answer_in_thread, asks, in_thread
from tintype.web.wire import MAX_EXACT

#: Its addresses, of which some aren't offered; `/v1/models/{one}` is another API's. With `/v1` twice those of clients
#: whose base URL has one too many: they tell an error's words only where these are its own.
OWN = re.compile(
    r"/v1(/v1)?/((account|collections|deployments|files|hardware|predictions|trainings)(/.*)?"
    r"|webhooks/.*|models/[^/]+/.+)",
    re.DOTALL,
)
CHANGING = ["POST", "PUT", "PATCH", "DELETE"]
#: Members of a body; others mean nothing, as `stream` does.
BODY = frozenset(("input", "version", "model", "webhook", "webhook_events_filter", "webhook_completed", "stream"))
#: Seconds that `Prefer: wait` waits, at most.
MAX_WAIT = 60.0
PREFER = re.compile(r"wait(?:\s*=\s*\"?([0-9]{1,9}(?:\.[0-9]{1,9})?)\"?)?", re.IGNORECASE)
DURATION = re.compile(r"(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,6})s)?", re.IGNORECASE)
#: Predictions of a page.
PAGE = 100


@dataclass(frozen=True)
class Replicate:
    """A call is answered with its prediction as it stands, or as it has ended where it prefers to wait."""

    #: The one that is answered: its account's files are looked up for it, and its webhook is signed for.
    call: Call | None = None
    waits: bool = False

    name = predictions.DIALECT
    schemes = ("bearer", "token", "basic")
    cancels = False

    def owns(self, path: str) -> bool:
        return OWN.fullmatch(path) is not None

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """The operations on predictions; `predict` and `predict_version` make them."""
        router = APIRouter(prefix="/v1", route_class=Threaded)
        make: dict[str, Any] = {"status_code": 201, "response_model": Prediction, "told": MADE, "openapi_extra": ASKED}
        of_one: dict[str, Any] = {"response_model": Prediction, "told": TOLD}
        run = described("images", "predict", "Run a model", *FAULTS, **make)
        run_version = described("images", "predictVersion", "Run a version of a model", *FAULTS, **make)

        @router.post("/models/{owner}/{name}/predictions", **run)
        async def predict(call: PredictionCall, owner: Owner, name: Name) -> Response:
            """Queue a prediction of a model; with `Prefer: wait`, answer when it has ended, within a minute."""
            return await self._predict(call, lambda sent: model_named(catalogue, owner, name, purpose_of(sent)))

        @router.post("/predictions", **run_version)
        async def predict_version(call: PredictionCall) -> Response:
            """The same; the body names the model: by its version, as `owner/name`, or by a slug or an alias."""
            versions = await in_thread(call.http, versions_of, call.runtime)

            def find(sent: Json) -> ModelSpec:
                version = sent.get("version") or sent.get("model")
                return model_of_version(catalogue, versions, version, purpose_of(sent))

            return await self._predict(call, find)

        of_page = described(
            "requests", "listPredictions", "The account's predictions", 400, 422, response_model=PredictionPage
        )
        router.get("/predictions", **of_page)(page)
        router.get(ONE, **described("requests", "getPrediction", "A prediction", 404, **of_one))(one)
        router.post(f"{ONE}/cancel", **described("requests", "cancelPrediction", "Cancel one", 404, **of_one))(cancel)
        router.routes += (*models_router(catalogue).routes, *replicate_files.router.routes)
        for path in ("/predictions", "/files", "/account", "/hardware"):  # which look like a model's, to v1
            router.add_api_route(path, wrong_method, methods=CHANGING, include_in_schema=False, name=REFUSES)
        return router

    def parse(self, spec: ModelSpec, body: Json, /) -> Parsed:
        catalogue = self.call.runtime.registry.served if self.call else Catalogue((spec,))
        found = translated(catalogue, spec, read_input(body), self._own_file)
        stray = [name for name in body.keys() - BODY if body[name] is not None]
        stray += ["stream"] if body.get("stream") else []
        return replace(found, ignored=(*found.ignored, *sorted(stray)), callback=self._callback(spec, body))

    def render(self, call: Call, accepted: Accepted) -> Response:
        request = accepted.request
        known = shown(call.runtime, request, accepted.base)
        if known["status"] == "processing":  # clients that have waited take it for an end
            known["status"] = "starting"
        return answer(known, about(request, accepted.headers), 201)

    def error(self, error: TintypeError) -> Response:
        status, body = in_error(error)
        return body.response(status, error.public_headers(status))

    async def _predict(self, call: Call, find: Any) -> Response:
        """Queue what a call asks for, wait as it prefers, and answer."""
        began, seconds = time.monotonic(), wait_of(call.http)
        check_json(call.http, unsaid=True)
        own = replace(self, call=call, waits=seconds > 0)
        with call.runtime.waits.counted(call.key.account_id) if seconds else nullcontext(), of_input():
            accepted = await accept(call, own, find)
            if seconds and not accepted.request.ended:
                with suppress(StoreUnavailable):  # it is queued: an error would have it sent, and paid for, again
                    accepted = await up_to(call, accepted, max(0.0, seconds - (time.monotonic() - began)))
        return await answer_in_thread(call.http, own.render, call, accepted)

    def _own_file(self, name: str, source: Any) -> Any:
        """The path of the image that an address of `/v1/files` means; anything else as it is."""
        if self.call is None or not isinstance(source, str):
            return source
        path = own_path(source.strip(), self.call.base)
        if not path.startswith(FILES):
            return source
        try:
            found = self.call.store.uploads.find(path.removeprefix(FILES), self.call.key.account_id)
        except e.NotFound:
            raise InvalidParameter(name, source, "the address of a file of this account, as urls.get has it") from None
        return OWN_FILE + found.name

    def _callback(self, spec: ModelSpec, body: Json) -> Callback | None:
        """Where a body wants its prediction sent; the webhook that signs it is made where there is none."""
        name = "webhook" if body.get("webhook") is not None else "webhook_completed"
        url, asked = body.get(name), body.get("webhook_events_filter") or ("start", "completed")
        if not isinstance(asked, list | tuple) or any(one not in EVENTS for one in asked):
            raise InvalidParameter("webhook_events_filter", asked, f"a list of {', '.join(EVENTS)}")
        if url is None or self.call is None:
            return None
        if not isinstance(url, str):
            raise InvalidParameter(name, url, "a public http:// or https:// address")
        runtime = self.call.runtime
        checked = own_webhook(url, self.call.store, runtime.settings, self.call.key, name)
        if checked is None:
            return None
        events = tuple(dict.fromkeys(asked)) if name == "webhook" else ("completed",)
        return Callback(checked, events, version_id(runtime.registry, spec.slug))


@contextmanager
def of_input() -> Iterator[None]:
    """Have errors of a model's parameters name them as members of the input."""
    try:
        yield
    except (InvalidParameter, MissingParameter) as error:
        if error.name.partition(".")[0] in BODY or error.name in {one["name"] for one in OPTIONS}:
            raise
        with naming({error.name: f"input.{error.name}"}):
            raise


async def wrong_method() -> None:
    """For methods that an address doesn't take: v1 would answer that there is no such model."""
    raise HTTPException(405)


# What a call says in addition to its body


def wait_of(http: HttpRequest) -> float:
    """The seconds that a call prefers to wait; 0 where it doesn't."""
    words = (word.strip() for line in http.headers.getlist("prefer") for word in line.split(","))
    found = next((one for word in words if (one := PREFER.fullmatch(word))), None)
    return 0.0 if found is None else MAX_WAIT if found[1] is None else min(MAX_WAIT, float(found[1]))


def read_seconds(cancel_after: str) -> float:
    """Of a Cancel-After: seconds, or as in `30s`, `5m`, `1h30m`."""
    found = DURATION.fullmatch(cancel_after.strip())
    parts = [int(part or 0) for part in found.groups()] if found else []
    seconds = sum(part * of for part, of in zip(parts, (3600, 60, 1), strict=False))
    return seconds or seconds_of(cancel_after)


@asks
async def prediction_call(http: HttpRequest) -> Call:
    """Raises what `call_of` does."""
    return await read_call(http, read_seconds)


PredictionCall = Annotated[Call, Depends(prediction_call)]
Id = Annotated[str, Path(description="A prediction's id, or its request's")]
ONE = "/predictions/{prediction_id}"


def purpose_of(sent: Json) -> Purpose:
    """What a body asks a model for."""
    return "edit" if has_image(sent) else "generate"


# Answers


def shown(runtime: Runtime, request: Request, base: str) -> dict[str, Any]:
    """A request as it stands now."""
    return predictions.prediction(request, base, version_id(runtime.registry, request.slug), time.time())


def about(request: Request, told: dict[str, str]) -> dict[str, str]:
    """The headers of an answer with one request."""
    cost = {"x-cost": plain(request.billing.cost or 0)} if request.status is Status.COMPLETED else {}
    return answers.notes(request, told) | {"x-request-id": request.id} | cost


def answer(known: Any, more: dict[str, str], status: int = 200) -> Response:
    """JSON in ASCII: an input may have any text in it."""
    return Response(json.dumps(known), status, more, media_type="application/json")


def one(
    key: Reader, prediction_id: Id, http: HttpRequest, store: StoreDep, runtime: RuntimeDep, base: BaseUrl
) -> Response:
    """A prediction while its record lives."""
    request = polled(http, store, request_id(prediction_id), key).request
    return answer(shown(runtime, request, base), about(request, {}))


def cancel(key: Runner, prediction_id: Id, store: StoreDep, runtime: RuntimeDep, base: BaseUrl) -> Response:
    """Cancel one immediately, or a running one at its next step; one that has ended stays as it is."""
    request = store.queue.cancel(request_id(prediction_id), key.account_id)
    return answer(shown(runtime, request, base), about(request, {}))


def page(
    key: Reader, store: StoreDep, runtime: RuntimeDep, base: BaseUrl, query: Annotated[CursorQuery, Query()]
) -> Response:
    """The account's predictions, whichever API made them, the newest first, while their records live."""
    newer, place = False, None
    if query.cursor is not None:
        newer, moment, seq = read_cursor(query.cursor, bool, float, int)
        place = Place(moment, max(0, min(seq, MAX_EXACT)))
    found = store.queue.recent(key.account_id, PAGE + 1, place, newer=newer)
    more = len(found) > PAGE
    found = found[-PAGE:] if newer else found[:PAGE]

    def link(there: bool, newer: bool) -> str | None:
        cursor = write_cursor(newer, *Place.of(found[0 if newer else -1])) if there and found else None
        return cursor and f"{base}/v1/predictions?cursor={cursor}"

    before, after = (more, True) if newer else (place is not None, more)
    results = [shown(runtime, request, base) for request in found]
    return answer({"previous": link(before, True), "next": link(after, False), "results": results}, {})
