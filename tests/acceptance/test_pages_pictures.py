"""Images that a real worker makes, in a real browser: of a file, of each other, and several on a strip."""

from __future__ import annotations

import re

from PIL import Image
from playwright.sync_api import expect

from tests.acceptance.browser import MEDIUM, OLD, PATIENCE, Visitor
from tests.acceptance.test_http_helpers import gradient


def test_a_file_is_the_input_of_an_image_that_is_the_next_one_s(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    image = visitor.field("image")
    file = {"name": "gradient.png", "mimeType": "image/png", "buffer": gradient(96, 96)}
    page.get_by_label("Image: choose a file").set_input_files(file)
    expect(image).to_have_value(re.compile(r"/files/.*\.png"))
    visitor.field("strength").fill("0.1")
    visitor.generate()
    page.get_by_role("button", name="Use as input").click()
    expect(image).to_have_value(re.compile(r"/files/.*\.jpeg"))


def test_a_strip_varies_one_thing_and_is_a_file(visitor: Visitor) -> None:
    page = visitor.go(f"{MEDIUM}#prompt=a+strawberry&seed=2&num_inference_steps=10")
    page.get_by_text("Strip: compare several values").click()
    page.get_by_label("Parameter to vary").select_option(label="Strength")
    values = page.get_by_label("Values, separated by commas")
    values.fill("0.5, 9")
    page.get_by_role("button", name="Make 2 images").click()
    expect(page.locator(".strip .error")).to_contain_text("Between 0 and 1")
    values.fill("0.5, 0.7, 0.9")
    page.get_by_role("button", name="Make 3 images for $0.0228").click()
    expect(page.locator(".cells img")).to_have_count(3, timeout=PATIENCE)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the sheet").click()
    with Image.open(download.value.path()) as sheet:
        assert sheet.width > 3 * 384
    visitor.photograph("pages-strip", "dark")
    visitor.sound()
