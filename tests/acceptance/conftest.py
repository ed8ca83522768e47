"""A server that the tests of one process share; tests that kill it start their own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.acceptance.harness import Server
from tintype.diffusion.builtin import builtin_weights


@pytest.fixture(scope="session")
def new_server(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers, not started, each with its own data; whatever is left running is stopped at the end."""
    made: list[Server] = []

    def make(**settings: object) -> Server:
        data = tmp_path_factory.mktemp("server")
        for family in ("sd15", "sd3"):
            built = builtin_weights(family, weights)
            shutil.copytree(built, data / "weights" / built.name)
        made.append(Server(data, **settings))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None:
            server.stop()


@pytest.fixture(scope="session")
def server(new_server: Callable[..., Server]) -> Server:
    """A running server."""
    return new_server().start()
