"""JSON bodies that routes declare: read within limits once the key is known, and checked by their model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Depends
from fastapi import Request as HttpRequest

from tintype.store.accounts.keys import Key
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Declared
from tintype.web.dependencies import RuntimeDep
from tintype.web.forms import SMALL
from tintype.web.runtime import Runtime


@dataclass(frozen=True, eq=False)
class DeclaredBody(ABC):
    """A body of this model, of which `/openapi.json` tells; what reads it is a dependency of its route."""

    model: type[Declared]
    example: Mapping[str, Any]
    #: Whether it has images, and may be as large as a model's.
    images: bool = False
    #: What a form's one file is called, where forms are told of too.
    file: str = ""

    @abstractmethod
    def __call__(self, *known: Any, **named: Any) -> AsyncIterator[Declared]:
        """The body, for as long as the handler runs; takes what the framework is to provide."""


class RunnersBody(DeclaredBody):
    """Reads it. It counts towards its account's until the handler has returned.

    The framework's own parameter for it would read all of a body into memory before it is known who calls.
    """

    async def __call__(self, http: HttpRequest, key: Runner, runtime: RuntimeDep) -> AsyncIterator[Declared]:
        async with self.read(http, key, runtime) as body:
            yield body

    @asynccontextmanager
    async def read(self, http: HttpRequest, key: Key, runtime: Runtime) -> AsyncIterator[Declared]:
        """The body of a call with this key."""
        limit = runtime.settings.limits.max_body if self.images else SMALL
        async with runtime.bodies.read(http, key.account_id, max_size=limit) as sent:
            yield self.model.model_validate(sent, context=runtime.registry.catalogue)


class ReadersBody(RunnersBody):
    """The same of a call that changes nothing."""

    async def __call__(self, http: HttpRequest, key: Reader, runtime: RuntimeDep) -> AsyncIterator[Declared]:
        async with self.read(http, key, runtime) as body:
            yield body


def body_of(model: type[Declared], example: Mapping[str, Any], *, images: bool = False, changes: bool = True) -> Any:
    """A handler's body, as `Annotated[model, body_of(model, …)]`; raises what `Bodies.read` and the model raise.

    changes: whether the call changes something, which not all keys may.
    """
    kind = RunnersBody if changes else ReadersBody
    return Depends(kind(model, example, images), scope="function")
