"""The form in a real browser: the prompt first, what is rarely changed folded away, controls that tell the truth."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.acceptance.browser import OLD, SCREEN, TEXT, Visitor
from tests.integration.website import Website
from tintype.catalog.models import MODELS
from tintype.checkpoints.weights import has_builtin

INPAINTING = "/models/sd1.5-inpainting"
#: Models whose forms can be sent.
SERVED = [spec.slug for spec in MODELS.values() if has_builtin(spec.family, few_steps=spec.few_steps)]
PHONE, ZOOMED = {"width": 360, "height": 740}, {"width": 360, "height": 225}
FORMS_END = "document.querySelector('.settings').scrollIntoView({ block: 'end' })"
#: Where the parts of a model's page are: [top, bottom] of each, from the screen's top.
PLACES = """() => [".ask textarea", ".go", ".stage", ".settings"].map(part => {
    const { top, bottom } = document.querySelector(part).getBoundingClientRect();
    return [top, bottom];
})"""


@pytest.fixture
def guest(guest: Visitor, site: Website) -> Visitor:
    """A visitor with a key."""
    guest.page.add_init_script(f"sessionStorage.setItem('tintype-key', '{site.secret}')")
    return guest


def places(page: Page) -> list[list[float]]:
    found: list[list[float]] = page.evaluate(PLACES)
    return found


def advanced(page: Page) -> Locator:
    return page.locator(".advanced > summary")


@pytest.mark.parametrize("slug", SERVED)
def test_the_form_fits_one_screen(guest: Visitor, slug: str) -> None:
    page = guest.go(f"/models/{slug}", key=None)
    expect(page.locator(".closable")).to_be_visible()
    if "mask" in MODELS[slug].names:
        expect(page.locator(".frame canvas")).to_be_visible()
    prompt, go, _, settings = places(page)
    assert prompt[1] - prompt[0] > 80, "three lines"
    assert prompt[0] < go[1] <= settings[0], places(page)
    assert settings[1] <= SCREEN["height"], places(page)
    page.set_viewport_size(PHONE)
    prompt, go, stage, settings = places(page)
    assert prompt[1] < go[0] < go[1] <= PHONE["height"]
    assert go[1] <= stage[0] <= go[1] + 40, "directly below the button"
    assert stage[1] <= settings[0]


def test_prompt_and_button_stay_in_sight_but_not_where_they_would_hide_the_rest(guest: Visitor) -> None:
    page = guest.go(INPAINTING, key=None)
    advanced(page).click()
    # Further than one screen.
    page.set_viewport_size({**SCREEN, "height": 700})
    page.evaluate(FORMS_END)
    assert page.evaluate("scrollY") > 200
    prompt, go, _, _ = places(page)
    assert 0 <= prompt[0] < go[1] <= 400
    page.set_viewport_size(ZOOMED)
    page.evaluate(FORMS_END)
    prompt, go, _, _ = places(page)
    assert go[1] < 0
    assert page.locator(".bar").evaluate("bar => bar.getBoundingClientRect().bottom") < 0


def test_what_is_folded_says_what_in_it_differs(guest: Visitor) -> None:
    page = guest.go(OLD, key=None)
    steps = page.locator("[data-field=num_inference_steps] .figure")
    expect(steps).to_be_hidden()
    expect(page.locator(".differs")).to_be_empty()
    advanced(page).click()
    steps.fill("33")
    page.get_by_role("combobox", name="Sampler").fill("uni")
    page.get_by_role("option", name="UniPC").click()
    advanced(page).click()
    expect(page.locator(".differs")).to_have_text("Sampler UniPC · Steps 33")
    # What is wrong in the fold opens it.
    page.goto(f"{OLD}#num_inference_steps=5")
    page.reload()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("Between 20 and 100, please.")).to_be_visible()
    expect(steps).to_be_focused()


def test_every_press_draws_a_new_seed_until_one_is_fixed(guest: Visitor, site: Website) -> None:
    page = guest.go(OLD, key=None)
    seed, random = guest.field("seed"), page.get_by_role("button", name="Random")
    expect(seed).to_have_value("")
    expect(random).to_have_attribute("aria-pressed", "true")
    drawn: list[int] = []
    for _ in range(2):
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".state")).to_contain_text("Next in the queue")
        drawn.append(site.complete(site.claim()).generation.seed)
        expect(page.locator(".result").get_by_role("button", name="Same seed")).to_be_visible()
    assert drawn[0] != drawn[1]
    page.get_by_role("button", name="Same seed").click()
    expect(seed).to_have_value("7")
    expect(random).to_have_attribute("aria-pressed", "false")
    page.get_by_role("tab", name="API").click()
    expect(page.locator(".code code").first).to_contain_text('"seed": 7')
    page.get_by_role("tab", name="Playground").click()
    # A seed of -1, from a link or typed, is a random one.
    seed.fill("-1")
    seed.blur()
    expect(seed).to_have_value("")
    random.click()
    expect(seed).to_have_value(re.compile(r"^\d+$"))


def test_chips_move_width_and_height(guest: Visitor) -> None:
    page = guest.go(TEXT, key=None)
    width, height = guest.field("width"), guest.field("height")
    sent: list[dict[str, Any]] = []
    page.on("request", lambda request: request.method == "POST" and sent.append(request.post_data_json))
    expect(page.get_by_role("radio", name="1:1")).to_be_checked()
    page.get_by_role("radio", name="Own size").check()
    expect(page.get_by_role("radio", name="Own size")).to_be_checked()
    page.get_by_role("radio", name="9:16").check()
    expect(width).to_have_value("768")
    expect(height).to_have_value("1344")
    expect(page.locator(".shape [role=status]")).to_have_text("768 × 1344")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".state")).to_contain_text("Next in the queue")
    assert {"aspect_ratio": "9:16 portrait 768x1344", "width": 768, "height": 1344}.items() <= sent[-1].items()
    # A size of one's own is no longer overridden.
    width.fill("640")
    expect(page.get_by_role("radio", name="Own size")).to_be_checked()
    # Of a link, a shape goes before the sides.
    guest.go(f"{TEXT}#aspect_ratio=3:2+landscape+1216x832&width=1024", key=None)
    page.reload()
    expect(page.get_by_role("radio", name="3:2")).to_be_checked()
    expect(width).to_have_value("1216")
    guest.go("/models/sd1.5-txt2img", key=None)
    width, height = guest.field("img_width"), guest.field("img_height")
    page.get_by_role("radio", name="16:9").check()
    wide, high = int(width.input_value()), int(height.input_value())
    assert (wide % 16, high % 16) == (0, 0)
    assert wide / high == pytest.approx(16 / 9, rel=0.04)
    assert wide * high == pytest.approx(512 * 512, rel=0.04)
    height.fill(str(wide))
    expect(page.get_by_role("radio", name="16:9")).not_to_be_checked()


def test_what_the_model_reads_of_a_prompt_is_said_below_it(guest: Visitor) -> None:
    page = guest.go(OLD, key=None)
    prompt, count, unknown = guest.field("prompt"), page.locator(".tokens"), page.locator(".unknown")
    expect(count).to_have_text("about 7 of 22 tokens")
    expect(unknown).to_be_empty()
    prompt.fill("a samurai fox in a spaceship")
    expect(unknown).to_have_text("Not among the 362 things that these weights draw: samurai, spaceship.")
    prompt.fill("a fox, " * 20)
    expect(count).to_have_text("about 60 tokens; the first 22 are read")
    expect(unknown).to_be_empty()
    # A paste is not cut; a character counts once, whatever JavaScript thinks.
    prompt.fill("🦊" * 20_000)
    expect(page.locator("[data-field=prompt] .error")).to_be_empty()
    prompt.fill("🦊" * 20_001)
    expect(page.get_by_text("This has 20,001 characters; 20,000 are allowed.")).to_be_visible()
    page.get_by_role("button", name="Generate").click()
    expect(prompt).to_be_focused()
    assert len(prompt.input_value()) >= 20_001


def test_what_overwrites_the_form_is_undone(guest: Visitor) -> None:
    page = guest.go(OLD, key=None)
    prompt, seed = guest.field("prompt"), guest.field("seed")
    prompt.fill("a strawberry")
    seed.fill("5")
    page.evaluate("location.hash = 'prompt=a+panda&num_inference_steps=30'")
    expect(prompt).to_have_value("a panda")
    expect(page.locator(".undo")).to_contain_text("Filled in from the link.")
    assert guest.barriers() == []
    page.get_by_role("button", name="Undo").click()
    expect(prompt).to_have_value("a strawberry")
    expect(page.locator(".undo")).to_be_hidden()
    page.get_by_role("button", name="Reset").click()
    expect(prompt).to_have_value("a fox on a sky blue background")
    expect(seed).to_have_value("")
    page.get_by_role("button", name="Undo").click()
    expect(seed).to_have_value("5")
    expect(page.locator(".differs")).to_be_empty()


def test_the_empty_stage_shows_the_sample_and_gives_its_settings(guest: Visitor) -> None:
    page = guest.go(OLD, key=None)
    sample = page.locator(".sample")
    expect(sample.locator("img")).not_to_have_js_property("naturalWidth", 0)
    expect(sample).to_contain_text("a castle on a sky blue background")
    expect(sample.locator(".facts")).to_contain_text("Strength")
    expect(page.get_by_role("heading", name="Other models")).to_be_visible()
    expect(page.locator(".about .card")).to_have_count(4)
    expect(page.locator(".about")).to_contain_text("Licence: CreativeML Open RAIL-M")
    guest.sound()
    sample.get_by_role("button", name="Use its settings").click()
    expect(guest.field("prompt")).to_have_value("a castle on a sky blue background")
    expect(guest.field("strength")).to_have_value("0.9")
    expect(page.locator(".undo")).to_contain_text("The form has the sample's settings now.")


def test_the_names_of_the_api_and_a_closed_notice_are_remembered(guest: Visitor) -> None:
    page = guest.go(OLD, key=None)
    name = page.locator("code", has_text="num_inference_steps")
    advanced(page).click()
    expect(page.locator("[data-field=num_inference_steps]")).to_be_visible()
    expect(name).to_be_hidden()
    page.get_by_label("API names").check()
    expect(name).to_be_visible()
    page.get_by_text("Built-in weights.").click()
    expect(page.locator(".closable code")).to_have_text("tintype models pull sd1.5-img2img")
    guest.sound()
    page.get_by_role("button", name="Close this notice").click()
    guest.go(INPAINTING, key=None)
    expect(page.locator(".closable")).to_have_count(0)
    advanced(page).click()
    expect(name).to_be_visible()
    page.get_by_label("API names").uncheck()
    page.reload()
    advanced(page).click()
    expect(name).to_be_hidden()


def test_the_input_image_is_changed_and_removed_beside_the_prompt(guest: Visitor) -> None:
    page = guest.go(OLD, key=None)
    address = page.locator("[data-field=image] input[type=text]")
    page.locator(".change > summary").click()
    expect(address).to_be_visible()
    assert guest.barriers() == []
    page.get_by_role("button", name="Sample: Portrait").click()
    expect(address).to_have_value("/sd3-img2img-ip.jpg")
    expect(address).to_be_hidden()
    page.get_by_role("button", name="Remove the image").click()
    page.get_by_role("button", name="Generate").click()
    expect(address).to_be_focused()
    expect(page.locator("[data-field=image] .error")).to_have_text("Needed.")
    address.press("Escape")
    expect(address).to_be_hidden()
    page.locator(".change > summary").click()
    address.fill("https://one.example/fox.png")
    address.press("Enter")
    expect(address).to_be_hidden()
    expect(page.locator(".view")).to_have_text("The server fetches it when it runs")
