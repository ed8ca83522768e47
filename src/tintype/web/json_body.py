"""JSON bodies that routes declare: read within limits once the key is known, and checked by their model."""

from __future__ import annotations

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
class DeclaredBody:
    """Reads a body of this model. It counts towards its account's until the handler has returned.

    The framework's own parameter for it would read all of a body into memory before it is known who calls.
    """

    model: type[Declared]
    example: Mapping[str, Any]
    #: Whether it has images, and may be as large as a model's.
    images: bool

    async def __call__(self, http: HttpRequest, key: Runner, runtime: RuntimeDep) -> AsyncIterator[Declared]:
        async with self.read(http, key, runtime) as body:
            yield body

    @asynccontextmanager
    async def read(self, http: HttpRequest, key: Key, runtime: Runtime) -> AsyncIterator[Declared]:
        """The body of a call with this key."""
        limit = runtime.settings.limits.max_body if self.images else SMALL
        async with runtime.bodies.read(http, key.account_id, max_size=limit) as sent:
            yield self.model.model_validate(sent, context=runtime.registry.catalogue)


class ReadersBody(DeclaredBody):
    """The same of a call that changes nothing."""

    async def __call__(self, http: HttpRequest, key: Reader, runtime: RuntimeDep) -> AsyncIterator[Declared]:
        async with self.read(http, key, runtime) as body:
            yield body


def body_of(model: type[Declared], example: Mapping[str, Any], *, images: bool = False, changes: bool = True) -> Any:
    """A handler's body, as `Annotated[model, body_of(model, …)]`; raises what `Bodies.read` and the model raise.

    changes: whether the call changes something, which not all keys may.
    """
    kind = DeclaredBody if changes else ReadersBody
    return Depends(kind(model, example, images), scope="function")
