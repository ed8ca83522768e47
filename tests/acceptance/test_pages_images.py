"""The gallery in a real browser: everything that was made, found, selected, kept, deleted, seen one by one."""

from __future__ import annotations

import re
from io import BytesIO
from zipfile import ZipFile

import pytest
from PIL import Image
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.browser import MEDIUM, OLD, Visitor
from tests.acceptance.harness import until
from tests.integration.website import ASKS, RESULT, Website
from tests.tenants import Tenant
from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG

#: Images of a request, and all of the account that has many.
EACH, ALL = 10, 130


@pytest.fixture(scope="module")
def many(site: Website) -> Tenant:
    """An account with many images, every third request's of a strawberry: only looked at."""
    owner = Tenant(site.store, 10**6, name="many", asks=ASKS)
    for number in range(ALL // EACH):
        slug = SD15_IMG2IMG.slug if number % 2 else SD35_TURBO_TXT2IMG.slug
        make(site, owner, EACH, slug=slug, prompt="a red strawberry" if number % 3 == 0 else "a fox")
    return owner


@pytest.fixture
def few(site: Website) -> Tenant:
    """An account of the test's own with six images."""
    owner = Tenant(site.store, 10**6, name="few", asks=ASKS)
    make(site, owner, 6)
    return owner


def make(
    site: Website, owner: Tenant, count: int, *, slug: str = SD15_IMG2IMG.slug, prompt: str = "a fox", image: str = ""
) -> list[str]:
    """A request of the owner's, ended with so many images; their names."""
    site.beat()
    request = owner.submit(slug, params={"prompt": prompt, "samples": count} | ({"image": image} if image else {}))
    made = [picture(site, seed) for seed in range(7, 7 + count)]
    owner.complete(owner.claim(), steps=4, **{**RESULT, "pictures": made})
    assert request.slug == slug
    return [str(one["name"]) for one in made]


def picture(site: Website, seed: int) -> dict[str, object]:
    """A small image in a colour of its own, stored."""
    file = BytesIO()
    Image.new("RGB", (96, 64), (seed * 23 % 256, seed * 61 % 256, 120)).save(file, "PNG")
    name = site.own.files.outputs.put(file.getvalue(), "png")
    return {"name": name, "size": len(file.getvalue()), "width": 96, "height": 64, "seed": seed}


def tiles(page: Page) -> Locator:
    """The images of the grid."""
    return page.locator(".tiles li")


def go(guest: Visitor, owner: Tenant, path: str = "/images") -> Page:
    """Open the gallery; its images are there."""
    page = guest.go(path, owner.secret)
    tiles(page).first.wait_for()
    return page


def test_everything_is_there_by_scrolling_and_the_place_is_kept(guest: Visitor, many: Tenant) -> None:
    page = go(guest, many)
    expect(page.get_by_role("heading", name="Today")).to_be_visible()

    def is_whole() -> bool:
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        return tiles(page).count() == ALL

    until(is_whole)
    expect(page.get_by_text(f"That is all: {ALL} images.")).to_be_visible()
    # Far ones are not in the page, and keep their place.
    page.evaluate("scrollTo(0, 0)")
    tiles(page).first.locator("img").wait_for()
    height = page.evaluate("document.body.scrollHeight")
    page.set_viewport_size({"width": 360, "height": 500})
    expect(tiles(page).last.locator("img")).to_have_count(0)
    page.set_viewport_size({"width": 1440, "height": 900})
    assert page.evaluate("document.body.scrollHeight") == height
    page.evaluate("scrollTo(0, 1500)")
    expect(page.locator("body")).to_have_js_property("scrollHeight", height)
    until(lambda: page.evaluate("history.state?.y") == 1500)
    page.reload()
    expect(tiles(page)).to_have_count(ALL)
    until(lambda: page.evaluate("scrollY") == 1500)
    # Not by a click: Playwright may scroll for one.
    page.goto("/account")
    page.go_back()
    until(lambda: page.evaluate("scrollY") == 1500)
    guest.sound()


def test_filters_and_a_search_stand_in_the_address(guest: Visitor, many: Tenant) -> None:
    page = go(guest, many)
    page.get_by_label("Search").press_sequentially("STRAW red")
    page.wait_for_url("**/images?q=STRAW+red")
    expect(page.get_by_text("That is all: 50 images.")).to_be_attached()
    page.locator("select[name=model]").select_option("Stable Diffusion 1.5 image to image")
    expect(page.get_by_text("That is all: 20 images.")).to_be_attached()
    page.reload()
    expect(page.get_by_text("That is all: 20 images.")).to_be_attached()
    expect(page.get_by_label("Search")).to_have_value("STRAW red")
    page.get_by_label("To", exact=True).fill("2026-01-01")
    expect(page.get_by_text("No image is like that.")).to_be_visible()
    guest.sound()
    page.get_by_role("button", name="Show all images").click()
    expect(tiles(page).nth(59)).to_be_attached()
    page.wait_for_url("**/images")
    page.get_by_label("Kept only").check()
    expect(page.get_by_text("No image is like that.")).to_be_visible()


def test_selected_images_are_saved_kept_and_deleted(guest: Visitor, few: Tenant) -> None:
    page = go(guest, few)
    page.get_by_role("button", name="Select").click()
    bar = page.get_by_role("region", name="Selected images")
    expect(bar.get_by_role("button", name="Delete")).to_be_disabled()
    tiles(page).nth(1).click()
    tiles(page).nth(3).click(modifiers=["Shift"])
    expect(bar.get_by_role("status")).to_have_text("3 selected")
    guest.sound()
    with page.expect_download() as saved:
        bar.get_by_role("button", name="Download as zip").click()
    with ZipFile(saved.value.path()) as packed:
        assert len(packed.namelist()) == 3
        assert all(re.fullmatch(r"[\d-]{10}-sd1.5-img2img-\d+-[0-9a-f]{6}\.png", name) for name in packed.namelist())
        with Image.open(BytesIO(packed.read(packed.namelist()[0]))) as image:
            assert image.size == (96, 64)
    bar.get_by_role("button", name="Keep", exact=True).click()
    expect(page.locator(".star:visible")).to_have_count(3)
    expect(bar.get_by_role("button", name="Keep", exact=True)).to_be_hidden()
    # By the keyboard: one kept and one that is not.
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    tiles(page).first.locator("a").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Shift+ArrowRight")
    expect(bar.get_by_role("status")).to_have_text("2 selected")
    page.keyboard.press("Delete")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Delete 2 images?")
    expect(dialog).to_contain_text("You marked 1 of them to be kept.")
    dialog.get_by_role("button", name="Delete").click()
    expect(tiles(page)).to_have_count(4)
    page.reload()
    expect(tiles(page)).to_have_count(4)
    expect(page.locator(".star:visible")).to_have_count(2)


def test_one_image_is_seen_kept_used_and_deleted(guest: Visitor, few: Tenant) -> None:
    page = go(guest, few)
    names = tiles(page).evaluate_all("all => all.map(one => one.dataset.name)")
    tiles(page).first.locator("a").press("Enter")
    box = page.get_by_role("dialog")
    expect(box).to_contain_text("kept until")
    guest.sound()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(f"**/images#image={names[1]}")
    page.keyboard.press("+")
    expect(box.locator("[data-zoomed]")).to_have_count(1)
    page.keyboard.press("0")
    expect(box.locator("[data-zoomed]")).to_have_count(0)
    page.reload()
    expect(box.get_by_text("seed", exact=False).first).to_be_attached()
    box.get_by_role("button", name="Keep").click()
    expect(box).to_contain_text("kept for good")
    use = box.get_by_role("link", name="Use its settings").get_attribute("href") or ""
    assert re.fullmatch(rf"{OLD}#request=[0-9a-f-]{{36}}", use)
    box.get_by_text("Use as input").click()
    link = box.locator(f".menu a[href^='{MEDIUM}']").get_attribute("href")
    assert link == f"{MEDIUM}#image=%2Ffiles%2F{names[1]}"
    with page.expect_download() as saved:
        box.get_by_role("button", name="Download").click()
    assert saved.value.suggested_filename.endswith(f"-8-{names[1][:6]}.png")
    box.get_by_role("button", name="Delete").click()
    asked = page.get_by_role("dialog").last
    expect(asked).to_contain_text("You marked it to be kept.")
    asked.get_by_role("button", name="Delete").click()
    page.wait_for_url(f"**/images#image={names[2]}")
    page.keyboard.press("ArrowLeft")
    page.wait_for_url(f"**/images#image={names[0]}")
    page.keyboard.press("Escape")
    page.wait_for_url("**/images")
    expect(box).to_have_count(0)
    expect(tiles(page)).to_have_count(5)
    page.goto(f"/images#image={names[1]}")
    expect(page.get_by_role("alert")).to_contain_text("This image was deleted")


def test_before_and_after_and_an_image_whose_file_is_gone(guest: Visitor, site: Website, few: Tenant) -> None:
    [before] = make(site, few, 1)
    [after] = make(site, few, 1, image=f"/files/{before}")
    with site.http(few.secret) as http:
        # Where an image came from is noted a moment after it was made.
        until(lambda: http.get("/v2/images", params={"name": after}).json()["images"][0]["input_url"])
    page = go(guest, few, f"/images#image={after}")
    box = page.get_by_role("dialog")
    box.get_by_role("button", name="Before and after").click()
    slider = box.get_by_role("slider", name="left image")
    slider.press("ArrowRight")
    assert page.url.endswith(after)
    assert guest.barriers() == []
    box.get_by_role("button", name="Done").click()
    expect(slider).to_have_count(0)
    with site.http(few.secret) as http:
        assert http.post("/v2/images/delete", json={"names": [after]}).status_code == 200
    box.get_by_role("button", name="Download").click()
    expect(box.get_by_role("alert")).to_contain_text("This image was deleted")
    page.keyboard.press("Escape")
    page.reload()
    expect(tiles(page)).to_have_count(7)


def test_a_key_sees_its_own_account_and_a_reading_one_changes_nothing(
    guest: Visitor, site: Website, few: Tenant
) -> None:
    empty = Tenant(site.store, 10**6, name="empty", asks=ASKS)
    _, reads = few.accounts.keys.create(few.account_id, "reads", read_only=True)
    page = guest.go("/images", reads)
    tiles(page).first.wait_for()
    page.get_by_role("button", name="Select").click()
    bar = page.get_by_role("region", name="Selected images")
    expect(bar).to_contain_text("This key may only read")
    expect(bar.get_by_role("button", name="Delete")).to_have_count(0)
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(tiles(page)).to_have_count(0)
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    page.locator("main").get_by_role("button", name="Enter key").click()
    page.get_by_role("dialog").get_by_label("API key", exact=True).fill(empty.secret)
    page.get_by_role("dialog").get_by_role("button", name="Use this key").click()
    expect(page.get_by_role("heading", name="No images yet")).to_be_visible()
    expect(page.locator("main").get_by_role("link", name="Stable Diffusion 1.5 image to image")).to_be_visible()
    guest.sound()


def test_the_history_leads_to_images_says_what_is_gone_and_cancels(guest: Visitor, site: Website, few: Tenant) -> None:
    gone = make(site, few, 1, prompt="a bear")
    running = few.submit(params={"prompt": "a deer"})
    waiting = few.submit(params={"prompt": "a hare"})
    with site.http(few.secret) as http:
        assert http.post("/v2/images/delete", json={"names": gone}).status_code == 200
    page = guest.go("/account?tab=requests", few.secret)
    rows = page.locator(".rows li")
    expect(rows).to_have_count(4)
    expect(rows.nth(2).locator(".thumb")).to_have_text("gone")
    expect(rows.nth(3).locator(".thumb")).to_have_text("6")
    rows.filter(has_text="a hare").get_by_role("button", name="Cancel").click()
    expect(rows.filter(has_text="a hare")).to_contain_text("cancelled")
    assert few.find(waiting).error == "cancelled"
    # What ends meanwhile is drawn anew by itself.
    made = [picture(site, 7)]
    few.complete(few.claim(), steps=4, **{**RESULT, "pictures": made})
    link = rows.filter(has_text="a deer").locator(".thumb")
    expect(link).to_have_attribute("href", f"/images#image={made[0]['name']}")
    expect(rows.filter(has_text="a deer").get_by_role("link", name="Open")).to_have_attribute(
        "href", f"{OLD}#request={running.id}"
    )
    guest.sound()
    link.click()
    expect(page.get_by_role("dialog")).to_contain_text("a deer")
