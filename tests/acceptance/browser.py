"""The pages in a real browser."""

from __future__ import annotations

from functools import cache
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
#: Opens every fold around an element.
UNFOLD = "input => { for (let at = input; (at = at.parentElement); ) if (at.matches('details')) at.open = true; }"
#: The frame after the next one shows what is there now.
PAINTED = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


class Window:
    """A browser window at this address, for visitors who come one after the other, each to a tab of its own.

    A page that nobody looks at keeps its process, and what is compiled: to begin anew takes most of a short test.
    """

    def __init__(self, browser: Browser, address: str, **screen: Any) -> None:
        self.context = browser.new_context(base_url=address, permissions=["clipboard-write"], viewport=SCREEN, **screen)
        self._kept = self.context.new_page()
        self._kept.goto("/health")

    def tidy(self) -> None:
        """As if nobody had been here."""
        for page in self.context.pages:
            if page is not self._kept:
                page.close()
        self._kept.evaluate("localStorage.clear()")
        self.context.clear_cookies()


@cache
def window(browser: Browser, address: str, **screen: Any) -> Window:
    """The one window for all who want the same."""
    return Window(browser, address, **screen)


class Visitor:
    """Somebody with a tab of a window; `trouble` is what its console complained of, violations of the policy included.

    photos: the folder in which it leaves its photographs of the pages, if anybody wants them.
    """

    def __init__(self, browser: Browser, address: str, photos: Path | None, **screen: Any) -> None:
        self.address = address
        self._photos = photos
        self._scheme = screen.get("color_scheme", "light")
        self._window = window(browser, address, **screen)
        self.trouble: list[str] = []
        self._scripts: list[str] = []
        self.page = self._opened()

    def begins(self, script: str) -> None:
        """Run this in the tab, and in further ones, before anything of a page's own."""
        self._scripts.append(script)
        self.page.add_init_script(script)

    def go(self, path: str, key: str | None = KEY) -> Page:
        """Open a page, with the key as if it had been given before; ready when its heading is there."""
        if key:
            self.begins(f"sessionStorage.setItem('tintype-key', '{key}')")
        self.page.goto(path)
        expect(self.page.get_by_role("heading", level=1)).to_be_visible()
        return self.page

    def another_tab(self) -> Page:
        """One more of the same window."""
        page = self._opened()
        for script in self._scripts:
            page.add_init_script(script)
        return page

    def field(self, name: str) -> Locator:
        """The input of a parameter; what it is folded away in is opened."""
        found = self.page.locator(f"[data-field={name}] :is(textarea, select, input:not([type=range]))").first
        found.evaluate(UNFOLD)
        return found

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
        """Keep a picture of the page's first screen, or of the `whole` page."""
        if self._photos is None:
            return
        self.page.emulate_media(color_scheme=scheme)
        self.page.evaluate("scrollTo(0, 0)")
        self.page.wait_for_load_state("networkidle")
        self.page.evaluate(PAINTED)
        self.page.screenshot(path=self._photos / f"{name}.jpeg", type="jpeg", quality=85, full_page=whole)
        self.page.emulate_media(color_scheme=self._scheme)

    def leave(self) -> None:
        """Close the tabs; fails where anything went wrong in the first one."""
        self._window.tidy()
        assert self.trouble == []

    def _opened(self) -> Page:
        page = self._window.context.new_page()
        page.set_default_timeout(SOON)
        expect.set_options(timeout=SOON)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.trouble.append(str(error)))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        # What the server refuses the page itself must show; the browser notes it down as well.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.trouble.append(message.text)


GRAVE = ("serious", "critical")
