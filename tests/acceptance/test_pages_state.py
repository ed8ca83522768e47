"""What a model's page keeps, in a real browser: the form, the queue, the shelf; and what the stage does with images."""

from __future__ import annotations

import re
import time

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, Route, expect

from tests.acceptance.browser import OLD, SOON, TEXT, Visitor
from tests.acceptance.test_http_helpers import gradient
from tests.integration.website import RESULT, Website
from tests.tenants import Tenant
from tintype.store.db.records import Request

#: Tells what was notified of, which no headless browser shows.
NOTED = """self.noted = [];
self.tags = [];
self.Notification = class {
    static permission = "granted";
    static requestPermission = async () => "granted";
    constructor(title, { tag }) { noted.push(title); tags.push(tag); }
};"""
INTO = f"**/v2/{OLD.removeprefix('/models/')}"


#: Puts beside a remembered plate what can't be one.
DAMAGE = """
const name = Object.keys(localStorage).find((name) => name.includes(":plate:"));
for (const [place, text] of ["{", "null", "{}", '{"runs": 7}'].entries())
  localStorage.setItem(name.replace(/[^:]*$/, `damaged-${place}`), text);
"""


@pytest.fixture
def guest(guest: Visitor, site: Website) -> Visitor:
    """A visitor with a key."""
    guest.begins(
        f"if (!sessionStorage.getItem('tintype-key') && !localStorage.getItem('left'))"
        f" sessionStorage.setItem('tintype-key', '{site.secret}')"
    )
    return guest


def ask(page: Page, prompt: str, *, sent: bool = True) -> None:
    """Write a prompt and press the button: there is a plate, whose request is sent."""
    before = plates(page).count()
    page.get_by_role("textbox", name="Prompt", exact=True).fill(prompt)
    page.get_by_role("button", name="Generate").click()
    expect(plates(page)).to_have_count(before + 1)
    expect(plates(page, "sending")).to_have_count(0 if sent else 1)


def plates(page: Page, state: str = "") -> Locator:
    return page.locator(f".shelf li[data-state={state}]" if state else ".shelf li")


def next_request(site: Website) -> Request:
    """What a worker is given once the page has sent it: its plate is there before."""
    until = time.monotonic() + SOON / 1000
    while not site.own.store.queue.depth()[0] and time.monotonic() < until:
        time.sleep(0.05)
    return site.claim()


def claim(site: Website, prompt: str) -> Request:
    """The next request, which is this one."""
    claimed = next_request(site)
    assert claimed.params["prompt"] == prompt
    return claimed


def draw(site: Website, request: Request | None = None, images: int = 1, size: tuple[int, int] = (64, 64)) -> Request:
    """End a request, or the next one, with images that can be shown."""
    claimed = request or next_request(site)
    files = [site.own.files.outputs.put(gradient(*size), "png") for _ in range(images)]
    seed, (width, height) = claimed.generation.seed, size
    made = [
        {"name": name, "size": 1, "width": width, "height": height, "seed": seed + place}
        for place, name in enumerate(files)
    ]
    return Tenant.complete(site, claimed, steps=4, **{**RESULT, "pictures": made, "seed": seed})


def stage(page: Page) -> Locator:
    return page.locator(".stage")


def test_form_queue_and_shelf_outlast_the_page(guest: Visitor, site: Website) -> None:
    guest.page.add_init_script(NOTED)
    page = guest.go(OLD, key=None)
    streams: list[str] = []
    page.on("request", lambda request: "/events" in request.url and streams.append(request.url))
    for prompt in ("a fox", "a boat", "a cake"):
        ask(page, prompt)
    guest.field("strength").fill("0.35")
    fox = claim(site, "a fox")
    site.step(fox, 2)
    expect(page.locator(".state")).to_contain_text("Step 2 of 4")
    # A browser keeps six connections to a server, for all its tabs.
    assert len(streams) == 2
    expect(plates(page).first).to_contain_text("Waits, number 2")
    expect(page).to_have_title(re.compile("^3 running – "))
    guest.sound()
    page.reload()
    expect(guest.field("prompt")).to_have_value("a cake")
    expect(guest.field("strength")).to_have_value("0.35")
    expect(plates(page)).to_have_count(3)
    expect(page.locator(".state")).to_contain_text("Step 2 of 4")
    # Another tab has the same, and hears what is done in this one; and the other way round.
    other = guest.another_tab()
    other.goto(OLD)
    expect(plates(other)).to_have_count(3)
    expect(other.get_by_role("textbox", name="Prompt", exact=True)).to_have_value("a cake")
    # A headless browser believes that all its pages are looked at.
    page.evaluate("document.hasFocus = () => false")
    page.get_by_label("Tell me when it's done").check()
    draw(site, fox)
    for one in (page, other):
        expect(plates(one, "done")).to_have_count(1)
        expect(one.locator(".result img")).to_be_visible()
    # A reader who looks elsewhere is told in the title, until it was seen.
    expect(page).to_have_title("Done: “a fox”")
    assert page.evaluate("noted") == ["Done: “a fox”"]
    [tag] = page.evaluate("tags")
    assert f":plate:{tag}" in page.evaluate("Object.keys(localStorage).join(' ')"), "the same in each tab: seen once"
    page.evaluate("dispatchEvent(new Event('focus'))")
    expect(page).to_have_title(re.compile("^2 running – "))
    ask(other, "a hat")
    expect(plates(page)).to_have_count(4)
    other.close()
    # Away and back.
    page.goto("/account")
    draw(site, claim(site, "a boat"))
    page.goto(OLD)
    expect(plates(page, "done")).to_have_count(2)
    expect(guest.field("prompt")).to_have_value("a hat")
    assert site.secret not in page.evaluate("JSON.stringify(localStorage)")


def test_what_one_key_left_is_not_for_another_and_goes_with_its_key(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    ask(page, "a secret fox")
    draw(site)
    expect(plates(page, "done")).to_have_count(1)
    other = site.accounts.keys.create(site.accounts.create("two", 1_000_000).id, "key")[1]
    page.evaluate("key => sessionStorage.setItem('tintype-key', key)", other)
    page.reload()
    expect(stage(page)).to_contain_text("A sample of this model")
    expect(plates(page)).to_have_count(0)
    expect(guest.field("prompt")).not_to_have_value("a secret fox")
    page.evaluate("key => sessionStorage.setItem('tintype-key', key)", site.secret)
    page.evaluate(DAMAGE)
    page.reload()
    expect(plates(page, "done")).to_have_count(1)
    assert "damaged" not in page.evaluate("JSON.stringify(localStorage)")
    expect(guest.field("prompt")).to_have_value("a secret fox")
    page.evaluate("localStorage.setItem('left', 'yes')")
    page.get_by_role("button", name="Forget key").click()
    expect(plates(page)).to_have_count(0)
    expect(stage(page)).to_contain_text("A sample of this model")
    assert "secret" not in page.evaluate("JSON.stringify(localStorage)")


def test_every_plate_is_cancelled_tried_again_or_dismissed(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    for prompt in ("a fox", "a boat", "a cake"):
        ask(page, prompt)
    plates(page).first.get_by_role("button", name="Cancel").click()
    expect(plates(page)).to_have_count(2)
    site.fail(claim(site, "a fox"), "the lamp is broken")
    expect(plates(page, "failed")).to_have_count(1)
    expect(stage(page)).to_contain_text("the lamp is broken")
    expect(stage(page)).to_contain_text("Nothing was charged.")
    assert guest.barriers() == []
    page.reload()
    plates(page, "failed").get_by_role("button", name="Show").click()
    expect(stage(page)).to_contain_text("the lamp is broken")
    stage(page).get_by_role("button", name="Try again").click()
    expect(plates(page, "failed")).to_have_count(0)
    expect(plates(page)).to_have_count(2)
    # What is finished next is shown, but not to a reader who has chosen another one since.
    draw(site, claim(site, "a boat"))
    expect(page.locator(".result img")).to_have_attribute("alt", "a boat")
    plates(page).first.get_by_role("button", name="Show").click()
    site.fail(claim(site, "a fox"), "the lamp is broken still")
    expect(stage(page)).to_contain_text("broken still")
    plates(page, "failed").get_by_role("button", name="Dismiss").click()
    expect(plates(page)).to_have_count(1)
    expect(page.locator(".result img")).to_have_attribute("alt", "a boat")
    # The second click of a double one is meant for the first.
    page.get_by_role("button", name="Generate").dblclick()
    expect(page.locator(".state")).to_contain_text("Next in the queue")
    expect(plates(page)).to_have_count(2)
    page.keyboard.press("Escape")
    expect(stage(page)).to_contain_text("Cancelled; nothing was charged.")
    expect(page.get_by_text("Cancelling")).to_have_count(0)


def test_what_was_sent_into_a_crash_is_one_request(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)

    def crash(route: Route) -> None:
        route.fetch()
        route.abort()

    page.route(INTO, crash, times=1)
    ask(page, "a fox")
    expect(stage(page)).to_contain_text("The server does not answer")
    stage(page).get_by_role("button", name="Try again").click()
    expect(page.locator(".state")).to_contain_text("Next in the queue")
    draw(site, claim(site, "a fox"))
    expect(page.locator(".result img")).to_be_visible()
    # A page that is left while it sends sends when it is back.
    page.route(INTO, lambda route: None, times=1)
    ask(page, "a boat", sent=False)
    page.reload()
    expect(plates(page, "running")).to_have_count(1)
    draw(site, claim(site, "a boat"))
    assert site.store.leases.claim("w1", idle=True) is None


def test_the_same_again_is_warned_of(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    ask(page, "a fox")
    draw(site)
    page.get_by_role("button", name="Same seed").click()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("This would give the same image again.")).to_be_visible()
    expect(plates(page)).to_have_count(1)
    assert guest.barriers() == []
    page.get_by_role("button", name="Make it anyway").click()
    expect(plates(page)).to_have_count(2)
    page.keyboard.press("Control+Enter")
    page.get_by_role("button", name="New seed").click()
    expect(plates(page)).to_have_count(3)
    first, second = draw(site), draw(site)
    assert first.generation.seed != second.generation.seed


def test_a_strip_is_one_plate_and_stays(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    page.get_by_text("Strip: compare several values").click()
    page.get_by_label("Parameter to vary").select_option(label="Strength")
    page.get_by_label("Values, separated by commas").fill("0.5, 0.7")
    page.get_by_role("button", name="Make 2 images").click()
    expect(plates(page, "running")).to_have_count(1)
    draw(site)
    expect(plates(page)).to_contain_text("1 of 2 done")
    site.fail(error="why")
    expect(page.get_by_role("button", name="Download the sheet")).to_be_visible()
    page.get_by_role("button", name="Try again what failed").click()
    expect(plates(page, "running")).to_have_count(1)
    draw(site)
    expect(page.locator(".cells img")).to_have_count(2)
    ask(page, "a fox")
    draw(site)
    expect(page.locator(".result img")).to_be_visible()
    page.reload()
    plates(page).last.get_by_role("button", name="Show").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the sheet").click()
    with Image.open(download.value.path()) as sheet:
        assert sheet.width > 2 * 384
    page.get_by_role("button", name="Strength 0.7").click()
    expect(guest.field("strength")).to_have_value("0.7")


def test_a_request_is_opened_by_its_address(guest: Visitor, site: Website) -> None:
    params = {"prompt": "a red fox", "strength": 0.4, "image": "/sd-img2img-input.jpeg", "seed": 11}
    with site.http() as http:
        ids = [
            http.post(f"/v2/{slug}", json=body).json()["request_id"]
            for slug, body in (("sd1.5-img2img", params), ("stable-diffusion-3.5-turbo-txt2img", {"prompt": "a boat"}))
        ]
    page = guest.go(f"{OLD}#request={ids[0]}", key=None)
    expect(guest.field("prompt")).to_have_value("a red fox")
    expect(page.locator(".state")).to_contain_text("Next in the queue")
    draw(site, claim(site, "a red fox"))
    expect(page.locator(".result img")).to_be_visible()
    expect(page.locator(".facts")).to_contain_text("Seed11Size64 × 64")
    page.goto("/")
    page.evaluate("localStorage.clear()")
    # From another model's page.
    page.goto(f"{TEXT}#request={ids[0]}")
    expect(page).to_have_url(re.compile(OLD))
    expect(page.locator(".result img")).to_be_visible()
    expect(guest.field("strength")).to_have_value("0.4")
    expect(guest.field("seed")).to_have_value("11")
    page.goto("/")
    page.goto(f"{OLD}#request=00000000-0000-4000-8000-000000000000")
    expect(stage(page)).to_contain_text("This key's account has no request")


def test_images_are_kept_deleted_and_said_to_be_gone(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    guest.field("samples").fill("4")
    ask(page, "a fox")
    draw(site, images=4)
    images = page.locator(".result img")
    expect(images).to_have_count(4)
    box = [image.bounding_box() for image in images.all()]
    assert all(one and one["y"] + one["height"] < 900 for one in box), "a batch fits a screen"
    page.locator(".pick").nth(1).click()
    expect(page.locator("figure").nth(1)).to_have_css("outline-style", "solid")
    expect(page.locator(".life")).to_contain_text("kept until")
    expect(page.locator(".tool.keep .icon")).to_have_css("fill", "none")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator(".life")).to_have_text("kept for good")
    page.get_by_text("All settings").click()
    expect(page.locator(".all-settings")).to_contain_text("Guidance")
    guest.sound()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download", exact=True).click()
    assert download.value.suggested_filename.endswith(".png")
    with page.expect_download() as download:
        page.get_by_role("button", name="All 4").click()
    assert download.value.suggested_filename.endswith(".zip")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(images).to_have_count(3)
    expect(page.locator(".gone")).to_contain_text("deleted")
    expect(page.locator(".shelf img")).to_have_count(3)
    guest.sound()
    page.get_by_role("button", name="Make it again").click()
    expect(plates(page)).to_have_count(2)
    assert draw(site).params["samples"] == 1


def test_two_images_are_compared_by_what_differs(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    for prompt in ("a fox", "a boat"):
        ask(page, prompt)
        draw(site, size=(64, 160))
    expect(page.locator(".result img")).to_have_attribute("alt", "a boat")
    page.get_by_role("button", name="Compare", exact=True).click()
    expect(page.get_by_role("button", name="Done")).to_be_in_viewport(ratio=1)
    expect(page.locator(".difference")).to_contain_text("a fox")
    expect(page.locator(".difference")).to_contain_text("a boat")
    assert guest.barriers() == []
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Before and after").click()
    expect(page.get_by_role("img", name="Left: the input image")).to_be_visible()
    page.get_by_role("button", name="Done").click()
    expect(page.locator(".result img")).to_be_visible()
