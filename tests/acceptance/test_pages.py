"""The playground in a real browser: a person comes, is asked for a key, and makes pictures."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import OLD, PATIENCE, TEXT, Visitor
from tests.acceptance.harness import KEY
from tests.integration.website import serving
from tintype.catalog.models import MODELS, SD15_IMG2IMG
from tintype.catalog.spec import Catalogue
from tintype.families import FAMILIES
from tintype.hub import registry as registries


def test_the_models_are_cards_that_lead_to_their_pages(visitor: Visitor) -> None:
    page = visitor.go("/", key=None)
    expect(page.locator(".card")).to_have_count(len(MODELS))
    visitor.photograph("pages-models", "light")
    visitor.sound()
    page.get_by_role("link", name="SD 1.5 · image to image").click()
    expect(page).to_have_url(visitor.address + OLD)
    expect(page.get_by_role("navigation").get_by_role("link", name="Models")).to_have_attribute("aria-current", "true")
    expect(page.get_by_text("Built-in weights.")).to_be_visible()


def test_light_and_dark_are_the_reader_s_choice(visitor: Visitor) -> None:
    page = visitor.go("/nope", key=None)
    expect(page.get_by_text("No page of this server has the address /nope.")).to_be_visible()
    colour = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(colour)
    page.get_by_role("radio", name="Dark").check()
    dark = page.evaluate(colour)
    assert dark != light
    page.get_by_role("link", name="See the models").click()
    expect(page.locator(".card").first).to_be_visible()
    assert page.evaluate(colour) == dark
    assert page.evaluate("document.fonts.check('1rem Besley') && document.fonts.check('1rem \"Tintype Sans\"')")
    page.get_by_role("radio", name="System").check()
    assert page.evaluate("[localStorage.length, " + colour + "]") == [0, light]
    visitor.sound()


def test_a_first_visit_is_asked_for_a_key_once(visitor: Visitor) -> None:
    page = visitor.go(TEXT, key=None)
    page.get_by_role("button", name="Generate").click()
    dialog = page.get_by_role("dialog")
    assert visitor.barriers() == []
    dialog.get_by_label("API key", exact=True).fill(KEY)
    dialog.get_by_role("button", name="Use this key").click()
    page.locator(".result img").wait_for(timeout=PATIENCE)
    expect(page.locator(".credits")).to_contain_text("$")
    # The plate is the one that was sent, although the key came in between.
    expect(page.locator(".shelf .words")).to_contain_text("seed")
    visitor.photograph("pages-playground", "dark")
    assert KEY not in page.url
    assert page.evaluate("document.cookie") == ""
    page.reload()
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("button", name="Enter key")).to_be_visible()
    assert KEY not in page.evaluate("JSON.stringify([localStorage, sessionStorage])")


def test_ctrl_enter_makes_several_pictures_also_where_events_do_not_come_through(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    page.route("**/events", lambda route: route.abort())
    page.route("**/status", lambda route: route.abort(), times=2)
    visitor.field("samples").fill("2")
    visitor.field("strength").fill("0.1")
    visitor.field("prompt").press("Control+Enter")
    expect(page.locator(".state")).to_contain_text("The server does not answer")
    expect(page.locator(".plates figure img")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator(".facts")).to_contain_text("$0.0074")
    second = page.locator(".plates figure").nth(1).get_by_role("button")
    second.click()
    seed = second.inner_text().removeprefix("seed ")
    page.get_by_role("button", name="Same seed").click()
    expect(visitor.field("seed")).to_have_value(seed)
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
    expect(page.locator(".developing img")).to_have_count(4, timeout=PATIENCE)
    visitor.sound()
    assert credits.inner_text() != before, "its price is held"
    # The first one leaves the field that was typed in.
    page.keyboard.press("Escape")
    expect(page.get_by_text("Press Esc again to cancel “a fox")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_text("Cancelling “a fox")).to_be_visible()
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
    image = visitor.field("image")
    image.fill("/no-such-sample.jpeg")
    image.press("Control+Enter")
    expect(page.locator("[data-field=image] .error")).to_contain_text("allowed: an http(s) URL")


def test_a_server_that_asks_for_no_key_asks_nobody_for_one(
    chromium: Browser, tmp_path: Path, photos: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as site:
        monkeypatch.setattr("tintype.web.auth._secret", lambda _http: site.secret)
        visitor = Visitor(chromium, site.address, photos)
        page = visitor.go(TEXT, key=None)
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".state")).to_contain_text("Next in the queue")
        page.get_by_role("button", name="Cancel Esc").click()
        expect(page.locator(".empty")).to_contain_text("Cancelled")
        visitor.go("/account?tab=requests", key=None)
        expect(page.locator(".rows li")).to_have_count(1)
        expect(page.get_by_role("dialog")).to_have_count(0)
        visitor.leave()


def test_a_further_slug_has_a_card_and_a_page(chromium: Browser, tmp_path: Path, photos: Path | None) -> None:
    further = '[models.sketch]\nlike = "stable-diffusion-3.5-turbo-txt2img"\ntitle = "Sketch"\ndefaults = {steps = 2}'
    (tmp_path / "models.toml").write_text(further)
    with serving(tmp_path) as site:
        visitor = Visitor(chromium, site.address, photos)
        page = visitor.go("/", key=None)
        # Not `wait_for_function`: from its second look on, the pages' policy forbids what it evaluates.
        for image in page.locator("img").all():
            expect(image).not_to_have_js_property("naturalWidth", 0)
        page.locator(".card").last.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sketch")
        expect(visitor.field("steps")).to_have_value("2")
        visitor.leave()


def test_a_link_restores_the_form_and_holds_no_key(visitor: Visitor) -> None:
    page = visitor.go(OLD)
    prompt = "a fox & a “<b>bear</b>”\n#100 %"
    visitor.field("prompt").fill(prompt)
    visitor.field("seed").fill("9007199254740993")
    visitor.field("strength").fill("0.1")
    for emptied in ("negative_prompt", "num_inference_steps"):
        visitor.field(emptied).fill("")
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
    expect(visitor.field("strength")).to_have_value("0.1")
    for emptied in ("negative_prompt", "num_inference_steps"):
        expect(visitor.field(emptied)).to_have_value("")


def test_names_are_searched_with_the_keyboard_alone_and_poor_ones_are_warned_of(visitor: Visitor) -> None:
    page = visitor.go(TEXT)
    visitor.field("sampler")
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
    visitor.field("prompt").fill("a (red:1.2) fox, " * 20)
    visitor.generate()
    said = page.locator(".stage .notice")
    expect(said).to_contain_text("uni_pc_bh2 is poor with sgm_uniform at 4 steps")
    expect(said).to_contain_text("prompt: words can't be weighted")
    # The worker's word, which comes with the picture: the built-in weights read 22 tokens.
    expect(said).to_contain_text("prompt: the model reads the first 22 of its")


def test_a_model_that_needs_weights_says_how_to_get_them(
    chromium: Browser, tmp_path: Path, photos: Path | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAMILIES, "bare", replace(FAMILIES["sd15"], name="bare", builtin=None))
    bare = replace(SD15_IMG2IMG, slug="bare-img2img", title="Bare", family="bare")
    monkeypatch.setattr(registries, "MODELS", Catalogue([*MODELS.values(), bare]))
    command = "tintype models pull bare-img2img"
    with serving(tmp_path) as site:
        visitor = Visitor(chromium, site.address, photos)
        page = visitor.go("/", key=site.secret)
        card = page.locator("[data-slug=bare-img2img]")
        expect(card).to_contain_text("needs weights")
        expect(card).to_contain_text(command)
        card.click()
        expect(page.get_by_role("button", name="Needs weights")).to_be_disabled()
        expect(page.locator(".notice code")).to_have_text(command)
        visitor.field("prompt").press("Control+Enter")
        expect(page.locator(".refusal")).to_contain_text(command)
        visitor.sound()
        page.get_by_role("tab", name="API").click()
        expect(page.get_by_role("region", name="Parameters")).to_contain_text("num_inference_steps")
        expect(page.get_by_text("once the model has weights")).to_be_visible()
        visitor.sound()
        visitor.leave()
