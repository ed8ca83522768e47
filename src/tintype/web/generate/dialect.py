"""The seam between public APIs and the queue: a dialect reads bodies and renders answers and errors, no more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from tintype.catalog.spec import Catalogue, ModelSpec, Parsed
from tintype.core import Json
from tintype.errors import TintypeError
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Request
from tintype.store.store import Store
from tintype.web.files import Files
from tintype.web.runtime import Runtime


@dataclass(frozen=True)
class Call:
    """One call that asks for images: whose it is, what it says next to its parameters, and what serves it."""

    #: For its body, and for whether its client is still there.
    http: HttpRequest
    key: Key
    idempotency_key: str | None
    #: Where its end is to be sent, as the caller wrote it.
    webhook_url: str | None
    #: Seconds after which the request is cancelled, unless it has ended.
    cancel_after: float | None
    #: The server's address, as this caller reaches it.
    base: str
    #: The address that it came from.
    client: str
    store: Store
    files: Files
    runtime: Runtime


@dataclass(frozen=True)
class Accepted:
    """A queued request, and the headers of its answer."""

    request: Request
    headers: dict[str, str]
    #: The server's address, as its caller reached it when the request was new.
    base: str

    @classmethod
    def again(cls, request: Request) -> Accepted:
        """The answer that a request had when it was first sent with its idempotency key."""
        replayed = {"x-request-id": request.id, "idempotent-replayed": "true"}
        return cls(request, {**(request.metadata.reply or {}), **replayed}, request.metadata.base_url or "")

    @property
    def replayed(self) -> bool:
        """Whether it had been sent before."""
        return "idempotent-replayed" in self.headers


class Dialect(Protocol):
    """One public API, as the vendor's v1 and v2 are. Another is a module of its own and its place in `app.DIALECTS`."""

    @property
    def waits(self) -> bool:
        """Whether its calls are answered when their request has ended, or as soon as it is queued."""

    def owns(self, path: str) -> bool:
        """Whether an address is its own, where errors have its shape: also those that no route of it has raised."""

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """Its operations, whose endpoints call `generate`, and whatever else its clients ask for."""

    def parse(self, spec: ModelSpec, body: Json, /) -> Parsed:
        """What a body asks a model for; raises MissingParameter, InvalidParameter."""

    def render(self, call: Call, accepted: Accepted) -> Response:
        """The answer, in one of the caller's threads; raises the error of a request that has FAILED."""

    def error(self, error: TintypeError) -> Response:
        """The answer to a call that has failed."""
