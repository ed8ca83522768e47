"""The operator's page in a real browser: what it shows, its levers, and who is let in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.acceptance.browser import PATIENCE, Visitor
from tests.acceptance.harness import KEY, Server, until
from tests.acceptance.test_http_helpers import TEXT, new_key, quick, result, submit
from tests.stores import store_on
from tintype import __version__
from tintype.store.ops.processes import Workers


@pytest.fixture
def own(builtin: Server) -> Iterator[Server]:
    """The server that others share: whatever happens here, its queue goes on, and its worker comes back."""
    yield builtin
    with builtin.store() as db:
        store_on(db).queue.resume()
        for worker in Workers(db).shown()[1]:
            if worker.drain_at is not None:
                Workers(db).recall(worker.id)


def confirm(page: Page, act: str, answer: str) -> None:
    """Press a button, and its question's answer."""
    page.get_by_role("button", name=act).click()
    page.get_by_role("dialog").get_by_role("button", name=answer).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def figure(page: Page, name: str, value: str) -> None:
    """Wait until a figure of the queue has this value."""
    expect(page.locator(".purse-facts div").filter(has_text=name).locator("dd")).to_have_text(value)


def test_an_operator_sees_the_server_and_steers_it(chromium: Browser, own: Server, photos: Path | None) -> None:
    visitor = Visitor(chromium, own.address, photos)
    http = own.http()
    result(http, submit(http, TEXT, quick()))
    http.post("/v2/keys", json={"name": "for a day", "expires_in": 86_400}).raise_for_status()
    page = visitor.go("/operator")
    expect(page.get_by_role("link", name="Operator")).to_be_visible()
    figure(page, "Workers", "1")
    expect(page.locator(".worker")).to_contain_text(re.compile(f"idle.*cpu.*[MG]iB.*{TEXT}"))
    expect(page.locator(".worker")).to_contain_text(__version__)
    expect(page.locator("#servers")).to_contain_text(f"(tintype {__version__}, serving)")
    expect(page.locator(".timeline")).to_have_count(8)
    expect(page.get_by_role("img", name=re.compile(r"Requests ended\. completed: \d+ in all"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"Cold starts\. loads of weights: \d+ in all"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile(r"Step time\. mean: [\d.]+ m?s at last"))).to_be_visible()
    page.locator(".timeline svg").first.hover()
    expect(page.locator(".timeline").first.locator(".legend li")).to_have_count(3)
    page.get_by_label("The last").select_option("15 minutes")
    expect(page.get_by_role("img", name=re.compile("Memory.*[MG]iB at last"))).to_be_visible()

    use = page.get_by_role("region", name="Use by account")
    expect(use.locator("tbody tr").first).to_contain_text(re.compile(r"first.*\$0\.\d+"))
    visitor.photograph("pages-operator", "dark", whole=True)

    page.get_by_role("button", name="Pause the queue").click()
    page.keyboard.press("Escape")
    figure(page, "Queue", "open")
    confirm(page, "Pause the queue", "Pause the queue")
    figure(page, "Queue", "paused")
    waiting = submit(http, TEXT, quick())
    figure(page, "Waiting", "1")
    assert http.get(f"/v2/requests/{waiting}/status").json()["status"] == "QUEUED"
    visitor.sound()
    visitor.page.emulate_media(color_scheme="dark")
    assert visitor.barriers() == []
    confirm(page, "Resume the queue", "Resume the queue")
    assert result(http, waiting).json()["status"] == "COMPLETED"
    figure(page, "Waiting", "0")

    [worker] = own.workers()
    old = page.locator(".worker h3").inner_text()
    confirm(page, "Drain", "Drain the worker")
    expect(page.locator(".worker")).to_contain_text("drained")
    figure(page, "Workers", "0")
    until(lambda: not worker.is_running())
    assert own.workers() == []
    confirm(page, "Recall", "Recall")
    expect(page.locator(".worker")).to_contain_text("idle", timeout=PATIENCE)
    assert page.locator(".worker h3").inner_text() != old
    acts = page.get_by_role("region", name="Acts").locator("tbody tr")
    for row, (act, target) in enumerate([("worker.recall", old), ("worker.drain", old), ("queue.resume", "queue")]):
        expect(acts.nth(row)).to_contain_text(re.compile(rf"{act}.*first {KEY[:7]}….*127\.0\.0\.1.*{target}"))
    expect(acts.filter(has_text="for a day")).to_contain_text(re.compile(r"expires at \w+ \d+, 20\d\d, "))
    visitor.leave()


def test_others_are_told_whom_it_is_for(chromium: Browser, own: Server, photos: Path | None) -> None:
    visitor = Visitor(chromium, own.address, photos)
    page = visitor.go("/operator", new_key(own, 1))
    expect(page.get_by_role("alert")).to_contain_text("tintype keys create --operator")
    page.get_by_role("button", name="Use another key").click()
    page.get_by_role("dialog").get_by_label("API key", exact=True).fill(KEY)
    page.get_by_role("dialog").get_by_role("button", name="Use this key").click()
    figure(page, "Queue", "open")
    visitor.leave()


def test_a_screen_on_the_wall_shows_nothing_of_accounts(chromium: Browser, own: Server, photos: Path | None) -> None:
    visitor = Visitor(chromium, own.address, photos)
    wall = own.cli("keys", "create", "--operator", "--scopes", "read").strip()
    page = visitor.go("/operator", wall)
    figure(page, "Queue", "open")
    expect(page.get_by_role("heading", name=re.compile("Who did what|by account"))).to_have_count(0)
    visitor.leave()
