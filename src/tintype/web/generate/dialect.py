"""The seam between public APIs and the queue: a dialect reads bodies and renders answers and errors, no more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from fastapi import APIRouter, Response

from tintype.catalog.spec import Catalogue, ModelSpec, Parsed
from tintype.core import Json
from tintype.errors import StorageUnavailable, TintypeError, WaitRanOut
from tintype.web.errors import CLIENT_GONE
from tintype.web.generate.submit import Accepted, Call, accept
from tintype.web.generate.wait import OUT_OF_REACH, ended, still_running
from tintype.web.threads import in_thread


class Dialect(Protocol):
    """One public API, as the vendor's v1 and v2 are. Another is a module of its own and its place in `app.DIALECTS`."""

    @property
    def waits(self) -> bool:
        """Whether its calls are answered when their request has ended, or as soon as it is queued."""

    def owns(self, path: str) -> bool:
        """Whether an address is its own, where errors have its shape: also those that no route of it has raised."""

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """Its operations, whose endpoints call `generate`, and whatever else its clients ask for."""

    def parse(self, body: Json, spec: ModelSpec) -> Parsed:
        """What a body asks a model for; raises MissingParameter, InvalidParameter."""

    def render(self, call: Call, accepted: Accepted) -> Response:
        """The answer, in one of the caller's threads; raises the error of a request that has FAILED."""

    def error(self, error: TintypeError) -> Response:
        """The answer to a call that has failed."""


async def generate(
    call: Call, dialect: Dialect, find: Callable[[Json], ModelSpec], texts: Collection[str] = ()
) -> Response:
    """Answer a call that asks for images. find: the model that a body is for, which may raise NotFound.

    texts: parameters that may be empty in a form.
    """
    if not dialect.waits:
        return dialect.render(call, await accept(call, dialect.parse, find, texts))
    with call.runtime.waits.counted(call.key.account_id):  # before anything is queued or held
        accepted = await ended(call, await accept(call, dialect.parse, find, texts))
    if accepted is None:
        return Response(status_code=CLIENT_GONE)
    try:
        return await in_thread(call.http, dialect.render, call, accepted)
    except StorageUnavailable as error:  # its advice would have the caller pay for another request
        raise still_running(WaitRanOut, accepted.request, OUT_OF_REACH) from error
