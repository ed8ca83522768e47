"""The pages in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.acceptance.harness import KEY

TEXT, OLD = "/models/stable-diffusion-3.5-turbo-txt2img", "/models/sd1.5-img2img"
MEDIUM = "/models/sd3-med-img2img"
#: Milliseconds that anything, and that a picture, may take on a busy machine.
SOON, PATIENCE = 30_000, 90_000
#: Pixels: of an ordinary screen, and the widths at which every page must fit.
SCREEN = {"width": 1440, "height": 900}
WIDTHS = (360, 768, 1440)
BELOW_HEAD = "scrollTo(0, document.querySelector('.crumb') ? document.querySelector('.tabs').offsetTop - 72 : 0)"
#: The frame after the next one shows what is there now.
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Visitor:
    """One browser window; `trouble` is all that its console complained of, violations of the policy included.

    photos: the folder in which it leaves its photographs of the pages.
    """

    def __init__(self, browser: Browser, address: str, photos: Path, **screen: Any) -> None:
        self.address = address
        self._photos = photos
        self._scheme = screen.get("color_scheme", "light")
        self.trouble: list[str] = []
        self._context = browser.new_context(
            base_url=address, permissions=["clipboard-write"], viewport=SCREEN, **screen
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(SOON)
        expect.set_options(timeout=SOON)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.trouble.append(str(error)))

    def go(self, path: str, key: str | None = KEY) -> Page:
        """Open a page, with the key as if it had been given before; ready when its heading is there."""
        if key:
            self._context.add_init_script(f"sessionStorage.setItem('tintype-key', '{key}')")
        self.page.goto(path)
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self.page

    def field(self, name: str) -> Locator:
        """The input of a parameter."""
        return self.page.locator(f"[data-field={name}] :is(textarea, select, input:not([type=range]))").first

    def generate(self) -> None:
        """Press the button, and wait for the picture."""
        self.page.get_by_role("button", name="Generate").click()
        self.page.locator(".result img").first.wait_for(timeout=PATIENCE)

    def barriers(self) -> list[str]:
        """What axe finds that keeps people out."""
        found = Axe().run(self.page).response["violations"]
        return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found if one["impact"] in GRAVE]

    def sound(self) -> None:
        """Nothing keeps people out, and nothing is wider than the screen, whatever its width."""
        assert self.barriers() == []
        for width in WIDTHS:
            self.page.set_viewport_size({**SCREEN, "width": width})
            needed = self.page.evaluate("document.documentElement.scrollWidth")
            assert needed <= width, f"{self.page.url} needs {needed} pixels on a screen of {width}"
        self.page.set_viewport_size(SCREEN)

    def photograph(self, name: str, scheme: Literal["light", "dark"], *, whole: bool = False) -> None:
        """Keep a picture of what is seen, or of the `whole` page; of a model's page, what is below its head."""
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate(BELOW_HEAD)
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate(PAINTED)
        self.page.screenshot(path=self._photos / f"{name}.jpeg", type="jpeg", quality=85, full_page=whole)
        self.page.emulate_media(color_scheme=self._scheme)

    def leave(self) -> None:
        """Close the window; fails where anything went wrong in it."""
        self._context.close()
        assert self.trouble == []

    def _heard(self, message: ConsoleMessage) -> None:
        # What the server refuses the page itself must show; the browser notes it down as well.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.trouble.append(message.text)


GRAVE = ("serious", "critical")
