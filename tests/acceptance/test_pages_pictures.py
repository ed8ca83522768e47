"""Pictures in a real browser: dropped, pasted, taken, compared, and several side by side on a strip."""

from __future__ import annotations

import re

from PIL import Image
from playwright.sync_api import expect

from tests.acceptance.browser import MEDIUM, OLD, PATIENCE, Visitor
from tests.acceptance.test_http_helpers import gradient

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
    expect(page.get_by_text("Uploaded; kept for 7 days.")).to_be_visible()
    page.evaluate(PASTE, list(gradient(80, 64)))
    changed("png")
    page.get_by_role("button", name="Camera").click()
    page.get_by_role("button", name="Take it").click()
    changed("jpeg")
    page.locator("input[type=file]").set_input_files({**file, "buffer": b"no picture"})
    expect(page.locator(".drop .hint").last).to_contain_text("data_urls[0]")
    page.get_by_role("button", name="Sample: Portrait").click()
    expect(image).to_have_value("/sd3-img2img-ip.jpg")


def test_a_strip_varies_one_thing_and_is_a_file(visitor: Visitor) -> None:
    page = visitor.go(f"{MEDIUM}#prompt=a+strawberry&seed=2&num_inference_steps=10")
    page.get_by_text("Strip: compare several values").click()
    page.get_by_label("Parameter to vary").select_option(label="Strength")
    values = page.get_by_label("Values, separated by commas")
    values.fill("0.5, 9")
    page.get_by_role("button", name="Make 2 pictures").click()
    expect(page.locator(".strip .error")).to_contain_text("Between 0 and 1")
    values.fill("0.5, 0.7, 0.9")
    page.get_by_role("button", name="Make 3 pictures for $0.0228").click()
    expect(page.locator(".cells img")).to_have_count(3, timeout=PATIENCE)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the sheet").click()
    with Image.open(download.value.path()) as sheet:
        assert sheet.width > 3 * 384
    visitor.photograph("pages-strip", "dark")
    visitor.sound()
