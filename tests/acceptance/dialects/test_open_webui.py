"""Open WebUI's image settings, engines `openai` and `automatic1111` and its image edit: the calls that it makes.

Its server makes them one after the other, when an administrator saves the settings and when a chat asks for an image.
What it reads of an answer is read here. From its source (backend/open_webui/routers/images.py), 2026.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import gradient, left, new_key, opened
from tests.clients import NO_TLS

TEXT, EDIT, OLD = "stable-diffusion-3.5-turbo-txt2img", "sd3-med-img2img", "sd1.5-img2img"
#: Models whose answer it expects to be base64 by itself; it asks all others for that.
NAMELESS = re.compile("^gpt-image")


@dataclass(frozen=True)
class OpenWebUI:
    """Its settings, by what the page calls them."""

    api_base_url: str = ""
    api_key: str = ""
    api_version: str = ""
    automatic1111_base_url: str = ""
    automatic1111_auth: str = ""
    model: str = ""
    size: str = "256x256"
    steps: int = 2
    params: dict[str, Any] = field(default_factory=dict)

    # Engine openai

    def generate(self, prompt: str, n: int = 1) -> list[Image.Image]:
        """Ask for images as a chat does."""
        body = {"model": self.model, "prompt": prompt, "n": n}
        body |= {"size": self.size} if self.size else {}
        body |= {} if NAMELESS.match(self.model) else {"response_format": "b64_json"}
        answer = self._post("images/generations", json={**body, **self.params})
        return self._images(answer)

    def edit(self, prompt: str, images: Sequence[bytes], size: str = "") -> list[Image.Image]:
        """Ask for a change of one image, or of several together."""
        form = {"model": self.model, "prompt": prompt} | ({"size": size} if size else {})
        form |= {} if NAMELESS.match(self.model) else {"response_format": "b64_json"}
        name = "image" if len(images) == 1 else "image[]"
        files = [(name, (f"{uuid.uuid4()}.png", one, "image/png")) for one in images]
        return self._images(self._post("images/edits", data=form, files=files))

    def _post(self, path: str, **sent: Any) -> httpx2.Response:
        query = f"?api-version={self.api_version}" if self.api_version else ""
        headers = {"Authorization": f"Bearer {self.api_key}", "X-OpenWebUI-User-Name": "J%C3%BCrgen"}
        return called("POST", f"{self.api_base_url}/{path}{query}", headers=headers, **sent)

    def _images(self, answer: httpx2.Response) -> list[Image.Image]:
        """An address is fetched, with the key; base64 is a PNG."""
        made = []
        for image in answer.json()["data"]:
            if url := image.get("url"):
                got = called("GET", url, headers={"Authorization": f"Bearer {self.api_key}"})
                assert got.headers["content-type"].startswith("image/")
                made.append(opened(got.content))
            else:
                made.append(opened(base64.b64decode(image["b64_json"])))
        return made

    # Engine automatic1111

    def verify(self) -> None:
        """What the button beside the address does."""
        self._sdapi("GET", "options")

    def models(self) -> dict[str, str]:
        """What the list of models shows: the id that is chosen, and its name."""
        return {model["title"]: model["model_name"] for model in self._sdapi("GET", "sd-models").json()}

    def save(self) -> None:
        """What saving does: the whole of the options is sent back, with the model in it."""
        options = self._sdapi("GET", "options").json()
        if options["sd_model_checkpoint"] != self.model:
            self._sdapi("POST", "options", json={**options, "sd_model_checkpoint": self.model})

    def draw(self, prompt: str, n: int = 1, **more: str) -> tuple[list[Image.Image], dict[str, Any]]:
        """Ask for images as a chat does; they, and what is kept with them."""
        width, height = map(int, self.size.split("x"))
        body = {"prompt": prompt, "batch_size": n, "width": width, "height": height, "steps": self.steps, **more}
        answer = self._sdapi("POST", "txt2img", json={**body, **self.params}).json()
        return [opened(base64.b64decode(image)) for image in answer["images"]], json.loads(answer["info"])

    def _sdapi(self, method: str, path: str, **sent: Any) -> httpx2.Response:
        basic = base64.b64encode(self.automatic1111_auth.encode()).decode()
        headers = {"authorization": f"Basic {basic}"}
        return called(method, f"{self.automatic1111_base_url}/sdapi/v1/{path}", headers=headers, **sent)


def called(method: str, url: str, **sent: Any) -> httpx2.Response:
    """The answer; raises HTTPStatusError for one that isn't good, whose words it shows."""
    with httpx2.Client(timeout=120, verify=NO_TLS) as http:
        return http.request(method, url, **sent).raise_for_status()


def said(refusal: pytest.ExceptionInfo[httpx2.HTTPStatusError]) -> tuple[int, dict[str, Any]]:
    answer = refusal.value.response
    return answer.status_code, answer.json()["error"]


@pytest.fixture
def key(dialects: Server) -> str:
    return new_key(dialects, 1)


@pytest.fixture
def engine(dialects: Server, key: str) -> OpenWebUI:
    """Set up as docs/clients.md says, with either engine."""
    return OpenWebUI(
        api_base_url=f"{dialects.address}/v1",
        api_key=key,
        automatic1111_base_url=dialects.address,
        automatic1111_auth=f"open-webui:{key}",
        model="gpt-image-1",
    )


def sizes(images: Sequence[Image.Image]) -> list[tuple[int, int]]:
    return [image.size for image in images]


def test_engine_openai_draws_by_a_name_that_it_knows_and_by_a_slug(engine: OpenWebUI) -> None:
    by_alias = engine.generate("a fox")
    by_slug = replace(engine, model=TEXT, params={"steps": 2, "seed": 7}).generate("a fox")
    assert sizes(by_alias) == sizes(by_slug) == [(256, 256)]
    assert {image.format for image in (*by_alias, *by_slug)} == {"PNG"}


def test_engine_openai_with_no_size_an_api_version_and_several_images(engine: OpenWebUI) -> None:
    images = replace(engine, size="", api_version="2025-04-01-preview", model="sd1.5-txt2img").generate("a fox", n=2)
    assert sizes(images) == [(512, 512)] * 2


def test_engine_openai_is_told_of_a_name_that_is_none_here(engine: OpenWebUI, dialects: Server, key: str) -> None:
    with pytest.raises(httpx2.HTTPStatusError) as refusal:
        replace(engine, model="dall-e-2").generate("a fox")
    status, error = said(refusal)
    assert status == 404
    assert "dall-e-2" in error["message"], "shown to the user"
    with pytest.raises(httpx2.HTTPStatusError) as refusal:
        replace(engine, api_key="sk-1234").generate("a fox")
    assert said(refusal)[0] == 401
    assert left(dialects.http(key)) == 1


def test_image_edit(engine: OpenWebUI, dialects: Server, key: str) -> None:
    photo = gradient(256, 256)
    assert sizes(engine.edit("a fox", [photo], size="256x256")) == [(256, 256)]
    assert sizes(replace(engine, model=OLD).edit("a fox", [photo])) == [(512, 512)]
    spent = left(dialects.http(key))
    with pytest.raises(httpx2.HTTPStatusError) as refusal:
        engine.edit("a fox", [photo, photo])
    assert said(refusal)[0] == 400
    assert "one" in said(refusal)[1]["message"].lower()
    assert left(dialects.http(key)) == spent


def test_engine_automatic1111_from_its_settings_to_a_chat(engine: OpenWebUI, dialects: Server) -> None:
    with pytest.raises(httpx2.HTTPStatusError) as refusal:
        replace(engine, automatic1111_auth="open-webui:wrong").verify()
    assert refusal.value.response.headers["www-authenticate"].startswith("Basic")
    engine.verify()
    listed = engine.models()
    assert {TEXT, OLD, "gpt-image-1"} <= listed.keys()
    chosen = replace(engine, model=TEXT)
    chosen.save()
    images, info = chosen.draw("a fox", n=2)
    assert sizes(images) == [(256, 256)] * 2
    assert info["sd_model_name"] == TEXT
    other = new_key(dialects, 1)
    theirs, info = replace(engine, automatic1111_auth=f":{other}").draw("a fox")
    assert sizes(theirs) == [(256, 256)]
    assert info["sd_model_name"] == "default", "another key has options of its own"


def test_engine_automatic1111_with_additional_parameters(engine: OpenWebUI) -> None:
    """What its text field takes as JSON."""
    wanted = {"sampler_name": "DPM++ 2M", "scheduler": "Karras", "cfg_scale": 1, "seed": 7}
    _, info = replace(engine, params=wanted).draw("a fox", negative_prompt="")
    assert (info["seed"], info["sampler_name"], info["steps"]) == (7, "DPM++ 2M", 2)


def test_what_it_asks_for_is_in_the_same_history_and_paid_from_the_same_account(
    engine: OpenWebUI, dialects: Server, key: str
) -> None:
    engine.generate("a fox")
    engine.draw("a fox")
    rows = dialects.http(key).get("/inference-request/request-history").json()["data"]
    assert len(rows) == 2
    assert left(dialects.http(key)) == pytest.approx(1 - sum(row["credits_deduction"] for row in rows))
