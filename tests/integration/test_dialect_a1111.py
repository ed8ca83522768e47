"""AUTOMATIC1111's API without its clients: what each field does, and costs; the worker is played by hand."""

from __future__ import annotations

import io
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image
from tests.acceptance.harness import until
from tests.clients import NO_TLS, call_bytes, dial
from tests.image_files import saved
from tests.integration.website import PATIENT, Website, serving

from tintype.core import WorkerReport
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Request, Status
from tintype.store.queue.progress import Preview

API = "/sdapi/v1"
TEXT, EDIT, OLD = "stable-diffusion-3.5-turbo-txt2img", "sd3-med-img2img", "sd1.5-img2img"
MASKED = "sd1.5-inpainting"
FIXED = "stable-diffusion-3-turbo-img2img"
LARGE = {"ControlNet": {"args": [{"image": "A" * 100_000}]}}
STYLED = {"sd_model_checkpoint": "styled"}
RED = b64encode(saved(Image.new("RGB", (64, 48), "red"))).decode()
MODELS_FILE = f"""
[models.styled]
like = "{TEXT}"
available_loras = {{ink = "ink.safetensors", fur = "fur.safetensors"}}

[aliases]
"owner/name" = "{OLD}"
half = {{generate = "{OLD}", edit = "sdxl-img2img"}}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    data = tmp_path_factory.mktemp("a1111")
    (data / "models.toml").write_text(MODELS_FILE)
    for name in ("ink", "fur"):
        (data / f"{name}.safetensors").write_bytes(b"x")
    with serving(data, heartbeat=0.05) as website:
        yield website


@contextmanager
def client(site: Website, **limits: Any) -> Iterator[httpx2.Client]:
    """With a key of its own: the options of others' aren't its."""
    _, secret = site.accounts.keys.create(site.account_id, "own", **limits)
    with with_secret(site, secret) as http:
        yield http


@contextmanager
def with_secret(site: Website, secret: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=site.address + API, auth=("anybody", secret), timeout=60, verify=NO_TLS) as http:
        yield http


@pytest.fixture
def test(site: Website) -> Iterator[httpx2.Client]:
    """A test key's, whose images are made immediately."""
    with client(site, test=True) as http:
        yield http


@pytest.fixture
def live(site: Website) -> Iterator[httpx2.Client]:
    with client(site) as http:
        yield http


def made(answer: httpx2.Response) -> tuple[list[Image.Image], dict[str, Any]]:
    """The images of an answer, and its info."""
    assert answer.status_code == 200, answer.text
    files = [b64decode(one, validate=True) for one in answer.json()["images"]]
    return [Image.open(io.BytesIO(file)) for file in files], json.loads(answer.json()["info"])


def asked(site: Website, answer: httpx2.Response) -> Request:
    """The request of an answer, as it is stored."""
    id = answer.headers["x-request-id"]
    account = site.accounts.keys.list()  # of any account: a test key's is another one
    return next(found for found in (_found(site, id, key.account_id) for key in account) if found)


def _found(site: Website, id: str, account_id: str) -> Request | None:
    try:
        return site.store.queue.find(id, account_id)
    except Exception:  # noqa: BLE001 - another account's
        return None


def params(site: Website, answer: httpx2.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return asked(site, answer).generation


# Images


def test_the_page_s_example(site: Website, test: httpx2.Client) -> None:
    body = {
        "prompt": "a fox",
        "seed": 7,
        "steps": 4,
        "cfg_scale": 1,
        "batch_size": 2,
        "width": 512,
        "height": 512,
        "sampler_name": "DPM++ 2M Karras",
    }
    answer = test.post("/txt2img", json=body)
    images, info = made(answer)
    request = asked(site, answer)
    line = r"a fox\nSteps: 4, Sampler: DPM\+\+ 2M, Schedule type: Karras, CFG scale: 1, Seed: {}, Size: 512x512, "
    assert [image.size for image in images] == [(512, 512)] * 2
    for number, image in enumerate(images):
        assert re.match(line.format(7 + number), image.info["parameters"])
        assert image.info["parameters"] == info["infotexts"][number]
    assert answer.json()["parameters"] == body
    assert (request.slug, request.metadata.dialect, request.metadata.asked) == (TEXT, "a1111", body)
    hash = test.get("/options").json()["sd_checkpoint_hash"]
    stamp = info.pop("job_timestamp")
    assert re.fullmatch(r"20\d{12}", stamp)
    info.pop("infotexts")
    assert info == {
        "prompt": "a fox",
        "all_prompts": ["a fox", "a fox"],
        "negative_prompt": "",
        "all_negative_prompts": ["", ""],
        "seed": 7,
        "all_seeds": [7, 8],
        "subseed": -1,
        "all_subseeds": [-1, -1],
        "subseed_strength": 0,
        "width": 512,
        "height": 512,
        "sampler_name": "DPM++ 2M",
        "cfg_scale": 1.0,
        "steps": 4,
        "batch_size": 2,
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": "default",
        "sd_model_hash": hash[:10],
        "sd_vae_name": None,
        "sd_vae_hash": None,
        "seed_resize_from_w": -1,
        "seed_resize_from_h": -1,
        "denoising_strength": None,
        "extra_generation_params": {"Schedule type": "Karras"},
        "index_of_first_image": 0,
        "styles": [],
        "clip_skip": 1,
        "is_using_inpainting_conditioning": False,
        "version": info["version"],
    }
    assert info["version"].startswith("tintype ")
    assert "x-warning" not in answer.headers
    assert {"x-cost", "x-remaining-credits"} <= answer.headers.keys()


def test_a_seed_is_drawn_and_an_empty_negative_prompt_stays_empty(site: Website, test: httpx2.Client) -> None:
    bodies = (
        {},
        {"seed": None, "cfg_scale": 1},
        {"seed": "-1", "prompt": "a fox"},
    )  # a test key's is by its parameters
    answers = [test.post("/txt2img", json=body) for body in bodies]
    found = [params(site, answer) for answer in answers]
    assert len({one.seed for one in found} - {98552302}) == 3, "not the model's own"
    assert {one.negative_prompt for one in found} == {""}
    assert {(one.width, one.height, one.steps, one.guidance, one.sampler) for one in found} == {
        (512, 512, 4, 1, "euler")
    }
    assert [made(answer)[1]["seed"] for answer in answers] == [one.seed for one in found]


@pytest.mark.parametrize(
    ("body", "fields", "said"),
    [
        ({"steps": 150, "cfg_scale": "99"}, {"steps": 70, "guidance": 15}, ["steps: ", "it is 70", "cfg_scale: "]),
        ({"cfg_scale": 0}, {"guidance": 1}, ["takes 1 to 15, so it is 1"]),
        ({"width": 500, "height": "777"}, {"width": 496, "height": 784}, []),
        ({"batch_size": 2, "n_iter": 3}, {"count": 6}, []),
        ({"sampler_index": "Heun"}, {"sampler": "heun"}, []),
        ({"sampler_name": "k_euler_a", "sampler_index": "Heun"}, {"sampler": "euler_ancestral"}, []),
        ({"sampler_name": None, "scheduler": "SGM Uniform"}, {"sampler": "euler", "schedule": "sgm_uniform"}, []),
        ({"sampler_name": "PLMS"}, {"sampler": "ipndm"}, ["has no PLMS: ipndm is the nearest"]),
        ({"scheduler": "kl_optimal"}, {"schedule": "sgm_uniform"}, ["'kl_optimal' isn't offered"]),
        ({"restore_faces": True, "tiling": "true"}, {}, ["restore_faces: ", "tiling: "]),
        ({"enable_hr": True, "hr_scale": 2, "styles": ["a"]}, {}, ["enable_hr: ", "styles: "]),
        ({"clip_skip": 2}, {}, ["clip_skip: "]),
        ({"override_settings": {"CLIP_stop_at_last_layers": 2}}, {}, ["clip_skip: "]),
        ({"refiner_checkpoint": "x"}, {}, ["refiner_checkpoint: "]),
        ({"prompt": "a (fox:1.2)"}, {"prompt": "a (fox:1.2)"}, ["words can't be weighted"]),
        ({"prompt": "a <lora:ink:0.5> fox"}, {"prompt": "a fox", "loras": ""}, ["doesn't offer the LoRA 'ink'"]),
        (
            {
                "prompt": "a fox<lora:ink:0.5> <lora:fur> <lora:no:1>",
                "override_settings": {"sd_model_checkpoint": "styled"},
            },
            {"prompt": "a fox", "loras": "ink:0.50, fur:1.00"},
            ["doesn't offer the LoRA 'no'"],
        ),
    ],
)
def test_a_field_is_used_brought_near_or_noted(
    site: Website, test: httpx2.Client, body: dict[str, Any], fields: dict[str, Any], said: list[str]
) -> None:
    answer = test.post("/txt2img", json={"prompt": "a fox", **body})
    found = params(site, answer)
    assert {name: getattr(found, name) for name in fields} == fields
    warning = answer.headers.get("x-warning", "")
    assert all(words in warning for words in said), warning
    assert bool(warning) == bool(said), warning
    assert made(answer)[1]["extra_generation_params"].get("tintype", "") == warning
    assert "x-ignored-parameters" not in answer.headers


def test_what_clients_always_send_is_not_noted(site: Website, test: httpx2.Client) -> None:
    """As Kobold Lite and LibreChat have it; in this dialect nothing is named as ignored."""
    kobold = {
        "prompt": "a fox",
        "negative_prompt": "",
        "cfg_scale": 7,
        "steps": 20,
        "width": 512,
        "height": 512,
        "seed": -1,
        "n_iter": 1,
        "batch_size": 1,
        "eta": 0,
        "s_churn": 0,
        "s_tmax": 0,
        "s_tmin": 0,
        "s_noise": 1,
        "sampler_name": "Euler",
        "do_not_save_samples": False,
        "do_not_save_grid": False,
        "enable_hr": False,
        "save_images": False,
        "send_images": True,
        "denoising_strength": 0.6,
        "override_settings": {"CLIP_stop_at_last_layers": 1.0},
    }
    librechat = {
        "prompt": "a fox",
        "negative_prompt": "",
        "sampler_index": "DPM++ 2M Karras",
        "cfg_scale": 4.5,
        "steps": 22,
        "width": 1024,
        "height": 1024,
    }
    for body in (kobold, librechat):
        answer = test.post("/txt2img", json=body)
        assert answer.status_code == 200
        assert not answer.headers.keys() & {"x-warning", "x-ignored-parameters"}
    assert (params(site, answer).steps, params(site, answer).guidance) == (22, 4.5)


def test_what_is_echoed_can_be_sent(site: Website, test: httpx2.Client) -> None:
    body = b'{"a": "\\ud800", "\\udfff": [NaN, 1e999, "\\u72d0"], "scheduler": "\\ud800\\u72d0", "send_images": "off"}'
    answer = test.post("/txt2img", content=body, headers={"content-type": "application/json"})
    assert (made(answer)[0], answer.status_code) == ([], 200)
    said = answer.json()["parameters"]
    assert (said["a"], said["\\udfff"]) == ("\\ud800", [None, None, "狐"])
    assert answer.headers["x-warning"] == r"the schedule '\ud800\u72d0' isn't offered: sgm_uniform is used"
    assert test.post("/txt2img", json={}).json()["parameters"] == {}


def test_a_model_that_takes_an_image_draws_on_a_canvas(site: Website, test: httpx2.Client) -> None:
    body = {"sampler_name": "DPM++ 2M Karras", "override_settings": {"sd_model_checkpoint": OLD}, "width": 700}
    before = test.get("/options").json()
    answer = test.post("/txt2img", json={"prompt": "a fox", "denoising_strength": 0.2, **body})
    [image], info = made(answer)
    found = params(site, answer)
    assert (asked(site, answer).slug, found.sampler, found.strength, image.size) == (OLD, "DPM Multi", 1, (768, 512))
    for words in ("takes a picture: drawn on a grey canvas", "draws 768x512, the nearest", "'karras' changes nothing"):
        assert words in answer.headers["x-warning"]
    assert (info["denoising_strength"], info["sd_model_name"]) == (None, OLD)
    assert "Denoising" not in info["infotexts"][0]
    assert test.get("/options").json() == before


@pytest.mark.parametrize(("mode", "fit"), [(0, "stretch"), (1, "cover"), (2, "contain"), (3, "stretch")])
def test_an_image_is_brought_to_the_size(site: Website, test: httpx2.Client, mode: int, fit: str) -> None:
    body = {"init_images": [f"data:image/png;base64,{RED}"], "width": 256, "height": 320, "resize_mode": mode}
    answer = test.post("/img2img", json={**body, "prompt": "a fox", "steps": 5, "seed": 3})
    [image], info = made(answer)
    found = params(site, answer)
    assert (image.size, found.fit, found.strength, info["denoising_strength"]) == ((256, 320), fit, 0.75, 0.75)
    assert asked(site, answer).slug == EDIT
    assert "Size: 256x320, Denoising strength: 0.75, Model: default" in info["infotexts"][0]
    assert ("resize_mode" in answer.headers.get("x-warning", "")) == (mode == 3)
    assert answer.json()["parameters"]["init_images"] is None


def test_images_come_back_if_they_are_asked_for(site: Website, test: httpx2.Client) -> None:
    body = {"init_images": [RED], "steps": 5, "width": 64, "height": 64}
    answer = test.post("/img2img", json={**body, "include_init_images": True}).json()
    assert answer["parameters"]["init_images"] == [RED]
    answer = test.post("/img2img", json={**body, "send_images": False}).json()
    assert (answer["images"], answer["parameters"]["init_images"]) == ([], None)
    assert len(json.loads(answer["info"])["infotexts"]) == 1
    assert site.own.runtime.bodies._held.total() == 0


def test_the_strength_is_the_model_s_least_and_other_models_have_their_own_sides(
    site: Website, test: httpx2.Client
) -> None:
    for model, size, strength in ((OLD, (512, 512), 0.1), (FIXED, (128, 64), 0)):
        override = {"override_settings": {"sd_model_checkpoint": model}, "denoising_strength": 0}
        answer = test.post("/img2img", json={"init_images": [RED], "width": 128, "height": 64, **override})
        [image], _ = made(answer)
        assert (image.size, params(site, answer).strength) == (size, strength)
        assert ("denoising_strength: " in answer.headers.get("x-warning", "")) == (model == OLD)


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/txt2img", {"mask": RED}, 422, "mask: inpainting is not supported"),
        ("/img2img", {"mask": RED, "init_images": [RED]}, 422, "mask: inpainting is not supported"),
        ("/txt2img", {"alwayson_scripts": {"ControlNet": {"args": []}}}, 422, "always on script ControlNet not found"),
        ("/txt2img", {"alwayson_scripts": LARGE}, 422, "always on script ControlNet not found"),
        ("/txt2img", {"script_name": "X/Y/Z plot"}, 422, "Script 'X/Y/Z plot' not found"),
        ("/txt2img", {"sampler_name": "nope"}, 404, "Sampler not found"),
        ("/txt2img", {"override_settings": {"sd_model_checkpoint": "nope"}}, 404, "Model not found"),
        ("/txt2img", {"override_settings": {"sd_model_checkpoint": "sdxl1.0-txt2img"}}, 404, "Model not found"),
        ("/img2img", {}, 404, "Init image not found"),
        ("/img2img", {"init_images": [""]}, 404, "Init image not found"),
        ("/img2img", {"init_images": [RED, RED]}, 422, "init_images: '2 images' was sent; allowed: one image"),
        ("/img2img", {"init_images": [7]}, 422, "init_images: 7 was sent"),
        ("/img2img", {"init_images": ["%%%"]}, 422, "the image's text has a stray percent sign"),
        ("/img2img", {"init_images": [RED], "denoising_strength": 2}, 422, "denoising_strength: 2 was sent"),
        ("/img2img", {"init_images": [RED], "resize_mode": 9}, 422, "resize_mode: 9 was sent; allowed: 0, 1, 2 or 3"),
        (
            "/txt2img",
            {"batch_size": 4, "n_iter": 3},
            422,
            "batch_size: '4 × 3' was sent; allowed: batch_size × n_iter up to 10",
        ),
        ("/txt2img", {"width": 32}, 422, "width: 32 was sent; allowed: a whole number from 64 to 2048"),
        ("/txt2img", {"steps": "many"}, 422, "steps: 'many' was sent"),
        ("/txt2img", {"seed": -7}, 422, "seed: -7 was sent"),
        ("/txt2img", {"prompt": 7}, 422, "prompt: 7 was sent"),
        ("/txt2img", {"sampler_name": "UniPC", "steps": 1}, 422, "uni_pc needs at least 2 steps"),
        (
            "/img2img",
            {"init_images": [RED], "override_settings": {"sd_model_checkpoint": TEXT}},
            422,
            f"sd_model_checkpoint: '{TEXT}' was sent; allowed: a model that takes an image and no mask: {OLD}",
        ),
    ],
)
def test_what_is_refused_queues_nothing(
    site: Website, live: httpx2.Client, path: str, body: dict[str, Any], status: int, detail: str
) -> None:
    before = site.account.balance, site.account.held, site.store.queue.depth()
    refusal = live.post(path, json=body)
    said = refusal.json()
    assert (refusal.status_code, said["error"], said["body"]) == (status, "HTTPException", "")
    assert said["detail"].startswith(detail), said
    assert said["errors"]
    assert (site.account.balance, site.account.held, site.store.queue.depth()) == before


@pytest.mark.parametrize(
    ("method", "path", "status", "detail"),
    [
        ("GET", "/nothing", 404, "Not Found"),
        ("POST", "/extra-single-image", 404, "Not Found"),
        ("GET", "/txt2img", 405, "Method Not Allowed"),
    ],
)
def test_addresses(live: httpx2.Client, method: str, path: str, status: int, detail: str) -> None:
    for accept in ("*/*", "text/html"):
        refusal = live.request(method, path, headers={"accept": accept})
        assert (refusal.status_code, refusal.json()["detail"]) == (status, detail)
    if status == 405:
        assert refusal.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("prompt", "status"),
    [
        ("refuse:out-of-credits", 402),
        ("refuse:forbidden", 403),
        ("refuse:too-many-requests", 429),
        ("fail:safety", 422),
    ],
)
def test_errors_have_their_status_and_words(test: httpx2.Client, prompt: str, status: int) -> None:
    refusal = test.post("/txt2img", json={"prompt": f"test:{prompt}"})
    assert (refusal.status_code, [*refusal.json()]) == (status, ["error", "detail", "body", "errors"])


@pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data; boundary=x"])
@pytest.mark.parametrize("path", ["/txt2img", "/img2img", "/options", "/png-info"])
def test_bodies_are_json_by_their_name(live: httpx2.Client, path: str, kind: str) -> None:
    """A page of another origin may have a browser send all others, without asking."""
    refusal = live.post(path, content=b"{}", headers={"content-type": kind} if kind else {})
    assert refusal.status_code == 415
    broken = live.post(path, content=b"{", headers={"content-type": "application/json; charset=utf-8"})
    assert (broken.status_code, broken.json()["error"]) == (400, "HTTPException")


# Who is calling


def test_keys_by_every_scheme(site: Website) -> None:
    def basic(text: str) -> str:
        return "Basic " + b64encode(text.encode()).decode()

    _, secret = site.accounts.keys.create(site.account_id, "own")
    with httpx2.Client(base_url=site.address + API, verify=NO_TLS, timeout=60) as http:
        for sent in (
            f"Bearer {secret}",
            f"Token {secret}",
            basic(f"x:{secret}"),
            basic(f"{secret}:"),
            f"basic {basic(f'x:{secret}')[6:]}",
        ):
            assert http.get("/options", headers={"authorization": sent}).status_code == 200, sent
        assert http.get("/options", headers={"x-api-key": secret}).status_code == 200
        for sent in ("", "Bearer x", basic("x:SG_000000000000"), basic(f"{secret}:wrong"), "Basic %%%", basic(":")):
            refusal = http.get("/options", headers={"authorization": sent} if sent else {})
            assert (refusal.status_code, refusal.headers["www-authenticate"]) == (401, 'Basic realm="tintype"'), sent
        vendor = http.get(f"{site.address}/v1/get-user-credits", headers={"authorization": basic(f"x:{secret}")})
        assert (vendor.status_code, vendor.headers["www-authenticate"]) == (401, 'Bearer realm="tintype"')


def test_a_password_that_a_browser_keeps_is_no_other_page_s(site: Website) -> None:
    _, secret = site.accounts.keys.create(site.account_id, "own")
    with with_secret(site, secret) as http:
        assert http.post("/interrupt", headers={"origin": site.address}).status_code == 200
        for origin in ("http://evil.example", "null", site.address.replace("http:", "https:"), f"{site.address}0"):
            refusal = http.post("/interrupt", headers={"origin": origin})
            assert refusal.status_code == 403, origin
            assert "another origin" in refusal.json()["detail"]
        elsewhere = {"origin": "http://evil.example", "x-api-key": secret}
        assert http.post("/interrupt", headers=elsewhere).status_code == 200, "no browser sends that by itself"


def test_rights(site: Website) -> None:
    with client(site, read_only=True) as reader, client(site, models=[OLD, TEXT]) as few:
        assert reader.get("/progress").status_code == 200
        assert len(reader.get("/sd-models").json()) > 5
        for path in ("/txt2img", "/img2img", "/interrupt", "/skip", "/options"):
            assert reader.post(path, json={"init_images": [RED]}).status_code == 403, path
        assert reader.post("/png-info", json={"image": RED}).status_code == 200
        names = {one["title"] for one in few.get("/sd-models").json()}
        assert names == {OLD, TEXT, "default", "owner/name", "half"}
        refusal = few.post("/img2img", json={"init_images": [RED]})
        assert (refusal.status_code, refusal.json()["detail"]) == (403, f"This API key may not run {EDIT}")
        assert few.post("/options", json={"sd_model_checkpoint": EDIT}).status_code == 403
        assert few.get("/options").json()["sd_model_checkpoint"] == "default"


def test_a_server_s_key_sees_its_memory_alone(site: Website) -> None:
    gpu = {"process": 3, "weights": 5, "budget": 7, "reserved": 11, "total": 13, "allocated": 2}
    with client(site, operator=True) as operator, client(site, operator=True, read_only=True) as server:
        nothing = {"free": 0, "used": 0, "total": 0}
        assert operator.get("/memory").json() == {"ram": nothing, "cuda": {"error": "unavailable"}}
        site.beat("cpu", report=WorkerReport(memory={"process": 3, "budget": 7}))
        assert server.get("/memory").json()["ram"] == {"free": 4, "used": 3, "total": 7}
        site.beat("gpu", report=WorkerReport(memory=gpu))
        found = server.get("/memory").json()
        assert found["ram"] == {"free": 1, "used": 6, "total": 7}
        assert found["cuda"]["system"] == {"free": 2, "used": 11, "total": 13}
        assert found["cuda"]["events"] == {"retries": 0, "oom": 0}
        assert server.get("/options").status_code == 403
    with client(site) as http:
        assert http.get("/memory").json() == {"ram": nothing, "cuda": {"error": "unavailable"}}


# Options and models


def test_options_are_the_key_s_own(site: Website) -> None:
    with client(site, test=True) as one, client(site, test=True) as other:
        whole = one.get("/options").json()
        assert whole["sd_model_checkpoint"] == "default"
        changed = {**whole, "sd_model_checkpoint": OLD, "samples_format": "jpg", "jpeg_quality": 80, "further": [1]}
        assert one.post("/options", json=changed).text == "null"
        assert one.post("/options", json={}).text == "null"
        again = one.get("/options").json()
        assert again == {
            **whole,
            **{name: changed[name] for name in ("sd_model_checkpoint", "samples_format", "jpeg_quality")},
            "sd_checkpoint_hash": again["sd_checkpoint_hash"],
        }
        assert again["sd_checkpoint_hash"] != whole["sd_checkpoint_hash"]
        assert other.get("/options").json() == whole
        [image], _ = made(one.post("/txt2img", json={"prompt": "a fox"}))
        assert (image.format, image.size) == ("JPEG", (512, 512))
        for checkpoint in ("nope", "", None):
            refusal = one.post("/options", json={"sd_model_checkpoint": checkpoint, "jpeg_quality": 70})
            assert refusal.status_code == (404 if checkpoint else 200)
            assert one.get("/options").json()["jpeg_quality"] == (80 if checkpoint else 70)
        for wrong in ({"jpeg_quality": 0}, {"samples_format": "tiff"}, {"sd_model_checkpoint": 7}):
            assert one.post("/options", json=wrong).status_code == 422


def test_a_checkpoint_has_many_names(site: Website, live: httpx2.Client) -> None:
    models = live.get("/sd-models").json()
    names = [one["title"] for one in models]
    draws = [slug for slug in site.own.runtime.registry.served if slug != MASKED]
    assert names[: len(draws)] == draws
    assert {"default", "owner/name"} <= {*names}
    assert MASKED not in names
    assert live.post("/options", json={"sd_model_checkpoint": MASKED}).status_code == 404
    for model in models:
        assert model["model_name"] == model["title"]
        assert re.fullmatch("[0-9a-f]{64}", model["sha256"])
        assert model["hash"] == model["sha256"][:10]
        assert "/" not in model["filename"]
    old = next(one for one in models if one["title"] == OLD)
    spellings = (
        OLD,
        f"{OLD} [{old['hash']}]",
        f"{OLD}.safetensors",
        f"{OLD}.ckpt [0123456789]",
        old["hash"],
        old["sha256"].upper(),
    )
    for spelling in spellings:
        live.post("/options", json={"sd_model_checkpoint": "default"})
        assert live.post("/options", json={"sd_model_checkpoint": spelling}).status_code == 200, spelling
        assert live.get("/options").json()["sd_model_checkpoint"] == OLD
    assert live.post("/options", json={"sd_model_checkpoint": "x " * 500_000}).status_code == 404
    assert "half" in names
    assert live.post("/options", json={"sd_model_checkpoint": "half"}).status_code == 200
    refusal = live.post("/img2img", json={"init_images": [RED]})
    assert (refusal.status_code, refusal.json()["detail"]) == (404, "Model not found")
    assert "needs weights" in refusal.json()["errors"]
    live.post("/options", json={"sd_model_checkpoint": "owner/name"})
    assert live.get("/options").json()["sd_checkpoint_hash"] == old["sha256"]


def test_a_checkpoint_that_is_gone_is_refused_not_replaced(site: Website) -> None:
    key, secret = site.accounts.keys.create(site.account_id, "own")
    site.accounts.options.set(key.id, site.accounts.options.of(key.id).__class__(checkpoint="gone"))
    with with_secret(site, secret) as http:
        assert http.get("/options").json()["sd_model_checkpoint"] == "gone"
        assert http.get("/options").json()["sd_checkpoint_hash"] == ""
        assert http.get("/loras").json() == []
        refusal = http.post("/txt2img", json={})
        assert (refusal.status_code, refusal.json()["detail"]) == (404, "Model not found")


def test_lists(live: httpx2.Client) -> None:
    assert [one["name"] for one in live.get("/samplers").json()][:2] == ["Euler", "Euler a"]
    assert live.get("/schedulers").json()[0] == {
        "name": "automatic",
        "label": "Automatic",
        "aliases": None,
        "default_rho": -1,
        "need_inner_model": False,
    }
    for path in ("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles"):
        assert live.get(f"/{path}").json() == []
    for path in ("latent-upscale-modes", "script-info", "extensions", "sd-modules"):
        assert live.get(f"/{path}").json() == []
        assert live.head(f"/{path}").status_code == 200
    for path in ("refresh-checkpoints", "refresh-vae", "refresh-loras", "unload-checkpoint", "reload-checkpoint"):
        assert live.post(f"/{path}").json() == {}
    assert live.get("/embeddings").json() == {"loaded": {}, "skipped": {}}
    assert live.get("/scripts").json() == {"txt2img": [], "img2img": []}
    assert live.get("/upscalers").json()[0]["name"] == "None"
    flags = live.get("/cmd-flags").json()
    assert flags == {"api": True, "nowebui": True, "listen": True, "port": live.base_url.port, "api_auth": None}
    assert live.get("/loras").json() == []
    live.post("/options", json={"sd_model_checkpoint": "styled"})
    assert live.get("/loras").json()[0] == {"name": "ink", "alias": "ink", "path": "", "metadata": {}}


# Progress


def test_progress_is_the_key_s_alone(site: Website) -> None:
    key, secret = site.accounts.keys.create(site.account_id, "own")
    with with_secret(site, secret) as http, ThreadPoolExecutor(2) as pool:
        idle = http.get("/progress").json()
        assert (idle["progress"], idle["state"]["job_count"], idle["current_image"]) == (0.0, 0, None)
        call = pool.submit(http.post, "/txt2img", json={"prompt": "a fox", "seed": 5})
        request = waiting(site, key)
        told = http.get("/progress")
        said = told.json()
        assert (said["progress"], said["state"]["job"], said["state"]["job_count"]) == (0.01, request.id, 1)
        assert told.headers["x-request-id"] == request.id
        assert site.find(request).timing.watched_until, "previews are made of it"
        claimed = site.claim()
        site.step(claimed, 2)
        preview = saved(Image.new("RGB", (32, 32), "red"), "JPEG")
        site.store.queue.previews.put(claimed.id, [Preview(claimed.attempt, 1, 0, 2, preview)])
        said = http.get("/progress?skip_current_image=false").json()
        state = said["state"]
        assert (said["progress"], state["sampling_step"], state["sampling_steps"]) == (0.5, 2, 4)
        assert re.fullmatch(r"20\d{12}", state["job_timestamp"])
        with Image.open(io.BytesIO(b64decode(said["current_image"]))) as image:
            assert (image.format, image.size) == ("PNG", (32, 32))
        assert http.get("/progress?skip_current_image=true").json()["current_image"] is None
        with client(site) as other:
            assert other.get("/progress").json()["state"]["job_count"] == 0
            assert other.post("/interrupt").json() == {}
        assert not site.find(request).lease.cancel_requested
        site.complete(claimed)
        assert call.result().status_code == 200
        assert http.get("/progress").json() == idle
    assert http.is_closed


@pytest.mark.parametrize("path", ["/interrupt", "/skip"])
def test_an_interrupted_call_is_answered_without_images_and_is_free(site: Website, path: str) -> None:
    key, secret = site.accounts.keys.create(site.account_id, "own")
    before = site.account.balance, site.account.held
    with with_secret(site, secret) as http, site.http(secret) as vendor, ThreadPoolExecutor(2) as pool:
        other = vendor.post(f"/v2/{TEXT}", json={"prompt": "a fox"}).json()["request_id"]
        call = pool.submit(http.post, "/txt2img", json={"prompt": "a fox", "batch_size": 2, "seed": 5})
        waiting(site, key)
        assert http.post(path).json() == {}
        answer = call.result()
        assert (answer.status_code, answer.json()["images"], answer.headers["x-cost"]) == (200, [], "0")
        assert json.loads(answer.json()["info"])["all_seeds"] == [5, 6]
        assert site.store.queue.find(other, site.account_id).status is Status.QUEUED, "it came by another API"
        vendor.delete(f"/v2/requests/{other}")
    assert (site.account.balance, site.account.held) == before


def waiting(site: Website, key: Key) -> Request:
    """The request of a call that waits."""
    until(lambda: site.store.queue.current(key, "a1111"))
    found = site.store.queue.current(key, "a1111")
    assert found is not None
    return found.request


# What a call costs in the worst case


def test_a_call_that_ends_without_an_answer_costs_nothing_unless_it_can_be_repeated(tmp_path: Path) -> None:
    with serving(tmp_path, sync_timeout=0.2, **PATIENT) as site, with_secret(site, site.secret) as http:
        before = site.account.balance, site.account.held
        for worker, status in ((False, 502), (True, 504)):
            if worker:
                site.beat()
            refusal = http.post("/txt2img", json={"prompt": "a fox"})
            assert (refusal.status_code, refusal.headers["x-should-retry"]) == (status, "false")
            ended = site.store.queue.find(refusal.headers["x-request-id"], site.account_id)
            assert ended.outcome == "cancelled"
            assert (site.account.balance, site.account.held) == before
        once = {"idempotency-key": "once"}
        goes_on = http.post("/txt2img", json={"prompt": "a fox"}, headers=once)
        assert (goes_on.status_code, goes_on.headers["x-should-retry"]) == (504, "true")
        again = http.post("/txt2img", json={"prompt": "a fox"}, headers=once)
        assert again.status_code == 409
        done = site.complete()
        again = http.post("/txt2img", json={"prompt": "a fox"}, headers=once)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
        assert again.headers["x-request-id"] == done.id
        assert again.json()["images"] == [b64encode(b"picture").decode()]
        assert again.json()["parameters"] == {"prompt": "a fox"}
        other = http.post("/txt2img", json={"prompt": "an owl"}, headers=once)
        assert other.status_code == 422
        assert before[0] - site.account.balance == done.billing.cost


def test_a_client_that_hangs_up_pays_nothing(site: Website) -> None:
    key, secret = site.accounts.keys.create(site.account_id, "own")
    before = site.account.balance, site.account.held
    connection = dial(site.address)
    connection.sendall(call_bytes("POST", f"{API}/txt2img", secret, b'{"prompt": "a fox"}'))
    request = waiting(site, key)
    connection.close()
    until(lambda: site.find(request).ended)
    assert site.find(request).outcome == "cancelled"
    assert (site.account.balance, site.account.held) == before


def test_a_deadline_is_an_error(test: httpx2.Client) -> None:
    late = test.post("/txt2img", json={"prompt": "test:processing:60"}, headers={"cancel-after": "0.1"})
    assert (late.status_code, late.json()["detail"]) == (500, "cancelled")


# Files


def test_a_file_s_text_is_read_back(test: httpx2.Client) -> None:
    body = {"prompt": "a fox,\nquick", "negative_prompt": "blurry", "seed": 7, "width": 128, "height": 64}
    answer = test.post("/txt2img", json={**body, "steps": 9, "cfg_scale": 2.5, "scheduler": "beta"})
    [file], info = answer.json()["images"], json.loads(answer.json()["info"])
    found = test.post("/png-info", json={"image": file}).json()
    assert found["info"] == info["infotexts"][0]
    assert found["items"] == {"parameters": found["info"]}
    said = found["parameters"]
    assert (said["Prompt"], said["Negative prompt"], said["Steps"]) == ("a fox,\nquick", "blurry", "9")
    assert (said["Size-1"], said["Size-2"], said["Schedule type"], said["CFG scale"]) == ("128", "64", "Beta", "2.5")
    silent = {"info": "", "items": {}, "parameters": {}}
    assert test.post("/png-info", json={"image": f"data:image/png;base64,{RED}"}).json() == silent
    for wrong in ({}, {"image": "http://example.com/x.png"}, {"image": "AAAA"}, {"image": ""}):
        assert test.post("/png-info", json=wrong).status_code == 422
