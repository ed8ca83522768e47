"""The account page in a real browser: keys that are made, shown once and revoked; webhooks, their log, a replay."""

from __future__ import annotations

import threading

import pytest
from playwright.sync_api import Page, Route, expect

from tests.acceptance.browser import TEXT, Visitor
from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import new_key, refused, submit
from tests.integration.webhook_receiver import receiving


@pytest.fixture
def key(builtin: Server) -> str:
    """Of an account of its own."""
    return new_key(builtin, 1)


def shown_once(page: Page) -> str:
    """The secret in the open dialog, which is copied and then closed."""
    secret = page.locator("dialog .secret").inner_text()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_text("Copied")).to_be_visible()
    page.get_by_role("button", name="I have kept it").click()
    # Taken out of the page, and not only closed.
    expect(page.locator("dialog")).to_have_count(0)
    return secret


def test_a_key_is_made_seen_once_and_revoked(visitor: Visitor, builtin: Server, key: str) -> None:
    page = visitor.go("/account?tab=keys", key)
    keys = page.get_by_role("list", name="Keys in force").locator("li")
    expect(keys).to_have_count(1)
    page.get_by_role("button", name="New key").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("What is it for?").fill("<b>laptop</b>")
    dialog.get_by_label("Stable Diffusion 1.5 image to image").uncheck()
    dialog.get_by_text("Limits").click()
    dialog.get_by_label("Requests a minute").fill("many")
    dialog.get_by_role("button", name="Make the key").click()
    expect(dialog.get_by_role("alert")).to_contain_text("rpm: 'many' was sent; allowed: requests per minute from 1")
    visitor.sound()
    dialog.get_by_label("Requests a minute").fill("60")
    dialog.get_by_label("Spends at most, $").fill("0.5")
    dialog.get_by_label("Requests a day").fill("1000")
    dialog.get_by_role("button", name="Make the key").click()
    expect(dialog).to_contain_text("The key “<b>laptop</b>”")
    secret = shown_once(page)
    assert secret not in page.content()
    expect(keys).to_have_count(2)
    expect(keys.nth(1)).to_contain_text("60 a minute · 0 of 1,000 requests today · spent $0.00 of $0.50")
    visitor.sound()
    http = builtin.http(secret)
    assert http.get("/v1/get-user-credits").json()["credits"] == 1
    refused(http.post("/v2/sd1.5-img2img", json={"prompt": "a fox", "image": "/sd-img2img-input.jpeg"}), 403)
    keys.nth(1).get_by_role("button", name="New secret").click()
    dialog.get_by_role("button", name="New secret").click()
    renewed = shown_once(page)
    assert renewed != secret
    keys.nth(1).get_by_role("button", name="Revoke").click()
    dialog.get_by_role("button", name="Revoke").click()
    expect(keys).to_have_count(1)
    expect(page.get_by_text("1 no longer in force")).to_be_visible()
    refused(builtin.http(renewed).get("/v1/get-user-credits"), 401, "revoked")


def test_a_key_that_reads_only_is_offered_nothing_to_change(visitor: Visitor, builtin: Server) -> None:
    page = visitor.go("/account?tab=keys", new_key(builtin, 1, read_only=True))
    expect(page.get_by_role("list", name="Keys in force").locator("li")).to_contain_text("reads only")
    panel = page.get_by_role("tabpanel", name="Keys")
    expect(panel.get_by_role("button")).to_have_count(0)
    page.get_by_role("tab", name="Webhooks").click()
    expect(page.get_by_text("None yet.")).to_be_visible()
    expect(page.get_by_role("tabpanel", name="Webhooks").get_by_role("button")).to_have_count(0)


def test_a_key_that_sees_the_server_alone_is_told_so(visitor: Visitor, builtin: Server) -> None:
    page = visitor.go("/account", key=builtin.cli("keys", "create", "--operator", "--scopes", "read").strip())
    expect(page.get_by_role("alert")).to_have_text(
        "This key sees the server, on the page Operator, and nothing of an account."
    )
    assert visitor.trouble == []


def test_a_webhook_its_log_and_a_replay(visitor: Visitor, builtin: Server, key: str) -> None:
    http = builtin.http(key)
    seen = threading.Event()
    with receiving() as receiver:
        receiver.answer = lambda _: (204 if seen.wait(60) else 500, {})
        page = visitor.go("/account?tab=webhooks", key)
        page.get_by_role("button", name="New webhook").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("Address").fill("nowhere")
        dialog.get_by_role("button", name="Add it").click()
        expect(dialog.get_by_role("alert")).to_contain_text("webhook_url")
        dialog.get_by_label("Address").fill(receiver.url())
        dialog.get_by_label("Requests that are completed").uncheck()
        dialog.get_by_role("button", name="Add it").click()
        secret = shown_once(page)
        submit(http, "sd1.5-img2img", {"prompt": "a fox", "image": "http://127.0.0.1:9/never.png"})
        until(lambda: receiver.messages)
        assert receiver.messages[0].verified(secret)["type"] == "REQUEST_FAILED"
        page.get_by_text("Delivery log").click()
        log = page.locator(".log li")
        expect(log).to_contain_text("pending")
        seen.set()
        expect(log).to_contain_text("delivered")
        visitor.sound()
        log.get_by_role("button", name="Replay").click()
        expect(log).to_contain_text("2 attempts")
        assert [message.id for message in receiver.messages] == [receiver.messages[0].id] * 2
        page.get_by_role("button", name="Edit").click()
        dialog.get_by_label("Address").fill(receiver.url("/elsewhere"))
        dialog.get_by_role("button", name="Save").click()
        expect(page.locator(".hooks .url")).to_contain_text("/elsewhere")
        page.get_by_role("button", name="Make inactive").click()
        dialog.get_by_role("button", name="Make inactive").click()
        expect(page.get_by_text("None yet.")).to_be_visible()


def test_an_older_page_of_a_log_is_followed_for_a_while(visitor: Visitor, builtin: Server, key: str) -> None:
    """A message that is being sent there has the page asked for 20 times, a second apart."""
    added = {"webhook_url": "https://receiver.example.com/", "event": {"types": ["REQUEST_FAILED"]}}
    assert builtin.http(key).post("/webhook/add", json=added).status_code == 200
    page = visitor.go("/account?tab=webhooks", key)
    sent = {"event": "REQUEST_FAILED", "request_id": "a" * 32, "attempts": 1, "created_at": "2026-11-29T12:00:00Z"}
    asked = {"1": 0, "2": 0}

    def answer(route: Route) -> None:
        number = route.request.url.rpartition("page=")[2]
        asked[number] += 1
        logs = [{**sent, "delivery_id": f"{number}-{row}", "status": "DELIVERED"} for row in range(100)]
        if number == "2":
            logs = [{**sent, "delivery_id": "late", "status": "PENDING", "error": None}]
        route.fulfill(json={"logs": logs})

    page.route("**/webhook/dispatch-logs?*", answer)
    page.clock.install()
    page.get_by_text("Delivery log").click()
    page.get_by_role("button", name="Older").click()
    expect(page.locator(".log li")).to_have_count(1)
    for count in range(1, 21):
        until(lambda count=count: page.clock.run_for(1000) or asked["2"] > count)  # type: ignore[misc]
    page.clock.run_for(10_000)
    assert asked == {"1": 1, "2": 21}


def test_a_test_key_is_told_no_prices(visitor: Visitor, builtin: Server) -> None:
    page = visitor.go(TEXT, new_key(builtin, 1, test=True))
    expect(page.locator(".go")).to_have_text("Generate")
    page.get_by_role("link", name="Account").click()
    expect(page.locator(".purse-facts")).to_contain_text("test requests are free")
    expect(page.get_by_role("heading", name="Spending")).to_have_count(0)
