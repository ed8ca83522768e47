"""The playground in a real browser: a person comes, is asked for a key, makes pictures and plays with them."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import OLD, PATIENCE, TEXT, Visitor
from tests.acceptance.harness import KEY
from tests.acceptance.test_http_helpers import gradient
from tests.integration.website import serving
from tintype.catalog.models import MODELS
from tintype.web.auth import reader

#: A picture that is dropped, or pasted, as its bytes.
TRANSFER = """
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], "gradient.png", { type: "image/png" }));
    const how = { bubbles: true, cancelable: true };
"""
DROP = f"""bytes => {{{TRANSFER}
    document.querySelector(".drop").dispatchEvent(new DragEvent("drop", {{ ...how, dataTransfer: transfer }}));
}}"""
PASTE = f"""bytes => {{{TRANSFER}
    document.body.dispatchEvent(new ClipboardEvent("paste", {{ ...how, clipboardData: transfer }}));
}}"""


def test_the_models_are_cards_that_lead_to_their_pages(visitor: Visitor) -> None:
    page = visitor.go("/", key=None)
    expect(page.locator(".card")).to_have_count(len(MODELS))
    assert visitor.barriers() == []
    page.get_by_role("link", name="Stable Diffusion 1.5").click()
    expect(page).to_have_url(visitor.address + OLD)
    expect(page.get_by_text("Built-in weights.")).to_be_visible()


def test_a_first_visit_is_asked_for_a_key_once(visitor: Visitor) -> None:
    page = visitor.go(TEXT, key=None)
    page.get_by_role("button", name="Generate").click()
    dialog = page.get_by_role("dialog")
    for wrong, words in (
        ("", "Paste the key first"),
        ("SG_00000000000000000000000000000000", "key"),
        ("ключ", "letters"),
    ):
        dialog.get_by_label("API key", exact=True).fill(wrong)
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog.get_by_role("alert")).to_contain_text(words)
    assert visitor.barriers() == []
    dialog.get_by_label("API key", exact=True).fill(KEY)
    dialog.get_by_role("button", name="Use this key").click()
    page.locator(".result img").wait_for(timeout=PATIENCE)
    expect(page.locator(".credits")).to_contain_text("$")
    assert KEY not in page.url
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    page.reload()
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("button", name="Enter key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_ctrl_enter_makes_several_pictures_also_where_events_do_not_come_through(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    page.route("**/events", lambda route: route.abort())
    visitor.field("samples").fill("2")
    visitor.field("strength").fill("0.1")
    visitor.field("prompt").press("Control+Enter")
    expect(page.locator(".plates figure img")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator(".facts")).to_contain_text("$0.0074")
    second = page.locator(".plates figure").nth(1)
    expect(second).to_contain_text("seed 2")
    second.get_by_role("button", name="Same seed").click()
    expect(visitor.field("seed")).to_have_value("2")
    expect(visitor.field("samples")).to_have_value("1")
    assert visitor.barriers() == []


def test_progress_is_told_and_escape_cancels_for_nothing(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    visitor.field("num_inference_steps").fill("100")
    visitor.field("samples").fill("4")
    credits = page.locator(".credits")
    expect(credits).to_contain_text("$")
    before = credits.inner_text()
    page.keyboard.press("Control+Enter")
    expect(page.locator(".state")).to_have_text(re.compile(r"Step \d+ of \d+"), timeout=PATIENCE)
    expect(page.locator(".developing img")).to_be_visible(timeout=PATIENCE)
    assert credits.inner_text() != before, "its price is held"
    page.keyboard.press("Escape")
    expect(page.locator(".empty")).to_contain_text("Cancelled; nothing was charged.", timeout=PATIENCE)
    expect(credits).to_have_text(before)


def test_what_is_wrong_is_said_beside_the_field_before_anything_is_sent(visitor: Visitor) -> None:
    page = visitor.go(TEXT)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    visitor.field("prompt").fill("")
    visitor.field("steps").fill("71")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("Needed.")).to_be_visible()
    expect(page.get_by_text("Between 1 and 70, please.")).to_be_visible()
    expect(visitor.field("prompt")).to_be_focused()
    assert visitor.barriers() == []
    assert sent == []


def test_what_only_the_server_knows_is_said_beside_the_field_too(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    visitor.field("image").fill("/no-such-sample.jpeg")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("[data-field=image] .error")).to_contain_text("allowed: an http(s) URL")


def test_a_dropped_picture_is_the_input_and_compares_with_the_result(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    page.evaluate(DROP, list(gradient(96, 96)))
    image = visitor.field("image")
    expect(image).to_have_value(re.compile(r"/files/.*\.png"))
    visitor.field("strength").fill("0.1")
    visitor.generate()
    page.get_by_role("button", name="Compare").click()
    slider = page.get_by_role("slider", name="left picture")
    slider.press("ArrowRight")
    expect(page.get_by_label("Compare with")).to_contain_text("the input picture")
    assert page.locator(".pair").evaluate("frame => frame.style.getPropertyValue('--cut')") == "50.5%"
    assert visitor.barriers() == []
    page.get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Use as input").click()
    expect(image).to_have_value(re.compile(r"/files/.*\.jpeg"))


def test_a_picture_is_chosen_pasted_taken_or_one_of_the_samples(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    image = visitor.field("image")
    latest = image.input_value()

    def changed(ending: str) -> None:
        nonlocal latest
        expect(image).not_to_have_value(latest)
        expect(image).to_have_value(re.compile(rf"^/files/.*\.{ending}$"))
        expect(page.locator(".view img")).to_have_js_property("complete", True)
        latest = image.input_value()

    file = {"name": "gradient.png", "mimeType": "image/png", "buffer": gradient(64, 64)}
    page.locator("input[type=file]").set_input_files(file)
    changed("png")
    expect(page.get_by_text("1 uploaded; kept until")).to_be_visible()
    page.evaluate(PASTE, list(gradient(80, 64)))
    changed("png")
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take it").click()
    changed("jpeg")
    page.locator("input[type=file]").set_input_files({**file, "buffer": b"no picture"})
    expect(page.locator(".drop .hint").last).to_contain_text("data_urls[0]")
    page.get_by_role("button", name="Sample: Portrait").click()
    expect(image).to_have_value("/sd3-img2img-ip.jpg")


def test_a_server_that_asks_for_no_key_asks_nobody_for_one(chromium: Browser, tmp_path: Path) -> None:
    with serving(tmp_path) as site:
        site.app.dependency_overrides[reader] = lambda: site.key
        visitor = Visitor(chromium, site.address)
        page = visitor.go(TEXT, key=None)
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".state")).to_contain_text("Next in the queue")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".empty")).to_contain_text("Cancelled")
        visitor.go("/account", key=None)
        expect(page.locator(".rows li")).to_have_count(1)
        expect(page.get_by_role("dialog")).to_have_count(0)
        visitor.leave()


def test_a_further_slug_has_a_card_and_a_page(chromium: Browser, tmp_path: Path) -> None:
    further = '[models.sketch]\nlike = "stable-diffusion-3.5-turbo-txt2img"\ntitle = "Sketch"\ndefaults = {steps = 2}'
    (tmp_path / "models.toml").write_text(further)
    with serving(tmp_path) as site:
        visitor = Visitor(chromium, site.address)
        page = visitor.go("/", key=None)
        page.wait_for_function("[...document.images].every((image) => image.complete && image.naturalWidth)")
        page.locator(".card").last.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sketch")
        expect(visitor.field("steps")).to_have_value("2")
        visitor.leave()


def test_a_link_restores_the_form_and_holds_no_key(visitor: Visitor) -> None:
    page = visitor.go(TEXT)
    prompt = "a fox & a “<b>bear</b>”\n#100 %"
    visitor.field("prompt").fill(prompt)
    visitor.field("seed").fill("9007199254740993")
    visitor.field("width").fill("256")
    visitor.generate()
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_text("The link is copied")).to_be_visible()
    address = page.url
    assert "#" in address
    assert KEY not in address
    page.goto("/")
    page.goto(address)
    expect(visitor.field("prompt")).to_have_value(prompt)
    expect(visitor.field("seed")).to_have_value("9007199254740993")
    expect(visitor.field("width")).to_have_value("256")


def test_a_strip_varies_one_thing_and_is_a_file(visitor: Visitor) -> None:
    page = visitor.go(TEXT)
    page.get_by_text("Strip: compare several values").click()
    page.get_by_label("Parameter to vary").select_option(label="Steps")
    values = page.get_by_label("Values, separated by commas")
    values.fill("1, 99")
    page.get_by_role("button", name="Make 2 pictures").click()
    expect(page.locator(".strip .error")).to_contain_text("Between 1 and 70")
    values.fill("1, 2, 4")
    page.get_by_role("button", name="Make 3 pictures for $0.0105").click()
    expect(page.locator(".cells img")).to_have_count(3, timeout=PATIENCE)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the sheet").click()
    with Image.open(download.value.path()) as sheet:
        assert sheet.width > 3 * 384
    assert visitor.barriers() == []


def test_names_are_searched_with_the_keyboard_alone_and_poor_ones_are_warned_of(visitor: Visitor) -> None:
    page = visitor.go(TEXT)
    sampler = page.get_by_role("combobox", name="Sampler")
    sampler.fill("uni")
    expect(page.locator(".options li")).to_have_text(["uni_pc", "uni_pc_bh2"])
    sampler.press("ArrowDown")
    sampler.press("Enter")
    expect(sampler).to_have_value("uni_pc_bh2")
    sampler.fill("nonsense")
    expect(page.get_by_text("Nothing like that")).to_be_visible()
    sampler.press("Escape")
    expect(sampler).to_have_value("uni_pc_bh2")
    visitor.generate()
    expect(page.locator(".refusal")).to_contain_text("uni_pc_bh2 is poor with sgm_uniform at 4 steps")
