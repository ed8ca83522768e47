"""Contract, sections 1, 3 and 4: what may be sent, how, and what is said of anything else."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import httpx2
import pytest

from tests.acceptance.contract.api import Api
from tests.acceptance.test_http_helpers import MEDIUM, OLD, TEXT, TURBO, credits, opened, quick, refused, same

JSON = {"content-type": "application/json"}
SAMPLE = "/sd-img2img-input.jpeg"
GOOD: dict[str, dict[str, Any]] = {
    OLD: {"image": SAMPLE, "prompt": "a fox"},
    MEDIUM: {"image": SAMPLE, "prompt": "a fox"},
    TURBO: {"image": SAMPLE, "mode": "image-to-image"},
    TEXT: quick(),
}


@pytest.fixture(scope="module")
def http(api: Api) -> httpx2.Client:
    return api.caller(1)


@pytest.mark.rows
@pytest.mark.parametrize(
    ("slug", "name", "sent", "words"),
    [
        (OLD, "samples", 5, "a whole number from 1 to 4"),
        (OLD, "samples", 0, "a whole number from 1 to 4"),
        (OLD, "num_inference_steps", 19, "a whole number from 20 to 100"),
        (OLD, "num_inference_steps", 101, "a whole number from 20 to 100"),
        (OLD, "guidance_scale", 0.09, "a number from 0.1 to 25"),
        (OLD, "guidance_scale", 25.01, "a number from 0.1 to 25"),
        (OLD, "strength", 0.09, "a number from 0.1 to 1"),
        (OLD, "strength", 1.001, "a number from 0.1 to 1"),
        (OLD, "img_width", 640, "one of 512, 768"),
        (OLD, "img_height", "wide", "one of 512, 768"),
        (OLD, "scheduler", "ddim", "one of DDIM, DPM Multi, DPM Single"),
        (OLD, "seed", -2, "a whole number from -1 to 9223372036854775807"),
        (OLD, "seed", 2**63, "a whole number from -1 to 9223372036854775807"),
        (OLD, "seed", "9" * 30, "a whole number from -1 to 9223372036854775807"),
        (OLD, "seed", 1.5, "a whole number from -1"),
        (OLD, "prompt", 5, "text"),
        (OLD, "prompt", ["a", "fox"], "text"),
        (OLD, "prompt", {"a": "fox"}, "text"),
        (OLD, "prompt", True, "text"),
        (OLD, "image", 5, "an http(s) URL, a data: URI, base64"),
        (OLD, "image", "", "an http(s) URL, a data: URI, base64"),
        (OLD, "base64", "perhaps", "true or false"),
        (OLD, "base64", 2, "true or false"),
        (MEDIUM, "strength", -0.1, "a number from 0 to 1"),
        (MEDIUM, "guidance_scale", 0.9, "a number from 1 to 20"),
        (MEDIUM, "guidance_scale", 20.1, "a number from 1 to 20"),
        (MEDIUM, "num_inference_steps", 0, "a whole number from 1 to 100"),
        (MEDIUM, "sampler", "euler_", "one of euler, euler_cfg_pp"),
        (MEDIUM, "scheduler", "DDIM", "one of normal, karras"),
        (TURBO, "mode", "text-to-image", "one of image-to-image"),
        (TURBO, "output_format", "webp", "one of jpeg, png, avif"),
        (TEXT, "steps", 71, "a whole number from 1 to 70"),
        (TEXT, "steps", 0, "a whole number from 1 to 70"),
        (TEXT, "steps", 4.5, "a whole number from 1 to 70"),
        (TEXT, "steps", "four", "a whole number from 1 to 70"),
        (TEXT, "steps", True, "a whole number from 1 to 70"),
        (TEXT, "guidance_scale", False, "a number from 1 to 15"),
        (TEXT, "guidance_scale", float("nan"), "a number from 1 to 15"),
        (TEXT, "guidance_scale", "nan", "a number from 1 to 15"),
        (TEXT, "guidance_scale", float("inf"), "a number from 1 to 15"),
        (TEXT, "guidance_scale", float("-inf"), "a number from 1 to 15"),
        (TEXT, "guidance_scale", "", "a number from 1 to 15"),
        (TEXT, "steps", float("inf"), "a whole number from 1 to 70"),
        (TEXT, "width", 63, "a whole number from 64 to 2048"),
        (TEXT, "height", 2049, "a whole number from 64 to 2048"),
        (TEXT, "aspect_ratio", "1:1", "one of custom, 1:1 square 1024x1024"),
        (TEXT, "batch_size", 11, "a whole number from 1 to 10"),
        (TEXT, "image_format", "gif", "one of jpeg, png, webp, avif"),
        (TEXT, "image_quality", 9, "a whole number from 10 to 100"),
        (TEXT, "image_quality", 101, "a whole number from 10 to 100"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    http: httpx2.Client, slug: str, name: str, sent: object, words: str
) -> None:
    body = json.dumps(GOOD[slug] | {name: sent})
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{slug}", content=body, headers=JSON)
        error = refused(response, 400, words)
        assert error.startswith(f"{name}: ")
        assert (repr(sent) if isinstance(sent, str) else json.dumps(sent)) in error
        assert credits(response) == 1


@pytest.mark.rows
@pytest.mark.parametrize(
    ("slug", "name"),
    [
        (OLD, "image"),
        (OLD, "prompt"),
        (MEDIUM, "image"),
        (MEDIUM, "prompt"),
        (TURBO, "image"),
        (TURBO, "mode"),
        (TEXT, "prompt"),
    ],
)
@pytest.mark.parametrize("how", ["absent", "null"])
def test_what_is_required_must_be_sent(http: httpx2.Client, slug: str, name: str, how: str) -> None:
    params = {key: value for key, value in GOOD[slug].items() if key != name}
    if how == "null":
        params[name] = None
    error = refused(http.post(f"/v2/{slug}", json=params), 400, "required")
    assert error.startswith(f"{name}: ")


def test_a_long_value_is_not_repeated_in_full(http: httpx2.Client) -> None:
    error = refused(http.post(f"/v2/{TEXT}", json=quick(prompt="fox " * 10_000)), 400, "prompt: 'fox fox", "allowed:")
    assert len(error) < 300


@pytest.mark.parametrize("name", ["euler_pp", "euler_ancestral_pp", "euler_ancestra", "leuler_ancestral_cfg_pp", "lcm"])
def test_a_sampler_of_the_vendors_pages(http: httpx2.Client, name: str) -> None:
    assert http.post(f"/v1/{TEXT}", json=quick(sampler=name, steps=2)).status_code == 200


@pytest.mark.parametrize("name", ["normal", "karras", "exponential", "simple", "ddim_uniform", "beta"])
def test_a_schedule_of_the_vendors_pages(http: httpx2.Client, name: str) -> None:
    assert http.post(f"/v1/{TEXT}", json=quick(scheduler=name)).status_code == 200


def test_what_could_only_be_noise_is_refused_and_what_is_poor_is_said(http: httpx2.Client) -> None:
    refused(http.post(f"/v2/{TEXT}", json=quick(sampler="uni_pc", steps=1)), 400, "uni_pc needs at least 2 steps")
    poor = http.post(f"/v1/{TEXT}", json=quick(sampler="dpm_fast", steps=4))
    assert poor.headers["x-warning"].startswith("dpm_fast ends above sigma 0 and leaves visible noise with sgm_uniform")
    assert "x-warning" not in http.post(f"/v1/{TEXT}", json=quick()).headers


def test_what_of_a_prompt_has_no_effect_is_said(http: httpx2.Client) -> None:
    marked = http.post(f"/v2/{TEXT}", json=quick(prompt="a (red:1.2) fox", negative_prompt="green"))
    assert marked.headers["x-warning"] == (
        "prompt: words can't be weighted; the marks, as in (word:1.2), ((word)) or [word], are read as text; "
        "negative_prompt: it has no effect at a guidance_scale of 1 or less"
    )


def test_steps_count_evaluations_however_short_the_request(http: httpx2.Client) -> None:
    request_id = http.post(f"/v1/{TEXT}", json=quick(sampler="heun", steps=20)).headers["x-request-id"]
    body = http.get(f"/v2/requests/{request_id}/status").json()
    assert (body["step"], body["steps"], body["progress"]) == (39, 39, 1.0)


def test_strings_stand_for_numbers_and_booleans(http: httpx2.Client) -> None:
    plain = quick(guidance_scale=1.5, seed=5, batch_size=1, base64=True)
    texts = {name: str(value) for name, value in plain.items()} | {"base64": "true"}
    first, second = (b64decode(http.post(f"/v1/{TEXT}", json=body).json()["image"]) for body in (texts, plain))
    assert same(first, second)
    response = http.post(f"/v1/{TEXT}", json=quick(base64="false"))
    assert response.headers["content-type"] == "image/png"


def test_null_is_absent(http: httpx2.Client) -> None:
    nulls: dict[str, Any] = dict.fromkeys(("seed", "sampler", "base64", "batch_size", "aspect_ratio", "nonsense"))
    response = http.post(f"/v1/{TEXT}", json=quick() | nulls)
    assert response.headers["x-seed-value"] == "98552302"
    assert "x-ignored-parameters" not in response.headers


@pytest.mark.parametrize("seed", [0, 98877465625, 2**63 - 1])
def test_large_seeds_are_exact(http: httpx2.Client, seed: int) -> None:
    response = http.post(f"/v1/{TEXT}", json=quick(seed=seed))
    assert response.status_code == 200
    assert response.headers["x-seed-value"] == str(seed)


def test_unknown_parameters_are_ignored_and_named(http: httpx2.Client) -> None:
    body = json.dumps(quick() | {"foo": 1, "bär": {"a": [1]}, "\ud800": 2, "a, b\r\nx-evil: 1": 3, "self": 4, "": 5})
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{TEXT}", content=body, headers=JSON)
        assert response.status_code == 200, response.text
        named = response.headers["x-ignored-parameters"].split(", ")
        assert sorted(named) == ["", "%3F", "a%2C%20b%0D%0Ax-evil%3A%201", "b%C3%A4r", "foo", "self"]
        assert "x-evil" not in response.headers


def test_many_unknown_parameters_do_not_make_an_endless_header(http: httpx2.Client) -> None:
    response = http.post(f"/v1/{TEXT}", json=quick() | {f"{number}" * 99: 1 for number in range(900)})
    assert response.status_code == 200
    assert 0 < len(response.headers["x-ignored-parameters"]) < 4000


@pytest.mark.rows
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"prompt=a fox",
        b'{"prompt": "a" "b"}',
        b"[]",
        b'["prompt"]',
        b'"a fox"',
        b"null",
        b"1",
        b"NaN",
        b"\xff\xfe\x00",
        b'{"prompt": "\xe4"}',
        b'{"prompt": "\\ud800"}',
        b'{"prompt": "a", "seed": ' + b"9" * 5000 + b"}",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"prompt": "a", "seed": ' + b"[" * 700 + b"]" * 700 + b"}",
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
    ids=lambda body: body[:20].decode("latin-1"),
)
def test_a_body_that_is_no_json_object_of_parameters(http: httpx2.Client, body: bytes) -> None:
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{TEXT}", content=body, headers=JSON)
        refused(response, 400)
        assert "x-remaining-credits" in response.headers


def test_an_empty_body_lacks_the_prompt(http: httpx2.Client) -> None:
    for headers in (JSON, {}):
        refused(http.post(f"/v1/{TEXT}", content=b"", headers=headers), 400, "prompt: required")


@pytest.mark.rows
@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", ""])
def test_json_under_its_names(http: httpx2.Client, kind: str) -> None:
    response = http.post(f"/v2/{TEXT}", content=json.dumps(quick()), headers={"content-type": kind} if kind else {})
    assert response.status_code == 200


@pytest.mark.rows
@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "application/octet-stream", "image/png", "json"])
def test_other_content_types_are_415(http: httpx2.Client, kind: str) -> None:
    for version in ("v1", "v2"):
        response = http.post(f"/{version}/{TEXT}", content=json.dumps(quick()), headers={"content-type": kind})
        refused(response, 415, kind)
        assert credits(response) > 0


def test_forms_hold_the_same_parameters(http: httpx2.Client) -> None:
    texts = {name: str(value) for name, value in quick(seed=3, base64=False, exact=True).items()}
    whole = opened(http.post(f"/v1/{TEXT}", json=quick(seed=3, exact=True)).content)
    urlencoded = http.post(f"/v1/{TEXT}", data=texts)
    assert opened(urlencoded.content).tobytes() == whole.tobytes()
    multipart = http.post(f"/v1/{TEXT}", files={name: (None, value) for name, value in texts.items()})
    assert multipart.request.headers["content-type"].startswith("multipart/form-data")
    assert opened(multipart.content).tobytes() == whole.tobytes()
    assert whole.size == (128, 128)


@pytest.mark.rows
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=q", b"x"),
        ("multipart/form-data; boundary=q", b"--q\r\nContent-Disposition: form-data\r\n\r\nx\r\n--q--\r\n"),
        ("multipart/form-data; boundary=q", b'--q\r\nContent-Disposition: form-data; name="prompt"\r\n\r\nx'),
        ("application/x-www-form-urlencoded", b"&=&%ff=%zz"),
        ("application/x-www-form-urlencoded", b"&".join(b"a%d=1" % number for number in range(20_000))),
    ],
)
def test_a_broken_form(http: httpx2.Client, kind: str, body: bytes) -> None:
    refused(http.post(f"/v2/{TEXT}", content=body, headers={"content-type": kind}), 400)
