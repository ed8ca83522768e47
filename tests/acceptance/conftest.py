"""A server that the tests of one process share; tests that kill it start their own."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.acceptance.browser import Visitor
from tests.acceptance.harness import LONG_LEASE, Server
from tests.integration.website import PATIENT, Website, serving
from tests.toy_weights import small_setting, toy_setting


@contextmanager
def servers(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Callable[..., Server]]:
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


# A module's servers end with it: those that are idle have a price too.
@pytest.fixture(scope="module")
def new_server(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers for the tests of a module."""
    with servers(tmp_path_factory, weights) as make:
        yield make


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Server]:
    """A running server whose pictures are quickly made: it draws small and enlarges."""
    with servers(tmp_path_factory, weights) as make:
        yield make(weights=small_setting(weights), lease=LONG_LEASE).start()


@pytest.fixture(scope="session")
def builtin(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Server]:
    """A running server with the built-in weights, in the arithmetic that an operator gets who sets nothing."""
    with servers(tmp_path_factory, weights) as make:
        # Webhooks may be told on this machine, and at once again.
        telling = {"webhook_allow": "127.0.0.1", "webhook_poll": 0.1, "webhook_backoff": 0.1}
        yield make(weights="{}", dtype="auto", lease=LONG_LEASE, **telling).start()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """A server without workers: the tests play the worker, and have as long for a request as a browser takes."""
    with serving(tmp_path_factory.mktemp("site"), lease=LONG_LEASE, **PATIENT) as site:
        yield site


# Not for the session: while it runs, playwright's own event loop is in the way of everybody else's.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's own chromium, or a skip."""
    path = os.environ.get("TINTYPE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        pytest.skip("no browser: install Debian's chromium, or name one in TINTYPE_CHROMIUM")
    with sync_playwright() as playwright:
        # A tab that is opened while another one is open has its process: see Window.
        camera = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--process-per-site", *camera])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def photos() -> Path | None:
    """Where photographs of the pages go: to the README's with `make screenshots`, else there are none."""
    wanted = os.environ.get("SCREENSHOTS")
    return Path(wanted) if wanted else None


@pytest.fixture
def visitor(chromium: Browser, builtin: Server, photos: Path | None) -> Iterator[Visitor]:
    """Somebody with a browser; afterwards nothing may have gone wrong in it."""
    came = Visitor(chromium, builtin.address, photos)
    yield came
    came.leave()


@pytest.fixture
def guest(chromium: Browser, site: Website, photos: Path | None) -> Iterator[Visitor]:
    """A visitor without a key; afterwards nothing may have gone wrong in the window, and nothing is queued."""
    came = Visitor(chromium, site.address, photos)
    yield came
    site.cancel_all()
    came.leave()
