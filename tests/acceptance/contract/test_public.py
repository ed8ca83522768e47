"""What needs no key, unknown addresses and methods, the model list, `/openapi.json`; the server's log and memory."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.acceptance.contract.api import Api
from tests.acceptance.harness import until
from tests.acceptance.test_http_helpers import (
    INPAINTING,
    MEDIUM,
    MEDIUM_TEXT,
    OLD,
    OLD_TEXT,
    PRICES,
    TEXT,
    TURBO,
    XL,
    XL_TEXT,
    refused,
)
from tintype.catalog.models import MODELS

NAMES = {
    OLD: "image prompt negative_prompt samples scheduler num_inference_steps guidance_scale strength seed img_width"
    " img_height base64 exact",
    MEDIUM: "image prompt negative_prompt num_inference_steps guidance_scale seed samples strength sampler scheduler"
    " base64 exact",
    TURBO: "mode image prompt strength seed output_format base64 exact",
    TEXT: "prompt negative_prompt sampler scheduler steps guidance_scale seed width height aspect_ratio batch_size"
    " image_format image_quality base64 exact",
    OLD_TEXT: "prompt negative_prompt samples scheduler num_inference_steps guidance_scale seed img_width img_height"
    " base64 exact",
    INPAINTING: "image mask prompt negative_prompt samples scheduler num_inference_steps guidance_scale strength seed"
    " img_width img_height base64 exact",
    MEDIUM_TEXT: "prompt negative_prompt num_inference_steps guidance_scale seed samples sampler scheduler img_width"
    " img_height base64 exact",
    XL_TEXT: "prompt negative_prompt style samples scheduler num_inference_steps guidance_scale strength"
    " high_noise_fraction seed img_width img_height refiner base64 exact",
    XL: "image prompt negative_prompt samples scheduler num_inference_steps guidance_scale strength seed base64 exact",
}


@pytest.fixture(scope="module")
def openapi(api: Api) -> Any:
    return api.http(None).get("/openapi.json").json()


def test_health_and_readiness(anybody: httpx2.Client) -> None:
    assert anybody.get("/health").json() == {"status": "ok"}
    until(lambda: anybody.get("/ready").status_code == 200)  # a busy machine may not be ready, for a moment
    until(lambda: anybody.get("/ready").json()["ready"] is True)
    assert anybody.get("/").json()["name"] == "tintype"


@pytest.mark.rows
@pytest.mark.parametrize("path", ["/sd-img2img-input.jpeg", "/sd3-img2img-ip.jpg", "/sd3-turbo-i2i-input.jpg"])
def test_the_samples_are_pictures(anybody: httpx2.Client, path: str) -> None:
    response = anybody.get(path)
    assert response.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(response.content)) as image:
        assert image.format == "JPEG"
        assert min(image.size) >= 512


@pytest.mark.rows
@pytest.mark.parametrize(
    "path",
    [
        "/nothing",
        "/v1",
        "/v2",
        "/v1/",
        "/v3/sd1.5-img2img",
        "/v1/sd1.5-img2img/more",
        "/v2/requests/a/b/c",
        "/files/..%2ftintype.db",
        "/files/",
        "/docs",
        "/a%ffb",
    ],
)
def test_unknown_addresses_are_404_in_json(anybody: httpx2.Client, path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        refused(anybody.request(method, path), 404)
    assert anybody.head(path).status_code == 404


@pytest.mark.rows
@pytest.mark.parametrize("name", ["nothing.png", "%00", f"{'0' * 32}.png", f"{'0' * 32}.png.part", "x" * 3000])
def test_unknown_files_are_404_in_json(anybody: httpx2.Client, name: str) -> None:
    refused(anybody.get(f"/files/{name}"), 404)


@pytest.mark.rows
@pytest.mark.parametrize("slug", ["no-such-model", "images", "predictions", "requests", "files", "sd1.5"])
def test_unknown_models_are_404_by_name(api: Api, slug: str) -> None:
    http = api.http()
    refused(http.post(f"/v2/{slug}", json={}), 404, slug)
    if slug not in ("predictions", "files"):  # Replicate's
        refused(http.post(f"/v1/{slug}", json={}), 404, slug)


@pytest.mark.rows
@pytest.mark.parametrize(
    ("path", "methods", "allow"),
    [
        (f"/v1/{TEXT}", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"], "POST"),
        (f"/v2/{OLD}", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"], "POST"),
        ("/v1/models", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "GET, HEAD"),
        ("/v1/get-user-credits", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"], "GET, HEAD"),
        ("/v2/requests/x", ["POST", "PUT", "PATCH", "OPTIONS"], "DELETE, GET, HEAD"),
        ("/v2/requests/x/cancel", ["POST", "GET", "OPTIONS"], "PUT"),
        ("/v2/requests/x/status", ["POST", "PUT", "DELETE", "OPTIONS"], "GET, HEAD"),
        ("/v1/requests/x", ["POST", "PUT", "DELETE", "OPTIONS"], "GET, HEAD"),
        ("/health", ["POST", "OPTIONS"], "GET, HEAD"),
        ("/files/x", ["POST", "DELETE", "OPTIONS"], "GET, HEAD"),
        ("/sd-img2img-input.jpeg", ["POST", "OPTIONS"], "GET, HEAD"),
        ("/openapi.json", ["POST", "OPTIONS"], "GET, HEAD"),
        ("/metrics", ["POST"], "GET, HEAD"),
        # The one's GET changes something, the other's doesn't end.
        ("/webhook/inactive", ["POST", "HEAD"], "GET"),
        ("/v2/requests/x/events", ["POST", "HEAD"], "GET"),
    ],
)
def test_other_methods_are_405_in_json(api: Api, path: str, methods: list[str], allow: str) -> None:
    http = api.http()
    for method in methods:
        response = http.request(method, path)
        assert response.status_code == 405
        assert response.headers["allow"] == allow
        if method != "HEAD":
            refused(response, 405)
    head, get = http.head(path), http.get(path)
    assert head.status_code == (get.status_code if "HEAD" in allow else 405)
    assert not head.content
    assert "HEAD" not in allow or head.headers["content-type"] == get.headers["content-type"]


def test_the_model_list(anybody: httpx2.Client) -> None:
    models = {model["slug"]: model for model in anybody.get("/v1/models").json()["models"]}
    assert {slug: model["price"] for slug, model in models.items()} == PRICES
    for slug, model in models.items():
        assert set(model["parameters"]["properties"]) == set(NAMES[slug].split())
        assert model["type"] == ("image-to-image" if "image" in NAMES[slug].split() else "text-to-image")
        assert model["title"]
        assert model["description"]
    assert models[OLD]["parameters"]["properties"]["seed"]["maximum"] == 2**63 - 1


def test_openapi_has_one_operation_per_model_and_version(openapi: Any) -> None:
    assert openapi["openapi"].startswith("3.1")
    for slug in MODELS:
        for version in ("v1", "v2"):
            operations = openapi["paths"][f"/{version}/{slug}"]
            assert operations.keys() == {"post"}
            operation = operations["post"]
            content = operation["requestBody"]["content"]
            schema = located(openapi, content["application/json"]["schema"])
            assert set(schema["properties"]) == set(NAMES[slug].split())
            [example] = content["application/json"]["examples"].values()
            assert example["value"].keys() <= schema["properties"].keys()
            assert set(schema["required"]) <= example["value"].keys()
            assert content.keys() == {"application/json", "multipart/form-data", "application/x-www-form-urlencoded"}
            assert {"200", "400", "401", "403", "406", "413", "415", "422", "429"} <= operation["responses"].keys()
            assert ("409" in operation["responses"]) is (version == "v1")
            headers = [located(openapi, header) for header in operation["parameters"]]
            assert {"Idempotency-Key", "Cancel-After"} <= {header["name"] for header in headers}
            assert operation["security"]
    posts = [path for path, operations in openapi["paths"].items() if "post" in operations and path[4:] in MODELS]
    assert len(posts) == 2 * len(MODELS)


@pytest.mark.rows
@pytest.mark.parametrize("slug", MODELS)
def test_the_example_in_openapi_is_accepted(api: Api, openapi: Any, slug: str) -> None:
    http = api.http()
    examples = openapi["paths"][f"/v2/{slug}"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    response = http.post(f"/v2/{slug}", json=examples["example"]["value"])
    assert response.status_code == 200, response.text
    http.delete(f"/v2/requests/{response.json()['request_id']}")


#: Names that generated clients have: a change breaks their callers.
OPERATIONS = """
addWebhook cancelRequest cancelRequestByPut createKey deactivateWebhook deleteImages downloadImages drainWorker
followRequest getCredits getFile getHealth getHistoryRow getKeyOwner getOverview getReadiness getRequest
getRequestStatus getRoots getSamples getUsage getWarmth getWelcome keepImages listAccountUsage listAudit
listDeliveries listGenerations listHistory listImages listKeys listLedger listLedgerDays listModelInformation
listModels listRecentGenerations listWebhooks pauseQueue pollRequest readRecipe recallWorker replayDelivery
resumeQueue revokeKey rotateKey rotateWebhook runSd15Img2img runSd15Inpainting runSd15Txt2img runSd3MedImg2img
runSd3MedTxt2img runSdxl10Txt2img runSdxlImg2img runStableDiffusion35TurboTxt2img runStableDiffusion3TurboImg2img
submitSd15Img2img submitSd15Inpainting submitSd15Txt2img submitSd3MedImg2img submitSd3MedTxt2img submitSdxl10Txt2img
submitSdxlImg2img submitStableDiffusion35TurboTxt2img submitStableDiffusion3TurboImg2img updateWebhook uploadAssets
verifyImage warmModel
"""
#: Addresses of other hosts' APIs.
OTHERS = re.compile(
    r"/sdapi/|/v1/(images|predictions|files|account|hardware|webhooks)|/v1/models(?!$)|/v2/models(?!/{slug}/warm)"
)
#: What needs no key.
OPEN = (
    "/",
    "/health",
    "/ready",
    "/files/{name}",
    "/v1/models",
    "/v1/models/{model_id}",
    "/inference-model-information/list",
    "/v1/verify",
    "/v1/verify/roots.pem",
)


def test_openapi_is_sound(openapi: Any) -> None:
    """What a generator of clients trips over."""
    operations = [
        (path, method, operation) for path, methods in openapi["paths"].items() for method, operation in methods.items()
    ]
    ids = {operation["operationId"]: path for path, _, operation in operations}
    assert len(ids) == len(operations)
    assert sorted(id for id, path in ids.items() if not OTHERS.match(path)) == OPERATIONS.split()
    assert openapi["webhooks"].keys() == {"REQUEST_COMPLETED", "REQUEST_FAILED"}
    tags = {tag["name"] for tag in openapi["tags"]}
    assert [name for part in openapi["components"].values() for name in part if len(name) > 40] == []
    for path, method, operation in operations:
        assert method in {"get", "post", "put", "delete"}
        parameters = [located(openapi, parameter) for parameter in operation.get("parameters", [])]
        named = {parameter["name"] for parameter in parameters if parameter["in"] == "path"}
        assert named == {part[1:-1] for part in path.split("/") if part.startswith("{")}
        assert operation["responses"]
        responses = {status: located(openapi, response) for status, response in operation["responses"].items()}
        assert all(response["description"] for response in responses.values())
        assert operation["summary"]
        assert {*operation["tags"]} <= tags
        assert len(operation["tags"]) == 1
        keys = {name for entry in operation.get("security", []) for name in entry}
        assert keys <= openapi["components"]["securitySchemes"].keys()
        assert bool(keys) == (path not in OPEN), path
        for status, response in responses.items():
            if status[0] in "45" and status != "422" and path != "/ready" and not OTHERS.match(path):
                shape = located(openapi, response["content"]["application/json"]["schema"])
                assert "error" in shape["properties"]
            if status[0] == "2" and "application/json" in response.get("content", {}):
                shape = located(openapi, response["content"]["application/json"]["schema"])
                known = shape.keys() & {"properties", "oneOf", "anyOf", "items"}
                # A model's own document has a shape that is published elsewhere.
                assert known or shape["type"] == "null" or path.endswith("/openapi.json"), path
    assert "HTTPValidationError" not in json.dumps(openapi), "the framework's own errors never go out"
    for reference in references(openapi):
        assert reference.startswith("#/")
        located(openapi, {"$ref": reference})


def located(openapi: Any, node: Any) -> Any:
    """What a `$ref` leads to; any other node itself."""
    if "$ref" not in node:
        return node
    target = openapi
    for part in node["$ref"][2:].split("/"):
        target = target[part]
    return located(openapi, target)


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


@pytest.mark.rows
@pytest.mark.parametrize("path", ["/health", "/ready", "/sd-img2img-input.jpeg"])
def test_head_for_monitors_and_caches(anybody: httpx2.Client, path: str) -> None:
    answers: list[httpx2.Response] = []
    until(lambda: answers.append(anybody.head(path)) or answers[-1].status_code == 200)
    assert answers[-1].content == b""
