"""The seam between public APIs and the queue: a dialect reads bodies and renders answers and errors, no more."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from fastapi import APIRouter, Response
from fastapi import Request as HttpRequest

from tintype.catalog.spec import Catalogue, ModelSpec, Parsed
from tintype.core import Json
from tintype.errors import TintypeError
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Request
from tintype.store.queue.submit import NewRequest
from tintype.store.store import Store
from tintype.web.files import Files
from tintype.web.runtime import Runtime
from tintype.web.threads import Bunches


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
    submissions: Bunches[Submission, Submitted]
    #: What of its address's query it asks for: another one with the same idempotency key is another call.
    query: str = ""


@dataclass(frozen=True)
class Submission:
    """What a call asks for, until it is queued."""

    call: Call
    #: Checks it; raises what is wrong with it.
    prepare: Callable[[], NewRequest]


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


#: The answer to a submission; or what finds it, or raises the refusal, in one of its caller's threads.
Submitted = Accepted | Callable[[], Accepted]


class Dialect(Protocol):
    """One public API, as the vendor's v1 and v2 are. Another is a module of its own and its place in `app.DIALECTS`."""

    @property
    def name(self) -> str:
        """As it is noted with each request, and in `/metrics`; several dialects of one API share it."""

    @property
    def schemes(self) -> Collection[str]:
        """Where its callers put their key besides `x-api-key`: schemes of Authorization that `auth.SCHEMES` has."""

    @property
    def waits(self) -> bool:
        """Whether its calls are answered when their request has ended, or as soon as it is queued."""

    @property
    def cancels(self) -> bool:
        """Whether a call that waits in vain cancels its request, unless it has an Idempotency-Key.

        Where callers know of no address to fetch the images from, and send again what was not answered.
        """

    def owns(self, path: str) -> bool:
        """Whether an address is its own, where errors have its shape: also those that no route of it has raised."""

    def routes(self, catalogue: Catalogue) -> APIRouter:
        """Its operations, whose endpoints call `generate`, and whatever else its clients ask for."""

    def parse(self, spec: ModelSpec, body: Json, /) -> Parsed:
        """What a body asks a model for; raises MissingParameter, InvalidParameter."""

    def render(self, call: Call, accepted: Accepted) -> Response:
        """The answer; raises the error of a request that has FAILED.

        In one of the caller's threads where it waits, else in the event loop, unless its endpoint sees to that.
        """

    def error(self, error: TintypeError) -> Response:
        """The answer to a call that has failed."""
