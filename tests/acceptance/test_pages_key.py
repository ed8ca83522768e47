"""How one comes in, by a link or by pasting a key, and what is said while a request can't be worked on."""

from __future__ import annotations

import re

from playwright.sync_api import Page, expect

from tests.acceptance.browser import OLD, Visitor
from tests.integration.website import Website

KEPT = "[localStorage.getItem('tintype-key'), sessionStorage.getItem('tintype-key')]"


def kept(page: Page) -> tuple[str | None, str | None]:
    """The key that the browser keeps, and the one that the tab does."""
    return tuple(page.evaluate(KEPT))


def test_the_link_signs_in_this_tab_and_the_next_ones(guest: Visitor, site: Website) -> None:
    sent: list[str] = []
    guest.page.on("request", lambda request: sent.append(f"{request.url} {request.headers.get('referer')}"))
    page = guest.go(f"/#key={site.secret}", key=None)
    expect(page.get_by_role("status").filter(has_text="Signed in as one (SG_")).to_be_visible()
    assert page.url == f"{site.address}/"
    assert page.evaluate("history.length") == 2, "about:blank, and the page without the key"
    assert not [line for line in sent if site.secret in line]
    assert kept(page) == (site.secret, None)
    assert guest.barriers() == []
    second = page.context.new_page()
    second.goto(f"{site.address}/account")
    expect(second.get_by_role("term").filter(has_text="Balance")).to_be_visible()
    page.get_by_role("button", name="Not my key").click()
    expect(page.locator(".greeting")).to_have_count(0)
    assert kept(page) == (None, None)
    # The other tab follows: it shows nothing more of the account, and takes the key that is entered here.
    expect(second.get_by_role("dialog", name="Your API key")).to_be_visible()
    expect(second.get_by_role("term").filter(has_text="Balance")).to_have_count(0)
    page.evaluate("key => { location.hash = 'key=' + key; }", site.secret)
    expect(second.get_by_role("term").filter(has_text="Balance")).to_be_visible()
    expect(second.get_by_role("dialog")).to_have_count(0)


def test_a_link_does_not_swap_another_account_s_key_without_a_question(guest: Visitor, site: Website) -> None:
    other = site.accounts.create("mallory", 0)
    theirs = site.accounts.keys.create(other.id, "lure")[1]
    page = guest.go(OLD, key=site.secret)
    follow = "key => { location.hash = 'prompt=a+cat&key=' + key; }"
    page.evaluate(follow, theirs)
    question = page.get_by_role("dialog", name="Use the key of this link?")
    expect(question).to_contain_text("You are signed in as one (SG_")
    expect(question).to_contain_text("The link has a key of mallory (SG_")
    assert guest.barriers() == []
    expect(question.get_by_role("button", name="Stay one")).to_be_focused()
    page.keyboard.press("Enter")
    expect(question).to_have_count(0)
    assert kept(page) == (None, site.secret)
    assert page.url == f"{site.address}{OLD}"
    expect(guest.field("prompt")).to_have_value("a cat")
    page.evaluate(follow, theirs)
    question.get_by_role("button", name="Use the key of mallory").click()
    expect(page.locator(".greeting")).to_contain_text("Signed in as mallory")
    assert kept(page) == (theirs, None)
    page.get_by_role("button", name="Back to one").click()
    assert kept(page) == (None, site.secret)


def test_a_wrong_key_is_refused_in_words_and_never_kept(guest: Visitor, site: Website) -> None:
    revoked, secret = site.accounts.keys.create(site.account_id, "old")
    site.accounts.keys.revoke(revoked.id)
    page = guest.go("/#key=SG_00000000000000000000000000000000", key=None)
    expect(page.get_by_role("alert")).to_contain_text("not taken. This API key is unknown to this server.")
    assert (kept(page), page.url) == ((None, None), f"{site.address}/")
    page.get_by_role("complementary").get_by_role("button", name="Enter key").click()
    dialog = page.get_by_role("dialog")
    field = dialog.get_by_label("API key", exact=True)
    for wrong, words in (
        ("", "Paste the key first"),
        ("ключ", "letters"),
        ("SG_00000000000000000000000000000000", "unknown"),
        (secret, "This API key was revoked"),
    ):
        field.fill(wrong)
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog.get_by_role("alert")).to_contain_text(words)
    assert kept(page) == (None, None)
    remember = dialog.get_by_role("checkbox", name="Remember on this device")
    expect(remember).to_be_checked()
    remember.uncheck()
    field.fill(site.secret)
    field.press("Enter")
    expect(dialog).to_have_count(0)
    assert kept(page) == (None, site.secret)


def test_a_test_key_says_so_where_others_have_their_balance(guest: Visitor, site: Website) -> None:
    secret = site.accounts.keys.create(site.account_id, "ci", test=True)[1]
    page = guest.go("/account", key=secret)
    expect(page.locator(".purse")).to_contain_text("test")
    expect(page.locator(".credits")).to_have_count(0)


def test_where_a_key_is_missing_there_is_a_button_for_one(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    dialog, place = page.get_by_role("dialog"), page.locator("main")
    for act in (page.locator(".go"), page.get_by_role("tab", name="History")):
        act.click()
        dialog.get_by_role("button", name="Cancel").click()
        expect(place.get_by_role("alert").filter(visible=True)).to_contain_text("This needs an API key.")
        expect(place.get_by_role("button", name="Enter key").filter(visible=True)).to_have_count(1)
    place.get_by_role("button", name="Enter key").filter(visible=True).click()
    dialog.get_by_label("API key", exact=True).fill(site.secret)
    dialog.get_by_role("button", name="Use this key").click()
    expect(page.locator(".requests")).to_contain_text("Nothing here")


def test_a_request_that_nobody_can_work_on_says_why_and_can_be_cancelled(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=site.secret)
    page.get_by_role("button", name="Generate").click()
    state = page.locator(".state")
    expect(state).to_have_text(
        "Next in the queue. No worker is running at the moment; your request waits until one is. "
        "Just after the server's start, that takes some seconds."
    )
    site.store.queue.pause()
    expect(state).to_contain_text("The operator has paused the queue; your request waits until it goes on.")
    site.beat()
    site.store.queue.resume()
    expect(state).to_have_text("Next in the queue")
    site.workers.leave("w1")
    page.get_by_role("button", name="Cancel Esc").click()
    expect(page.locator(".empty")).to_contain_text("Cancelled; nothing was charged.")
    page.get_by_role("button", name="Make it after all").click()
    expect(state).to_contain_text("Next in the queue")
    claimed = site.claim()
    expect(page.locator(".meter .hint")).to_contain_text("its weights are loaded before it")
    site.fail(claimed, "the lamp is broken")
    expect(page.locator(".failed")).to_contain_text("the lamp is broken")
    site.workers.leave("w1")


def test_too_many_requests_count_down_until_the_next_is_sent(guest: Visitor, site: Website) -> None:
    secret = site.accounts.keys.create(site.account_id, "slow", rpm=1)[1]
    with site.http(secret) as http:
        assert http.post("/v2/stable-diffusion-3.5-turbo-txt2img", json={"prompt": "a fox"}).is_success
    page = guest.go(OLD, key=secret)
    page.clock.install()
    page.locator(".go").click()
    state = page.locator(".state")
    expect(state).to_contain_text(re.compile(r"this API key may send 1 per minute\. It is sent in (5\d s|1 minute)\.$"))
    page.clock.run_for(20_000)
    expect(state).to_contain_text(re.compile(r"It is sent in (3|4)\d s\.$"))
    page.get_by_role("button", name="Cancel Esc").click()
    page.clock.run_for(2_000)
    expect(page.locator(".empty")).to_contain_text("Cancelled; nothing was charged.")
