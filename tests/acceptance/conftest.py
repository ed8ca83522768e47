"""A server that the tests of one process share; tests that kill it start their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Server
from tests.toy import toy_setting


@pytest.fixture(scope="session")
def new_server(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers, not started, with own data and toy weights; what is left running is stopped at the end."""
    made: list[Server] = []

    def make(**settings: object) -> Server:
        toys = {"weights": toy_setting(weights)}
        made.append(Server(tmp_path_factory.mktemp("server"), **toys | settings))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None:
            server.stop()


@pytest.fixture(scope="session")
def server(new_server: Callable[..., Server]) -> Server:
    """A running server."""
    return new_server().start()
