"""A mask painted in a real browser: with mouse, keys and fingers, from a file, and what is made with it."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat
from playwright.sync_api import Browser, Locator, Page, expect

from tests.acceptance.browser import PAINTED, PATIENCE, Visitor
from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import gradient

INPAINTING = "/models/sd1.5-inpainting"
NOTHING = re.compile("Nothing is painted yet")


@pytest.fixture
def page(visitor: Visitor) -> Page:
    """The playground with a picture and nothing painted on it."""
    return opened(visitor)


def opened(visitor: Visitor) -> Page:
    page = visitor.go(INPAINTING)
    expect(canvas(page)).to_be_visible()
    button(page, "Clear").click()
    expect(said(page)).to_have_text(NOTHING)
    return page


def canvas(page: Page) -> Locator:
    return page.locator(".frame canvas")


def said(page: Page) -> Locator:
    return page.locator(".board > [role=status]")


def button(page: Page, name: str) -> Locator:
    return page.locator(".brush").get_by_role("button", name=name)


def painted(page: Page) -> int:
    """Percent that the page says are painted."""
    expect(said(page)).to_have_text(re.compile(r"\d %"))
    return int(re.findall(r"(\d+) %", said(page).inner_text())[0])


def paint(page: Page, *points: tuple[float, float]) -> None:
    """A stroke with the mouse, through points in parts of the picture's sides."""
    canvas(page).scroll_into_view_if_needed()
    box = canvas(page).bounding_box()
    assert box
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=5)
    page.mouse.up()


def test_what_is_painted_is_repainted_and_the_rest_stays(visitor: Visitor, page: Page) -> None:
    stored: list[str] = []
    page.on("request", lambda request: "/upload-asset" in request.url and stored.append(request.url))
    asked: list[dict[str, object]] = []
    page.on("request", lambda request: "/v2/sd1.5" in request.url and asked.append(request.post_data_json))
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("[data-field=mask] .error")).to_have_text("Needed.")
    expect(canvas(page)).to_be_focused()
    assert asked == []
    paint(page, (0.3, 0.4), (0.5, 0.4))
    first = painted(page)
    assert 3 < first < 20
    page.get_by_role("tab", name="API").click()
    expect(page.locator(".code code").first).to_contain_text(re.compile(r'"mask": "/files/\w+\.png"'))
    page.get_by_role("tab", name="Playground").click()
    visitor.field("strength").fill("1")
    visitor.field("num_inference_steps").fill("20")
    visitor.generate()
    assert len(stored) == 1
    mask = Image.open(io.BytesIO(page.request.get(str(asked[0]["mask"])).body()))
    assert (mask.format, mask.size) == ("PNG", (512, 512))
    grey = mask.convert("L")
    assert [grey.getpixel(place) for place in ((205, 205), (20, 20), (205, 400))] == [255, 0, 0]
    assert round(100 * ImageStat.Stat(grey).mean[0] / 255) == pytest.approx(first, abs=1)
    assert str(asked[0]["mask"]).startswith("/files/")

    def image(path: str) -> Image.Image:
        answer = page.request.get(path)
        return Image.open(io.BytesIO(answer.body())).convert("RGB")

    made, before = image(page.locator(".result img").get_attribute("src") or ""), image("/sd-img2img-input.jpeg")
    assert made.size == before.size
    apart = ImageChops.difference(made, before).convert("L")
    inside = ImageStat.Stat(apart, grey.point(lambda value: 255 * (value > 127))).mean[0]
    outside = ImageStat.Stat(apart, grey.point(lambda value: 255 * (value < 128))).mean[0]
    assert inside > 3 * outside, (inside, outside)
    # Other parameters leave the mask as it is, and where it is.
    visitor.field("seed").fill("5")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".result .facts")).to_contain_text("5", timeout=PATIENCE)
    assert (len(stored), asked[1]["mask"]) == (1, asked[0]["mask"])
    page.get_by_role("button", name="Use as input").click()
    expect(page.locator(".below img")).to_have_attribute("src", re.compile("/files/"))
    assert visitor.field("image").input_value() != asked[1]["image"]
    paint(page, (0.3, 0.4), (0.5, 0.4))
    assert painted(page) == first, "it was kept, and the same stroke adds nothing"


def test_steps_are_undone_and_the_keys_do_what_the_buttons_do(visitor: Visitor, page: Page) -> None:
    paint(page, (0.2, 0.2), (0.5, 0.2))
    first = painted(page)
    paint(page, (0.2, 0.6), (0.7, 0.6))
    second = painted(page)
    assert second > first
    canvas(page).focus()
    page.keyboard.press("z")
    assert painted(page) == first
    page.keyboard.press("i")
    assert painted(page) == pytest.approx(100 - first, abs=1)
    button(page, "Invert").click()
    assert painted(page) == first
    canvas(page).focus()
    page.keyboard.press("]")
    expect(said(page)).to_have_text(re.compile(r"Brush: \d+ pixels"))
    size = int(page.get_by_label("Size").input_value())
    page.keyboard.press("[")
    assert int(page.get_by_label("Size").input_value()) < size
    page.keyboard.press("e")
    expect(said(page)).to_have_text("The brush erases now.")
    expect(page.get_by_label("Erase")).to_be_checked()
    paint(page, (0.2, 0.2), (0.5, 0.2))
    assert "Erased" in said(page).inner_text()
    button(page, "Clear").click()
    page.get_by_label("Paint").check(force=True)
    canvas(page).focus()
    for key in ("ArrowLeft", "ArrowUp", "Space"):
        page.keyboard.press(key)
    assert painted(page) > 0
    for _ in range(3):
        button(page, "Undo").click()
    button(page, "Larger").click()
    paint(page, (0.4, 0.8), (0.6, 0.8))
    assert painted(page) > 0
    assert visitor.barriers() == []
    page.get_by_role("dialog").get_by_role("button", name="Done").click()
    expect(button(page, "Larger")).to_be_focused()
    visitor.sound()


def test_a_mask_may_come_from_a_file_and_goes_with_a_picture_of_another_size(page: Page) -> None:
    def file(size: tuple[int, int], light: tuple[int, int, int, int]) -> dict[str, object]:
        mask = Image.new("L", size)
        mask.paste(255, light)
        data = io.BytesIO()
        mask.save(data, "png")
        return {"name": "mask.png", "mimeType": "image/png", "buffer": data.getvalue()}

    chooser = page.get_by_label("Choose a mask file")
    chooser.set_input_files(file((256, 256), (0, 0, 128, 256)))
    expect(said(page)).to_contain_text("taken from the file. 50 %")
    chooser.set_input_files(file((256, 128), (0, 0, 128, 128)))
    expect(said(page)).to_contain_text("256 × 128 pixels; the image has another shape")
    chooser.set_input_files({"name": "x.png", "mimeType": "image/png", "buffer": b"none"})
    expect(said(page)).to_have_text("This file is no image that this browser can show.")
    picture = page.get_by_label("Image: choose a file")
    picture.set_input_files({"name": "same.png", "mimeType": "image/png", "buffer": gradient(512, 512)})
    expect(page.locator(".below img")).to_have_attribute("src", re.compile("/files/"))
    paint(page, (0.8, 0.8), (0.9, 0.8))
    assert 50 < painted(page) < 60, "the mask is the same"
    picture.set_input_files({"name": "other.png", "mimeType": "image/png", "buffer": gradient(64, 96)})
    expect(said(page)).to_have_text("The mask was for an image of another size, and is gone.")
    page.locator(".change > summary").click()
    page.locator("[data-field=image] input[type=text]").fill("https://example.com/a.png")
    expect(said(page)).to_contain_text("An image of another server can't be painted on")
    expect(canvas(page)).to_be_hidden()


@pytest.fixture
def phone(chromium: Browser, builtin: Server, photos: Path | None) -> Iterator[Visitor]:
    """Somebody with a phone."""
    came = Visitor(chromium, builtin.address, photos, has_touch=True, is_mobile=True)
    came.page.set_viewport_size({"width": 360, "height": 740})
    yield came
    came.leave()


def test_a_finger_paints_on_the_picture_and_scrolls_beside_it(phone: Visitor) -> None:
    page = opened(phone)
    touches = page.context.new_cdp_session(page)

    def drag(x: float, y: float, by: int) -> None:
        for part in range(9):
            point = {"x": x, "y": y + by * part / 8}
            touches.send(
                "Input.dispatchTouchEvent", {"type": f"touch{'Move' if part else 'Start'}", "touchPoints": [point]}
            )
            page.evaluate(PAINTED)
        touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    canvas(page).scroll_into_view_if_needed()
    before, box = page.evaluate("scrollY"), canvas(page).bounding_box()
    assert box
    drag(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.7, -120)
    assert painted(page) > 0
    assert page.evaluate("scrollY") == before
    drag(box["x"] / 2, box["y"] + box["height"] / 2, -120)
    until(lambda: page.evaluate("scrollY") > before + 50)
    assert phone.barriers() == []
