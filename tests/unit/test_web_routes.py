"""Addresses: which of them no model may be called by."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import iscoroutinefunction
from typing import Any

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tintype.catalog.modelfile import RESERVED
from tintype.catalog.models import MODELS
from tintype.catalog.spec import Catalogue
from tintype.web.app import ROUTERS
from tintype.web.generate.v1 import v1_router
from tintype.web.generate.v2 import v2_router


def test_no_model_of_the_models_file_can_be_called_what_an_address_is_called() -> None:
    none = Catalogue(())
    routers = [v1_router(none), v2_router(none), *(router() for router in ROUTERS)]
    paths = [route.path.split("/")[1:] for router in routers for route in router.routes if isinstance(route, APIRoute)]
    own = {path[1] for path in paths if path[0] in ("v1", "v2") and len(path) > 1}
    assert {"keys", "models", "requests"} <= own, "the routes were found"
    assert own - {"{slug}"} <= set(RESERVED)
    assert not set(RESERVED) & MODELS.keys()


def test_nobody_s_call_takes_a_thread_that_is_not_counted() -> None:
    """What isn't async, the framework runs in threads that are all everybody's: first come, first served."""
    routers = [v1_router(MODELS), v2_router(MODELS), *(router() for router in ROUTERS)]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    works = [work for route in routes for work in called(route.dependant)]
    assert len(works) > 100, "the routes were found"
    assert [work.__name__ for work in works if not iscoroutinefunction(work)] == []


def called(dependant: Dependant) -> Iterator[Any]:
    yield dependant.call
    for one in dependant.dependencies:
        yield from called(one)
