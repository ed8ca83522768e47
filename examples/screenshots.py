"""The pictures of the pages that README.md shows, taken from a server of its own with the built-in weights.

.venv/bin/python examples/screenshots.py docs/images
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright
from tests.acceptance.harness import KEY, Server

TEXT, MEDIUM = "/models/stable-diffusion-3.5-turbo-txt2img", "/models/sd3-med-img2img"
#: Milliseconds that a picture may take.
PATIENCE = 120_000


def generate(page: Page) -> None:
    """A picture on the stage."""
    page.get_by_role("button", name="Generate").click()
    page.locator(".result img").first.wait_for(timeout=PATIENCE)
    page.get_by_role("tablist").evaluate("tabs => scrollTo(0, tabs.offsetTop - 72)")


def strip(page: Page) -> None:
    """Four strengths side by side."""
    page.get_by_text("Strip: compare several values").click()
    page.get_by_label("Parameter to vary").select_option(label="Strength")
    page.get_by_role("button", name="Make 4 pictures").click()
    page.locator(".cells img").nth(3).wait_for(timeout=PATIENCE)
    page.get_by_role("button", name="Download the sheet").wait_for()


def nothing(_page: Page) -> None:
    """As it is."""


#: File → the page, its colours, its width, and what is done before the picture is taken.
SHOTS: dict[str, tuple[str, str, int, Callable[[Page], None]]] = {
    "pages-models.jpeg": ("/", "light", 1440, nothing),
    "pages-playground.jpeg": (f"{TEXT}?tab=playground", "dark", 1440, generate),
    "pages-strip.jpeg": (f"{MEDIUM}#prompt=a+strawberry&seed=2", "dark", 1440, strip),
    "pages-api.jpeg": (f"{TEXT}?tab=api", "light", 1440, nothing),
}


@contextmanager
def chromium() -> Iterator[Browser]:
    """The machine's own."""
    path = os.environ.get("TINTYPE_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with tempfile.TemporaryDirectory() as data, chromium() as browser:
        server = Server(Path(data)).start()
        for name, (path, scheme, width, act) in SHOTS.items():
            size = {"width": width, "height": 900}
            page = browser.new_page(base_url=server.address, color_scheme=scheme, viewport=size)
            page.add_init_script(f"sessionStorage.setItem('tintype-key', '{KEY}')")
            page.goto(path, wait_until="networkidle")
            act(page)
            page.wait_for_load_state("networkidle")
            page.screenshot(path=folder / name, type="jpeg", quality=85)
            page.close()
            print(folder / name)  # noqa: T201
        server.stop()


if __name__ == "__main__":
    main()
