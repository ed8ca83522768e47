"""The playground in a real browser: a person comes, is asked for a key, and makes pictures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.acceptance.browser import OLD, PATIENCE, TEXT, Visitor
from tests.acceptance.harness import KEY
from tests.integration.website import serving
from tintype.catalog.models import MODELS


def test_the_models_are_cards_that_lead_to_their_pages(visitor: Visitor) -> None:
    page = visitor.go("/", key=None)
    expect(page.locator(".card")).to_have_count(len(MODELS))
    visitor.photograph("pages-models", "light")
    visitor.sound()
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
    visitor.photograph("pages-playground", "dark")
    assert KEY not in page.url
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage.length]") == [0, "", 1]
    page.reload()
    page.get_by_role("button", name="Forget key").click()
    expect(page.get_by_role("button", name="Enter key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


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
    expect(page.locator(".developing img")).to_have_count(4, timeout=PATIENCE)
    visitor.sound()
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


def test_a_server_that_asks_for_no_key_asks_nobody_for_one(
    chromium: Browser, tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(tmp_path) as site:
        monkeypatch.setattr("tintype.web.auth._secret", lambda _http: site.secret)
        visitor = Visitor(chromium, site.address, photos)
        page = visitor.go(TEXT, key=None)
        page.get_by_role("button", name="Generate").click()
        expect(page.locator(".state")).to_contain_text("Next in the queue")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator(".empty")).to_contain_text("Cancelled")
        visitor.go("/account?tab=requests", key=None)
        expect(page.locator(".rows li")).to_have_count(1)
        expect(page.get_by_role("dialog")).to_have_count(0)
        visitor.leave()


def test_a_further_slug_has_a_card_and_a_page(chromium: Browser, tmp_path: Path, photos: Path) -> None:
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
    page.get_by_text("Negative prompt", exact=True).click()
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
    said = page.locator(".view-side .notice")
    expect(said).to_contain_text("uni_pc_bh2 is poor with sgm_uniform at 4 steps")
    expect(said).to_contain_text("prompt: words can't be weighted")
    # The worker's word, which comes with the picture: the built-in weights read 22 tokens.
    expect(said).to_contain_text("prompt: the model reads the first 22 of its")
