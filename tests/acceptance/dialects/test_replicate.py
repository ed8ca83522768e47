"""Replicate's clients, unmodified: its own in Python and JavaScript, and Vercel's ai.

The cases R1 to R8 of the contract, and what such programs do around them.
"""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import replicate
from PIL import Image
from replicate.exceptions import ModelError, ReplicateError
from replicate.pagination import async_paginate
from replicate.webhook import Webhooks, WebhookSigningSecret

from tests.acceptance.dialects.conftest import VERSION
from tests.acceptance.dialects.programs import javascript
from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import MEDIUM, OLD, TEXT, credits, new_key
from tests.clients import under_way
from tests.image_files import saved
from tests.integration.webhook_receiver import receiving

SMALL = {"prompt": "a red circle", "steps": 2, "width": 256, "height": 256}
#: What keeps a worker busy for many seconds.
LONG = {"prompt": "a fox", "num_inference_steps": 100, "num_outputs": 4}
BLUE = saved(Image.new("RGB", (256, 256), "blue"))


@pytest.fixture
def key(dialects: Server) -> str:
    """A new account's."""
    return new_key(dialects, 1)


@pytest.fixture
def client(dialects: Server, key: str) -> Iterator[replicate.Client]:
    one = replicate.Client(api_token=key, base_url=dialects.address)
    yield one
    one._client.close()


@pytest.fixture
def http(dialects: Server, key: str) -> httpx2.Client:
    return dialects.http(key)


def drawn(http: httpx2.Client, address: str) -> Image.Image:
    assert address.startswith("http://")
    return Image.open(io.BytesIO(http.get(address).content))


def blue() -> io.BytesIO:
    file = io.BytesIO(BLUE)
    file.name = "blue.png"
    return file


def test_r1_run(client: replicate.Client, http: httpx2.Client) -> None:
    output = client.run(f"tintype/{TEXT}", input=SMALL)
    assert isinstance(output, list)
    [address] = output
    image = drawn(http, address)
    assert (image.format, image.size) == ("WEBP", (256, 256))
    assert credits(http.get("/v1/account")) == pytest.approx(1 - 0.0035)


def test_r2_create_and_wait(client: replicate.Client) -> None:
    prediction = client.predictions.create(version=TEXT, input={**SMALL, "seed": 7})
    assert prediction.status == "starting"
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.progress
    assert (prediction.progress.percentage, prediction.progress.current, prediction.progress.total) == (1.0, 2, 2)
    assert prediction.logs
    assert prediction.logs.startswith("Using seed: 7\n100%|")
    assert prediction.input == {**SMALL, "seed": 7}
    assert client.predictions.get(prediction.id).output == prediction.output


def test_r3_versions_and_a_file(client: replicate.Client, http: httpx2.Client) -> None:
    model = client.models.get("tintype", MEDIUM)
    [version] = model.versions.list()
    assert model.latest_version
    assert version.id == model.latest_version.id
    assert {"prompt", "image", "strength"} <= version.openapi_schema["components"]["schemas"]["Input"][
        "properties"
    ].keys()
    asked = {"prompt": "a blue square", "image": blue(), "steps": 2, "prompt_strength": 0.3}
    output: Any = client.run(f"tintype/{MEDIUM}:{version.id}", input=asked)
    image = drawn(http, output[0]).convert("RGB").resize((1, 1)).getpixel((0, 0))
    assert image[2] > max(image[:2]), "it was drawn from"
    [file] = client.files.list()
    assert (file.name, file.size) == ("blue.png", len(BLUE))
    again: Any = client.run(version, input={**asked, "image": file.urls["get"]})
    assert len(again) == 1
    assert client.files.delete(file.id)
    as_text: Any = client.run(f"tintype/{MEDIUM}", input={**asked, "image": blue()}, file_encoding_strategy="base64")
    assert (len(as_text), client.files.list()) == (1, [])


JAVASCRIPT = """
import Replicate, { parseProgressFromLogs } from "replicate";
const replicate = new Replicate({ auth: process.env.KEY, baseUrl: `${process.env.ADDRESS}/v1` });
const { MODEL, EDITS } = process.env;
const small = { prompt: "a fox", steps: 2, width: 256, height: 256 };
const seen = [];
const output = await replicate.run(`tintype/${MODEL}`, { input: small }, (one) => seen.push(one.status));
const polled = await replicate.run(`tintype/${MODEL}`, { input: small, wait: { mode: "poll", interval: 50 } });
const model = await replicate.models.get("tintype", EDITS);
const versions = await replicate.models.versions.list("tintype", EDITS);
const image = Buffer.from(process.env.IMAGE, "base64");
const input = { prompt: "x", image, steps: 2, strength: 0.5 };
const edited = await replicate.run(`tintype/${EDITS}:${model.latest_version.id}`, { input });
const list = await replicate.predictions.list();
const pages = [];
for await (const page of replicate.paginate(replicate.predictions.list)) pages.push(page.length);
const files = await replicate.files.list();
const file = await replicate.files.create(image, { of: "a test" });
const listed = await replicate.models.list();
let error;
try { await replicate.run(`tintype/${MODEL}`, { input: {} }); }
catch (one) { error = `${one.response.status} ${one.message}`; }
console.log(JSON.stringify({
  output, polled, edited, seen, pages, error, models: listed.results.length,
  names: [model.name, versions.results[0].id === model.latest_version.id], ids: list.results.map((one) => one.status),
  progress: parseProgressFromLogs(list.results[0]), file: [file.metadata, file.size], files: files.results.length,
  gone: await replicate.files.delete(file.id), account: (await replicate.accounts.current()).type,
  secret: (await replicate.webhooks.default.secret.get()).key.slice(0, 6),
}));
"""


def test_r4_the_client_of_javascript(dialects: Server, key: str, http: httpx2.Client) -> None:
    image = base64.b64encode(BLUE).decode()
    said = javascript(JAVASCRIPT, ADDRESS=dialects.address, KEY=key, MODEL=TEXT, EDITS=MEDIUM, IMAGE=image)
    for addresses in (said["output"], said["polled"], said["edited"]):
        assert drawn(http, addresses[0]).format == "WEBP"
    assert said["seen"][-1] == "succeeded"
    assert said["names"] == [MEDIUM, True]
    assert (said["ids"], said["pages"]) == (["succeeded"] * 3, [3])
    assert said["progress"] == {"percentage": 1, "current": 2, "total": 2}
    assert (said["file"], said["files"], said["gone"]) == ([{"of": "a test"}, len(BLUE)], 1, True)
    assert (said["account"], said["secret"], said["models"] > 6) == ("organization", "whsec_", True)
    assert said["error"].startswith("422 ")
    assert "input.prompt: required" in said["error"]


AI = """
import { generateImage } from "ai";
import { createReplicate } from "@ai-sdk/replicate";
const replicate = createReplicate({ apiToken: process.env.KEY, baseURL: `${process.env.ADDRESS}/v1` });
const { MODEL, EDITS, VERSION } = process.env;
const draw = (name, said) => generateImage({
  model: replicate.image(`tintype/${name}`), providerOptions: { replicate: { num_inference_steps: 2 } }, ...said,
});
const one = await draw(MODEL, { prompt: "a fox", size: "512x512" });
const wide = await draw(`${MODEL}:${VERSION}`, { prompt: "a fox", n: 2, aspectRatio: "2:1", seed: 7 });
const prompt = { text: "a fox", images: [Buffer.from(process.env.IMAGE, "base64")] };
const edit = await draw(EDITS, { prompt, size: "512x512" });
let error;
try { await draw("none", { prompt: "x", maxRetries: 0 }); } catch (problem) { error = problem.message; }
const images = [one, wide, edit].flatMap((found) => found.images.map((file) => file.base64));
console.log(JSON.stringify({ images, error, warnings: one.warnings }));
"""


def test_r5_vercel_s_ai(dialects: Server, key: str, http: httpx2.Client) -> None:
    version = http.get(f"/v1/models/tintype/{TEXT}").json()["latest_version"]["id"]
    image = base64.b64encode(BLUE).decode()
    about = {"MODEL": TEXT, "EDITS": MEDIUM, "IMAGE": image, "VERSION": version}
    said = javascript(AI, ADDRESS=dialects.address, KEY=key, **about)
    images = [Image.open(io.BytesIO(base64.b64decode(one))) for one in said["images"]]
    assert [one.size for one in images] == [(512, 512), (1456, 720), (1456, 720), (512, 512)]
    assert "Model none not found" in said["error"]
    assert credits(http.get("/v1/account")) == pytest.approx(1 - 3 * 0.0035 - 0.0076)


def test_r6_keys_and_faults(dialects: Server, client: replicate.Client, key: str) -> None:
    with httpx2.Client(base_url=dialects.address, headers={"authorization": f"Token {key}"}, timeout=60) as old:
        assert old.post(f"/v1/models/tintype/{TEXT}/predictions", json={"input": SMALL}).status_code == 201
    stranger = replicate.Client(api_token="wrong", base_url=dialects.address)
    with pytest.raises(ReplicateError) as refused:
        stranger.run(f"tintype/{TEXT}", input=SMALL)
    stranger._client.close()
    assert (refused.value.status, refused.value.title) == (401, "Unauthenticated")
    assert refused.value.detail
    for wrong, name in (({"prompt": None}, "prompt"), ({"seed": "x"}, "seed"), ({"num_outputs": 99}, "num_outputs")):
        with pytest.raises(ReplicateError) as refused:
            client.run(f"tintype/{TEXT}", input={**SMALL, **wrong})
        assert refused.value.status == 422
        assert refused.value.detail
        assert refused.value.detail.startswith(f"- input.{name}: ")


def test_r7_webhooks(dialects: Server, client: replicate.Client) -> None:
    with receiving() as receiver:
        events = ["start", "completed"]
        about = {"webhook": receiver.url(), "webhook_events_filter": events}
        prediction = client.predictions.create(version=TEXT, input=SMALL, **about)  # type: ignore[arg-type]
        until(lambda: len(receiver.messages) == 2)
    secret = client.webhooks.default.secret()
    assert isinstance(secret, WebhookSigningSecret)
    told = []
    for message in receiver.messages:
        Webhooks.validate(headers=message.headers, body=message.body.decode(), secret=secret)
        told.append(message.verified(secret.key))
    assert sorted(one["status"] for one in told) == ["processing", "succeeded"]
    assert {one["id"] for one in told} == {prediction.id}
    prediction.reload()
    ended = next(one for one in told if one["status"] == "succeeded")
    assert (ended["output"], ended["logs"]) == (prediction.output, prediction.logs)


def test_r8_a_version_that_programs_pin(client: replicate.Client, http: httpx2.Client) -> None:
    output: Any = client.run(f"stability-ai/stable-diffusion:{VERSION}", input={"prompt": "a fox", "num_outputs": 1})
    assert drawn(http, output[0]).size == (512, 512)
    assert client.predictions.list()[0].model == f"tintype/{OLD}"
    prediction = client.predictions.create(version=VERSION, input={"prompt": "a fox"})
    prediction.cancel()
    prediction.wait()
    assert prediction.status in ("canceled", "succeeded")


def test_the_async_client(dialects: Server, key: str) -> None:
    async def program() -> None:
        client = replicate.Client(api_token=key, base_url=dialects.address)
        both: Any = await asyncio.gather(*(client.async_run(f"tintype/{TEXT}", input=SMALL) for _ in range(2)))
        assert [len(one) for one in both] == [1, 1]
        prediction = await client.predictions.async_create(version=TEXT, input=SMALL)
        await prediction.async_wait()
        assert prediction.status == "succeeded"
        pages = [page async for page in async_paginate(client.predictions.async_list)]
        assert [len(page) for page in pages] == [3]
        model = await client.models.async_get(f"tintype/{MEDIUM}")
        assert model.name == MEDIUM
        edited: Any = await client.async_run(f"tintype/{MEDIUM}", input={"prompt": "x", "image": blue(), "steps": 2})
        assert len(edited) == 1
        await client._async_client.aclose()

    asyncio.run(program())


def test_what_fails_and_what_is_left(dialects: Server, key: str, client: replicate.Client, http: httpx2.Client) -> None:
    """A failure is the client's own error and costs nothing; what a program leaves goes on, and is charged once."""
    address = "http://127.0.0.1:9/x.png"
    with pytest.raises(ModelError) as failed:
        client.run(f"tintype/{MEDIUM}", input={"prompt": "x", "image": address})
    assert failed.value.prediction.status == "failed"
    assert "127.0.0.1" in (failed.value.prediction.error or "")
    assert credits(http.get("/v1/account")) == 1
    waiting: Any = client.run(f"tintype/{TEXT}", input=SMALL, wait=1)
    assert len(waiting) == 1
    before = len([*client.predictions.list()])
    asked = {"input": {"prompt": "a fox", "steps": 20, "batch_size": 2}}
    path = f"/v1/models/tintype/{TEXT}/predictions"
    with under_way(dialects.address, key, path, asked, {"prefer": "wait"}):
        until(lambda: len([*client.predictions.list()]) > before)
    left = client.predictions.list()[0]
    left.wait()
    assert left.status == "succeeded"
    assert credits(http.get("/v1/account")) == pytest.approx(1 - 3 * 0.0035)


def test_a_running_one_is_cancelled_and_streams_are_refused(client: replicate.Client, http: httpx2.Client) -> None:
    prediction = client.predictions.create(version=OLD, input=LONG)
    until(lambda: client.predictions.get(prediction.id).status == "processing")
    prediction.cancel()
    prediction.wait()
    assert (prediction.status, prediction.error) == ("canceled", None)
    assert credits(http.get("/v1/account")) == 1
    with pytest.raises(ReplicateError, match="does not support streaming"):
        next(client.stream(f"tintype/{TEXT}", input=SMALL))
    for missing in (client.collections.list, client.trainings.list, client.deployments.list):
        with pytest.raises(ReplicateError) as refused:
            missing()
        assert refused.value.status == 404
