"""Contract, sections 1 and 4: pictures in, pictures out, and what the answer says of them."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode, urlsafe_b64encode
from typing import Any
from urllib.parse import quote_from_bytes

import httpx2
import pytest

from tests.acceptance.contract.api import Api
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import (
    MEDIUM,
    OLD,
    PRICES,
    TEXT,
    TURBO,
    apart,
    bomb,
    credits,
    gradient,
    left,
    opened,
    quick,
    refused,
    result,
    same,
    submit,
)
from tests.image_files import saved
from tests.unit.test_catalog_reuse import made
from tintype.catalog.formats import FORMATS
from tintype.catalog.recipe import notes
from tintype.media.images import encode

PICTURE = gradient(130, 100)


@pytest.fixture(scope="module")
def http(api: Api) -> httpx2.Client:
    return api.http()


def redraw(image: str) -> dict[str, Any]:
    return {"image": image, "prompt": "a fox", "num_inference_steps": 2, "seed": 4, "exact": True}


def wide(data: bytes) -> str:
    """Base64 broken into lines."""
    text = b64encode(data).decode()
    return "\n".join(text[start : start + 76] for start in range(0, len(text), 76))


@pytest.fixture(scope="module")
def redrawn(http: httpx2.Client) -> bytes:
    response = http.post(f"/v1/{MEDIUM}", json=redraw(b64encode(PICTURE).decode()))
    assert response.status_code == 200, response.text
    return response.content


def test_a_file_gives_its_settings_back(http: httpx2.Client) -> None:
    file = encode(opened(PICTURE), "jpeg", 95, *notes(made(TEXT), (130, 100)))
    said = http.post("/read-recipe", files={"image": file}).json()
    assert (said["model"], said["source"], said["unknown"], said["images"]) == (TEXT, "tintype", [], [])
    assert said["parameters"]["prompt"] == made(TEXT).params.prompt
    read = http.post("/read-recipe", json={"image": b64encode(file).decode(), "model": OLD}).json()
    assert read == said, "the file's own model goes before another"


@pytest.mark.rows
@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"image": "data:image/png;base64," + b64encode(PICTURE).decode()}, 400, "doesn't say how it was made"),
        ({"image": "https://one.example/a.png"}, 400, "an address was sent"),
        ({"image": "data:,fox"}, 400, "not a JPEG"),
        ({}, 400, "image: required"),
        ({"image": b64encode(PICTURE).decode(), "model": "none"}, 404, "none"),
    ],
)
def test_a_file_without_settings(http: httpx2.Client, sent: dict[str, str], status: int, words: str) -> None:
    refused(http.post("/read-recipe", json=sent), status, words)


def test_the_output_has_the_inputs_size_in_multiples_of_16(redrawn: bytes) -> None:
    assert opened(redrawn).size == (128, 96)
    assert opened(redrawn).format == "JPEG"


@pytest.mark.rows
@pytest.mark.parametrize(
    "image",
    [
        wide(PICTURE),
        urlsafe_b64encode(PICTURE).decode().rstrip("="),
        f"data:image/png;base64,{b64encode(PICTURE).decode()}",
        f"data:;base64,{b64encode(PICTURE).decode()}",
        f"data:image/png,{quote_from_bytes(PICTURE)}",
    ],
    ids=["lines", "url-safe", "data URI", "bare data URI", "data URI with %"],
)
def test_every_way_to_send_a_picture_inside(http: httpx2.Client, redrawn: bytes, image: str) -> None:
    response = http.post(f"/v1/{MEDIUM}", json=redraw(image))
    assert same(response.content, redrawn), response.text[:200]


def test_a_file_in_a_form(http: httpx2.Client, redrawn: bytes) -> None:
    texts = {name: str(value) for name, value in redraw("").items() if name != "image"}
    response = http.post(f"/v1/{MEDIUM}", data=texts, files={"image": ("fox.png", PICTURE, "image/png")})
    assert same(response.content, redrawn)


def test_a_file_of_this_server_by_its_url(http: httpx2.Client) -> None:
    made = result(http, submit(http, TEXT, quick())).json()["output"]
    data = http.get(made).content
    by_bytes = http.post(f"/v1/{MEDIUM}", json=redraw(b64encode(data).decode()))
    for address in (made, httpx2.URL(made).path):
        assert same(http.post(f"/v1/{MEDIUM}", json=redraw(address)).content, by_bytes.content)


def test_the_sample_of_seed_004(http: httpx2.Client) -> None:
    sample = http.get("/sd-img2img-input.jpeg")
    assert sample.headers["content-type"] == "image/jpeg"
    params = {"prompt": "a fox", "seed": 4, "strength": 0.1, "exact": True}
    by_path = http.post(f"/v1/{OLD}", json=params | {"image": "/sd-img2img-input.jpeg"})
    assert opened(by_path.content).size == (512, 512)
    by_bytes = http.post(f"/v1/{OLD}", json=params | {"image": b64encode(sample.content).decode()})
    assert same(by_bytes.content, by_path.content)


@pytest.mark.rows
@pytest.mark.parametrize("name", ["sd3-img2img-ip.jpg", "sd3-turbo-i2i-input.jpg"])
def test_the_vendors_sample_is_stood_in_for(http: httpx2.Client, name: str) -> None:
    address = f"https://segmind-sd-models.s3.amazonaws.com/display_images/{name}"
    response = http.post(f"/v2/{TURBO}", json={"mode": "image-to-image", "image": address})
    assert response.status_code == 200
    assert f"/{name}" in response.headers["x-warning"]
    http.delete(f"/v2/requests/{response.json()['request_id']}")
    assert http.get(f"/{name}").headers["content-type"] == "image/jpeg"


@pytest.mark.rows
@pytest.mark.parametrize(
    "image",
    [
        "hello",
        "not a picture at all!",
        b64encode(b"hello, I am no picture").decode(),
        b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'/>").decode(),
        b64encode(PICTURE[:20]).decode(),
        b64encode(bomb(40_000, 40_000)).decode(),
        "data:text/plain,hello",
        "data:image/png;base64,",
        "data:image/png;base64,////",
        "data:image/png",
        "/nothing.jpeg",
        "/../etc/passwd",
        "/files/00000000000000000000000000000000.png",
        "/files/../tintype.db",
        "file:///etc/passwd",
        "file:00000000000000000000000000000000.in",
        "ftp://example.com/a.png",
        "http://",
        "http://[/a.png",
        "https:///a.png",
        "   ",
        "\x00",
    ],
)
def test_what_is_no_picture_is_refused_at_once_and_costs_nothing(api: Api, image: str) -> None:
    http = api.caller(1)
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{MEDIUM}", json=redraw(image))
        refused(response, 400)
        assert "x-request-id" not in response.headers  # nothing was queued
        assert credits(response) == 1


def test_a_picture_that_turns_out_damaged_is_the_callers_fault(api: Api) -> None:
    http = api.caller(1)
    response = http.post(f"/v1/{MEDIUM}", json=redraw(b64encode(PICTURE[:-60]).decode()))
    refused(response, 400, "image is damaged")
    assert credits(response) == 1


@pytest.mark.rows
@pytest.mark.parametrize("address", ["http://127.0.0.1:9/a.png", "http://[::1]/a.png", "http://169.254.169.254/latest"])
def test_an_inner_address_ends_as_400_on_v1(api: Api, address: str) -> None:
    http = api.caller(1)
    response = http.post(f"/v1/{MEDIUM}", json=redraw(address))
    refused(response, 400, "not a public address")
    assert "TINTYPE_FETCH_ALLOW" in response.json()["error_description"], "an operator is told the setting"
    found = http.get(f"/v2/requests/{response.headers['x-request-id']}").json()
    assert found["error_description"] == response.json()["error_description"]
    assert credits(response) == 1


def test_an_unreachable_address_ends_with_its_own_advice(http: httpx2.Client) -> None:
    response = http.post(f"/v1/{MEDIUM}", json=redraw("http://nosuch.invalid/a.png"))
    refused(response, 400, "nosuch.invalid")
    assert "send it as base64" in response.json()["error_description"]


def test_a_picture_from_a_body_is_gone_with_its_request(api: Api, http: httpx2.Client) -> None:
    """Removed by the worker, another process."""
    inputs = api.data / "inputs"
    before = set(inputs.iterdir())
    assert http.post(f"/v1/{MEDIUM}", json=redraw(b64encode(PICTURE).decode())).is_success
    assert http.post(f"/v1/{MEDIUM}", json=redraw(b64encode(PICTURE[:-60]).decode())).status_code == 400
    until(lambda: set(inputs.iterdir()) <= before)


@pytest.mark.parametrize("kind", [*FORMATS])
def test_output_formats(http: httpx2.Client, kind: str) -> None:
    response = http.post(f"/v1/{TEXT}", json=quick(image_format=kind, exact=True))
    assert response.headers["content-type"] == f"image/{kind}"
    assert opened(response.content).format == kind.upper()
    image = result(http, submit(http, TEXT, quick(image_format=kind, exact=True))).json()["images"][0]
    assert image["content_type"] == f"image/{kind}"
    assert image["file_name"].endswith(f".{kind}")
    fetched = http.get(image["url"])
    assert fetched.headers["content-type"] == f"image/{kind}"
    assert same(fetched.content, response.content)


def test_an_avif_may_be_sent(http: httpx2.Client) -> None:
    data = saved(opened(PICTURE), "AVIF", speed=10)
    response = http.post(f"/v1/{MEDIUM}", json=redraw(f"data:image/avif;base64,{b64encode(data).decode()}"))
    assert opened(response.content).size == (128, 96)
    body = {"data_urls": [f"data:image/avif;base64,{b64encode(data).decode()}"]}
    uploaded = http.get(http.post("/upload-asset", json=body).json()["file_urls"][0])
    assert (uploaded.headers["content-type"], uploaded.content) == ("image/avif", data)


@pytest.mark.parametrize("kind", ["jpeg", "png", "avif"])
def test_the_turbo_models_output_format(http: httpx2.Client, kind: str) -> None:
    image = b64encode(gradient(64, 64)).decode()
    params = {"mode": "image-to-image", "image": image, "output_format": kind, "strength": "0.5"}
    response = http.post(f"/v1/{TURBO}", json=params)
    assert response.headers["content-type"] == f"image/{kind}"
    assert opened(response.content).size == (64, 64)
    assert response.headers["x-cost"] == "0.08"


def test_quality_makes_smaller_files(http: httpx2.Client) -> None:
    sizes = [
        len(http.post(f"/v1/{TEXT}", json=quick(image_format=kind, image_quality=quality)).content)
        for kind in ("jpeg", "webp", "avif")
        for quality in (10, 95)
    ]
    assert sizes[0] < sizes[1]
    assert sizes[2] < sizes[3]
    assert sizes[4] < sizes[5]


@pytest.mark.parametrize(("sent", "made"), [((64, 71), (64, 64)), ((100, 73), (96, 80)), ((121, 200), (128, 208))])
def test_sizes_are_rounded_to_multiples_of_16(
    http: httpx2.Client, sent: tuple[int, int], made: tuple[int, int]
) -> None:
    response = http.post(f"/v1/{TEXT}", json=quick(width=sent[0], height=sent[1]))
    # 200 lies half way between two multiples: either is near enough.
    width, height = opened(response.content).size
    assert (width, height) == made or (width, height) == (made[0], 192)
    assert json.loads(response.headers["x-output-metadata"]) == {"width": width, "height": height}


def test_an_aspect_ratio_overrides_width_and_height(http: httpx2.Client) -> None:
    response = http.post(f"/v1/{TEXT}", json=quick(steps=1, aspect_ratio="9:21 portrait 640x1536"))
    assert opened(response.content).size == (640, 1536)
    assert json.loads(response.headers["x-output-metadata"]) == {"width": 640, "height": 1536}


def test_success_headers(api: Api) -> None:
    http = api.caller(1)
    response = http.post(f"/v1/{TEXT}", json=quick(seed=77))
    assert float(response.headers["x-cost"]) == PRICES[TEXT]
    assert credits(response) == pytest.approx(1 - PRICES[TEXT])
    assert float(response.headers["x-generation-time"]) > 0
    assert response.headers["x-seed-value"] == "77"
    assert json.loads(response.headers["X-output-metadata"]) == {"width": 128, "height": 128}
    body = http.get(f"/v2/requests/{response.headers['x-request-id']}").json()
    assert http.get(body["output"]).content == response.content
    assert body["metrics"]["inference_time"] == pytest.approx(float(response.headers["x-generation-time"]), rel=1e-3)
    assert left(http) == credits(response)


def test_base64_answers(http: httpx2.Client) -> None:
    plain = http.post(f"/v1/{TEXT}", json=quick(seed=8))
    response = http.post(f"/v1/{TEXT}", json=quick(seed=8, base64=True))
    body = response.json()
    assert body.keys() == {"image", "status", "infer_time", "outputs", "image_format"}
    assert (body["status"], body["outputs"], body["image_format"]) == ("Success", 1, "png")
    assert body["infer_time"] > 0
    assert same(b64decode(body["image"], validate=True), plain.content)
    for name in ("x-cost", "x-request-id", "x-generation-time", "x-seed-value", "x-output-metadata"):
        assert response.headers[name]


def test_several_pictures_are_the_single_ones_with_the_next_seeds(api: Api) -> None:
    http = api.caller(1)
    several = quick(batch_size=3, seed=2**63 - 2)
    encoded = http.post(f"/v1/{TEXT}", json=several | {"base64": True})
    assert credits(encoded) == pytest.approx(1 - 3 * PRICES[TEXT])
    assert float(encoded.headers["x-cost"]) == pytest.approx(3 * PRICES[TEXT])
    body = encoded.json()
    assert body["outputs"] == 3
    listed = http.post(f"/v1/{TEXT}", json=several)
    assert listed.headers["x-seed-value"] == str(2**63 - 2)
    images = listed.json()["images"]
    seeds = [2**63 - 2, 2**63 - 1, 0]
    assert [image["seed"] for image in images] == [str(seed) for seed in seeds]
    kept = result(http, listed.headers["x-request-id"]).json()
    assert [image["url"] for image in kept["images"]] == [image["url"] for image in images]
    assert [image["seed"] for image in kept["images"]] == [str(seed) for seed in seeds]
    assert kept["output"] == images[0]["url"]
    singles = [http.post(f"/v1/{TEXT}", json=quick(seed=seed)).content for seed in seeds]
    for text, image, single in zip(body["image"], images, singles, strict=True):
        assert apart(b64decode(text), single) <= 2
        assert apart(http.get(image["url"]).content, single) <= 2
    assert apart(singles[0], singles[1]) > 2


@pytest.mark.parametrize("how", ["absent", "-1"])
def test_a_drawn_seed_is_reported_and_replays(http: httpx2.Client, how: str) -> None:
    params = {"mode": "image-to-image", "image": b64encode(gradient(64, 64)).decode(), "exact": True}
    drawn = http.post(f"/v1/{TURBO}", json=params if how == "absent" else params | {"seed": -1})
    seed = int(drawn.headers["x-seed-value"])
    assert seed >= 0
    again = http.post(f"/v1/{TURBO}", json=params | {"seed": seed})
    assert same(again.content, drawn.content)
    other = http.post(f"/v1/{TURBO}", json=params)
    assert other.headers["x-seed-value"] != drawn.headers["x-seed-value"]


def test_minus_one_draws_a_seed_where_the_default_is_another(http: httpx2.Client) -> None:
    body = result(http, submit(http, TEXT, quick(seed=-1))).json()
    assert int(body["seed"]) >= 0
    assert body["seed"] == body["images"][0]["seed"]
