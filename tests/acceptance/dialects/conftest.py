"""One real server for the clients of every dialect, with aliases, and built-in weights that draw."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import servers
from tests.acceptance.harness import LONG_LEASE, Server

#: Version that programs in the wild name instead of a model.
VERSION = "ac732df83cea7fff18b8472768c88ad041fa750ff7682a21affe81863cbe77e4"
ALIASES = f"""
[aliases]
"gpt-image-1" = {{generate = "stable-diffusion-3.5-turbo-txt2img", edit = "sd3-med-img2img"}}
"sd-1.5" = "sd1.5-img2img"
"stability-ai/stable-diffusion" = "sd1.5-img2img"
"{VERSION}" = "sd1.5-img2img"
"""


@pytest.fixture(scope="session")
def dialects(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Iterator[Server]:
    """A running server with the built-in weights and aliases; webhooks may be told on this machine, and at once again.

    Its tests make accounts and keys of their own (`new_key`), which spend and remember for them alone.
    """
    file = tmp_path_factory.mktemp("aliases") / "models.toml"
    file.write_text(ALIASES)
    telling = {"webhook_allow": "127.0.0.1", "webhook_poll": 0.1, "webhook_backoff": 0.1}
    with servers(tmp_path_factory, weights) as make:
        yield make(weights="{}", models_file=file, lease=LONG_LEASE, **telling).start()
