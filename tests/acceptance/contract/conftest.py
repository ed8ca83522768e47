"""The two ways that each test of the contract goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from tests.acceptance.contract.api import Api, in_process, in_processes
from tests.acceptance.harness import Server
from tests.databases import SqliteFiles

IN_PROCESS, PROCESSES = "in-process", "processes"
#: For what any server says: the one that the session's tests share is asked too.
WAYS = (IN_PROCESS, pytest.param(PROCESSES, marks=pytest.mark.xdist_group("server")))
#: For what only a server with settings of its own says: `make nightly` starts one.
WAYS_WITH_SETTINGS = (IN_PROCESS, pytest.param(PROCESSES, marks=pytest.mark.nightly))

NewApi = Callable[..., AbstractContextManager[Api]]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a table that the web process answers alone, a server in processes of its own is asked the first row."""
    asked: set[str] = set()
    for item in items:
        if item.get_closest_marker("rows") and PROCESSES in item.callspec.params.values():  # type: ignore[attr-defined]
            test = item.nodeid.partition("[")[0]
            if test in asked:
                item.add_marker(pytest.mark.nightly)
            asked.add(test)


@pytest.fixture(scope="module")
def new_api(
    tmp_path_factory: pytest.TempPathFactory, sqlite_files: SqliteFiles, new_server: Callable[..., Server]
) -> NewApi:
    """Starts the API with settings of its own; its first argument is the way to reach it."""

    def new(way: str, **settings: Any) -> AbstractContextManager[Api]:
        if way == IN_PROCESS:
            return in_process(tmp_path_factory.mktemp("contract"), sqlite_files.fresh(), **settings)
        return in_processes(new_server(**settings).start(wait_for_worker="devices" not in settings))

    return new


@pytest.fixture(scope="module", params=WAYS)
def api(request: pytest.FixtureRequest, new_api: NewApi) -> Iterator[Api]:
    """The API as it is without any setting."""
    way = new_api(IN_PROCESS) if request.param == IN_PROCESS else in_processes(request.getfixturevalue("server"))
    with way as api:
        yield api


@pytest.fixture
def anybody(api: Api) -> Any:
    """A client without a key."""
    return api.http(None)


@pytest.fixture
def http(api: Api) -> Any:
    """A new account's client, with a dollar."""
    return api.caller(1)
