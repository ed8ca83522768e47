"""Addresses: which of them no model may be called by."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tintype.catalog.modelfile import RESERVED
from tintype.catalog.models import MODELS
from tintype.catalog.spec import Catalogue
from tintype.web.app import all_routers


def test_no_model_of_the_models_file_can_be_called_what_an_address_is_called() -> None:
    routers = all_routers(Catalogue(()))
    paths = [route.path.split("/")[1:] for router in routers for route in router.routes if isinstance(route, APIRoute)]
    own = {path[1] for path in paths if path[0] in ("v1", "v2") and len(path) > 1}
    assert {"keys", "models", "requests"} <= own, "the routes were found"
    assert own - {"{slug}"} <= set(RESERVED)
    assert not set(RESERVED) & MODELS.keys()


def test_nobody_s_call_takes_a_thread_that_is_not_counted() -> None:
    """What isn't async, the framework runs in threads that are all everybody's: first come, first served."""
    routes = [route for router in all_routers(MODELS) for route in router.routes if isinstance(route, APIRoute)]
    works = [work for route in routes for work in called(route.dependant)]
    assert len(works) > 100, "the routes were found"
    assert [work for work in works if not is_async(work) and not is_async(type(work).__call__)] == []


def is_async(work: Any) -> bool:
    return iscoroutinefunction(work) or isasyncgenfunction(work)


def called(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for one in dependant.dependencies:
        yield from called(one)
