"""OpenAI's Images API by the clients that people have, unmodified: openai in both languages, ai and litellm."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from PIL import Image
from replicate.client import Client

from tests.acceptance.dialects.conftest import VERSION
from tests.acceptance.dialects.programs import javascript, litellm
from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import new_key, opened
from tests.clients import NO_TLS
from tests.image_files import saved
from tintype.media.images import digest

TURBO, SD15, MEDIUM = "stable-diffusion-3.5-turbo-txt2img", "sd1.5-img2img", "sd3-med-img2img"
PICTURE = saved(Image.new("RGB", (300, 200), "red"))


@pytest.fixture(scope="module")
def key(dialects: Server) -> str:
    return new_key(dialects, 10)


@pytest.fixture
def client(dialects: Server, key: str) -> Iterator[OpenAI]:
    with httpx2.Client(verify=NO_TLS, timeout=120) as http:
        yield OpenAI(api_key=key, base_url=f"{dialects.address}/v1", http_client=http)


def images(answer: Any) -> list[Image.Image]:
    return [opened(base64.b64decode(one.b64_json)) for one in answer.data]


def credits(http: httpx2.Client) -> float:
    answer = http.get("/v1/get-user-credits").json()
    return float(answer["credits"] + answer["free-credits"])


def test_o1_an_alias(client: OpenAI) -> None:
    raw = client.images.with_raw_response.generate(prompt="a red circle", model="gpt-image-1")
    answer = raw.parse()
    [image] = images(answer)
    assert (image.size, image.format) == ((1024, 1024), "PNG")
    assert (answer.size, answer.usage.total_tokens if answer.usage else None) == ("1024x1024", 0)
    assert float(raw.headers["x-cost"]) == 0.0035


def test_o2_a_seed_and_an_exact_image(dialects: Server, client: OpenAI, key: str) -> None:
    asked: dict[str, Any] = {"prompt": "a red circle", "model": TURBO, "size": "512x768", "output_format": "jpeg"}
    extra = {"seed": 7, "steps": 2, "exact": True}
    one, other = (client.images.with_raw_response.generate(**asked, extra_body=extra) for _ in range(2))
    pixels = [images(raw.parse())[0] for raw in (one, other)]
    assert [(image.size, image.format) for image in pixels] == [((512, 768), "JPEG")] * 2
    assert pixels[0].tobytes() == pixels[1].tobytes()
    shown = dialects.http(key).get(f"/v2/requests/{one.headers['x-request-id']}").json()
    assert shown["seed"] == "7"


def test_o3_the_list_of_models(dialects: Server, client: OpenAI) -> None:
    names = [one.id for one in client.models.list()]
    body = dialects.http(None).get("/v1/models").json()
    slugs = [one["slug"] for one in body["models"] if one.get("weights") != "needs weights"]
    assert names[: len(slugs)] == slugs
    assert {*names[len(slugs) :]} == {"gpt-image-1", "sd-1.5", VERSION, "default"}
    assert client.models.retrieve("default").object == "model"
    replicate = Client(base_url=dialects.address, api_token=client.api_key)
    with replicate._client:
        assert [one.name for one in replicate.models.list()] == slugs


def test_o4_a_canvas(dialects: Server, client: OpenAI, key: str) -> None:
    asked: dict[str, Any] = {"model": SD15, "prompt": "a red circle"}
    raw = client.images.with_raw_response.generate(**asked)
    [image] = images(raw.parse())
    assert image.size == (512, 512)
    assert raw.headers["x-warning"].startswith(f"{SD15} takes a picture: drawn on a grey canvas")
    recipe = dialects.http(key).get(f"/v2/requests/{raw.headers['x-request-id']}").json()["recipe"]
    grey = digest(Image.new("RGB", (512, 512), (127, 127, 127)))
    assert (recipe["order"]["image"], recipe["order"]["strength"], recipe["source"]) == ("", 1, grey)
    with pytest.raises(openai.BadRequestError) as refused:
        client.images.generate(**asked, size="1024x1024")
    assert refused.value.param == "size"
    assert "512" in refused.value.message
    assert "768" in refused.value.message


def test_o5_what_is_refused_costs_nothing(dialects: Server, client: OpenAI, key: str) -> None:
    http = dialects.http(key)
    before = credits(http)
    calls: list[tuple[Any, dict[str, Any], str]] = [
        (client.images.edit, {"image": PICTURE, "mask": PICTURE}, "unsupported_parameter"),
        (client.images.edit, {"image": [PICTURE, PICTURE]}, "too_many_images"),
        (client.images.generate, {"background": "transparent"}, "unsupported_value"),
    ]
    for call, asked, code in calls:
        with pytest.raises(openai.BadRequestError) as refused:
            call(prompt="a red circle", **asked)
        assert refused.value.code == code
        assert "x-request-id" not in refused.value.response.headers
    assert credits(http) == before


JAVASCRIPT = """
import OpenAI, {toFile} from "openai"
import {createOpenAI} from "@ai-sdk/openai"
import {generateImage} from "ai"
const {ADDRESS, KEY, PICTURE, EDITS, TURBO} = process.env
const picture = Buffer.from(PICTURE, "base64")
const client = new OpenAI({apiKey: KEY, baseURL: `${ADDRESS}/v1`})
const edit = await client.images.edit({
  image: await toFile(picture, "a.png", {type: "image/png"}), model: EDITS, prompt: "a red circle",
})
const several = await client.images.edit({
  image: [await toFile(picture, "a.png", {type: "image/png"})], model: EDITS, prompt: "a red circle", n: 1,
})
const events = []
for await (const event of await client.images.generate({
  model: TURBO, prompt: "a red circle", size: "256x256", stream: true, partial_images: 2,
})) events.push(event.type)
const failing = []
for (const change of [{n: 99}, {model: "none"}]) {
  const call = client.images.generate({prompt: "x", ...change})
  await call.catch(({status, code, param}) => failing.push([status, code, param]))
}
const openai = createOpenAI({apiKey: KEY, baseURL: `${ADDRESS}/v1`})
const two = await generateImage({model: openai.image(TURBO), prompt: "a red circle", n: 2, size: "256x256"})
const one = await generateImage({model: openai.image(EDITS), prompt: {text: "a red circle", images: [picture]}})
const wrong = generateImage({model: openai.image("none"), prompt: "x", maxRetries: 0})
const refused = await wrong.catch(error => error.message)
console.log(JSON.stringify({
  edit: edit.data[0].b64_json, size: [edit.size, several.size], events, failing, refused,
  two: two.images.map(image => image.base64), one: one.images.map(image => image.base64),
}))
"""


def test_o6_in_javascript(dialects: Server, key: str) -> None:
    about = {"ADDRESS": dialects.address, "KEY": key, "EDITS": MEDIUM, "TURBO": TURBO}
    said = javascript(JAVASCRIPT, PICTURE=base64.b64encode(PICTURE).decode(), **about)
    assert opened(base64.b64decode(said["edit"])).size == (288, 192)  # 300 × 200, fitted
    assert said["size"] == ["288x192"] * 2
    assert [one for one in said["events"] if one != "image_generation.partial_image"] == ["image_generation.completed"]
    assert said["failing"] == [[400, "invalid_value", "n"], [404, "model_not_found", "model"]]
    assert [opened(base64.b64decode(one)).size for one in said["two"]] == [(256, 256)] * 2
    assert said["two"][0] != said["two"][1]
    assert [opened(base64.b64decode(one)).size for one in said["one"]] == [(288, 192)]
    assert said["refused"].startswith("Model none not found")


LITELLM = """
import base64, io, json, os, litellm
picture = io.BytesIO(base64.b64decode(os.environ["PICTURE"]))
picture.name = "a.png"
about = {"model": "openai/gpt-image-1", "prompt": "a red circle", "api_key": os.environ["KEY"],
         "api_base": os.environ["ADDRESS"] + "/v1"}
drawn = litellm.image_generation(**about, size="256x256")
edited = litellm.image_edit(**about, image=picture)
try:
    litellm.image_generation(**{**about, "model": "openai/none"})
except litellm.exceptions.NotFoundError as error:
    refused = type(error).__name__
print(json.dumps([drawn.data[0].b64_json, edited.data[0].b64_json, refused]))
"""


def test_o7_by_litellm(dialects: Server, key: str) -> None:
    about = {"ADDRESS": dialects.address, "KEY": key, "PICTURE": base64.b64encode(PICTURE).decode()}
    drawn, edited, refused = litellm(LITELLM, **about)
    assert opened(base64.b64decode(drawn)).size == (256, 256)
    assert opened(base64.b64decode(edited)).size == (288, 192)
    assert refused == "NotFoundError"


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", {"n": 1, "size": "", "response_format": "b64_json"}),
        ("?api-version=2025-04-01-preview", {"n": 1, "size": "256x256", "response_format": "b64_json", "model": TURBO}),
        ("", {"background": "auto", "quality": "auto", "size": "auto", "output_compression": 100, "n": 1}),
    ],
)
def test_o8_as_open_webui_and_librechat_call(dialects: Server, key: str, query: str, body: dict[str, Any]) -> None:
    asked = {"prompt": "a red circle", "model": "gpt-image-1", **body, "steps": 2}
    answer = dialects.http(None).post(
        f"/v1/images/generations{query}", json=asked, headers={"authorization": f"Bearer {key}"}
    )
    assert answer.status_code == 200
    assert "x-ignored-parameters" not in answer.headers
    assert opened(base64.b64decode(answer.json()["data"][0]["b64_json"])).format == "PNG"


def test_partial_images_of_a_real_worker(client: OpenAI) -> None:
    asked: dict[str, Any] = {"prompt": "a red circle", "model": "sd3-med-txt2img", "size": "1024x512"}
    with client.images.generate(
        **asked, stream=True, partial_images=3, extra_body={"num_inference_steps": 40}
    ) as stream:
        events = [*stream]
    *partial, last = events
    assert partial
    assert [event.type for event in partial] == ["image_generation.partial_image"] * len(partial)
    assert last.type == "image_generation.completed"
    for event in events:
        image = Image.open(io.BytesIO(base64.b64decode(event.b64_json)))
        assert (image.size, image.format, event.size) == ((1024, 512), "PNG", "1024x512")
