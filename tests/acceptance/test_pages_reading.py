"""The pages that are read: a model's other tabs, the account; with a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import OLD, TEXT, Visitor
from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import new_key, quick, result, submit
from tintype.catalog.models import MODELS, SD35_TURBO_TXT2IMG


@pytest.fixture(scope="module")
def key(builtin: Server) -> str:
    """Of an account with three requests: a good one, one that failed, one whose prompt is no HTML."""
    secret = new_key(builtin, 1)
    http = builtin.http(secret)
    failing = {"prompt": "a fox", "image": "http://127.0.0.1:9/never.png"}
    wanted = [
        (SD35_TURBO_TXT2IMG.slug, quick()),
        ("sd1.5-img2img", failing),
        (SD35_TURBO_TXT2IMG.slug, quick(prompt="<img src=x onerror=alert(1)>")),
    ]
    for slug, params in wanted:
        result(http, submit(http, slug, params))
    return secret


@pytest.fixture(params=["dark", "light"])
def reader(
    request: pytest.FixtureRequest, chromium: Browser, builtin: Server, photos: Path | None
) -> Iterator[Visitor]:
    """A visitor who likes the page in these colours."""
    came = Visitor(chromium, builtin.address, photos, color_scheme=request.param)
    yield came
    came.leave()


def test_every_tab_is_reached_with_the_keyboard_and_can_be_read(reader: Visitor, key: str) -> None:
    page = reader.go(TEXT, key)
    reader.sound()
    page.get_by_role("tab", name="Playground").focus()
    for name, content in (("API", "Parameters"), ("Pricing", "A thousand images"), ("History", "page 1 of 1")):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=name)).to_be_focused()
        expect(page.get_by_role("tabpanel", name=name)).to_contain_text(content)
        assert f"tab={name.lower()}" in page.url
        if name == "API":
            refusals = page.get_by_role("region", name="Errors").locator("tbody td")
            assert all(words.strip() for words in refusals.all_text_contents()), "a status without words"
            expect(refusals.filter(has_text="Out of credits")).to_have_count(1)
            reader.photograph("pages-api", "light")
        reader.sound()
    expect(page.get_by_role("tabpanel", name="History").locator(".rows li")).to_have_count(2)
    expect(page.get_by_text("<img src=x onerror=alert(1)>")).to_be_visible()
    page.reload()
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")


def test_the_account_tells_what_was_made_and_spent(reader: Visitor, key: str) -> None:
    page = reader.go("/account", key)
    expect(page.locator(".purse-facts")).to_contain_text("$0.9930")
    expect(page.get_by_role("row", name="SD 3.5")).to_contain_text(re.compile(r"2\s*2\s*0\s*\$0\.0070"))
    # Today's, of the money and of each model; the days begin with the account's first, but are a week.
    expect(page.locator(".plot rect:not(.day)")).to_have_count(3)
    expect(page.locator(".plot .day")).to_have_count(14)
    expect(page.locator(".plot title").last).to_have_text(re.compile(r"^\w+ \w+: 1 × SD .*\$0\.0\d+; 2 × SD 3.5"))
    expect(page.locator(".ledger tbody tr")).to_contain_text(["−$0.0035$0.9930", "−$0.0035$0.9965", "+$1.0000$1.0000"])
    expect(page.get_by_role("img", name="Spent per day, $0.0070 in all")).to_be_visible()
    reader.photograph("pages-account", "dark")
    reader.sound()
    page.get_by_label("The last").select_option("a year")
    expect(page.locator(".day")).to_have_count(14)
    expect(page.get_by_text("Requests are known for 90 days")).to_be_visible()
    page.get_by_role("tab", name="Requests").click()
    rows = page.locator(".rows li")
    expect(rows).to_have_count(3)
    expect(rows.locator("img")).to_have_count(2)
    reader.sound()
    page.get_by_label("State").select_option("Failed")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("not a public address")
    page.get_by_label("State").select_option("All")
    expect(rows).to_have_count(3)
    # Opened, the playground shows a request's form and its images.
    address = re.compile(rf"{OLD}#request=[0-9a-f-]{{36}}$")
    expect(page.get_by_role("link", name="Open", exact=True).nth(1)).to_have_attribute("href", address)


def test_pages_of_a_longer_list(visitor: Visitor, builtin: Server) -> None:
    secret = new_key(builtin, 1)
    http = builtin.http(secret)
    for number in range(21):
        http.delete(f"/v2/requests/{submit(http, SD35_TURBO_TXT2IMG.slug, quick(prompt=f'fox {number}'))}")
    page = visitor.go("/account?tab=requests", secret)
    expect(page.locator(".rows li")).to_have_count(20)
    page.get_by_role("button", name="Older").click()
    expect(page.locator(".rows li")).to_have_count(1)
    expect(page.get_by_text("page 2 of 2, 21 requests")).to_be_visible()


def test_the_account_of_nobody(visitor: Visitor) -> None:
    page = visitor.go("/account", key=None)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("alert")).to_contain_text("needs an API key")
    expect(page.get_by_role("button", name="Enter key").first).to_be_visible()


def test_an_unknown_model_leads_to_the_known_ones(visitor: Visitor) -> None:
    page = visitor.go("/models/no-such-model", key=None)
    expect(page.locator("main li")).to_have_count(len(MODELS))


def test_the_vocabulary_is_searched_and_used(visitor: Visitor) -> None:
    page = visitor.go(TEXT)
    page.get_by_text("What the built-in weights can draw").click()
    page.get_by_label("Search the things").fill("octo")
    page.get_by_role("button", name="octopus", exact=False).last.click()
    expect(visitor.field("prompt")).to_have_value("an octopus")
