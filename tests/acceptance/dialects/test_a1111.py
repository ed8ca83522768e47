"""AUTOMATIC1111's API by its clients: webuiapi, unmodified, and the calls of Open WebUI and Kobold Lite."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import webuiapi
from PIL import Image

from tests.acceptance.harness import Server, until
from tests.acceptance.test_http_helpers import left, new_key
from tests.clients import NO_TLS
from tintype.catalog.models import MODELS

TEXT, EDIT, OLD = "stable-diffusion-3.5-turbo-txt2img", "sd3-med-img2img", "sd1.5-img2img"
#: What it takes to draw soon.
SMALL: dict[str, Any] = {"steps": 2, "cfg_scale": 1, "width": 256, "height": 256}


def api_of(server: Server, key: str) -> webuiapi.WebUIApi:
    return webuiapi.WebUIApi(baseurl=f"{server.address}/sdapi/v1", username="x", password=key)


def credits(server: Server, key: str) -> float:
    return left(server.http(key))


@pytest.fixture
def key(dialects: Server) -> str:
    """Of its own: its options are no other test's."""
    return new_key(dialects, 1)


@pytest.fixture
def api(dialects: Server, key: str) -> Iterator[webuiapi.WebUIApi]:
    found = api_of(dialects, key)
    yield found
    found.session.close()


@pytest.fixture
def http(dialects: Server, key: str) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"{dialects.address}/sdapi/v1", auth=("x", key), timeout=120, verify=NO_TLS) as client:
        yield client


def test_a1_an_image_from_text(api: webuiapi.WebUIApi) -> None:
    made = api.txt2img(prompt="a fox", steps=4, cfg_scale=1, width=256, height=256, seed=7)
    assert (made.image.format, made.image.size) == ("PNG", (256, 256))
    assert (made.info["seed"], made.info["sd_model_name"], made.parameters["prompt"]) == (7, "default", "a fox")
    text = made.image.info["parameters"]
    assert text == made.info["infotexts"][0]
    hash = next(one["hash"] for one in api.get_sd_models() if one["title"] == "default")
    assert re.fullmatch(
        r"a fox\nSteps: 4, Sampler: Euler a, Schedule type: SGM Uniform, CFG scale: 1, Seed: 7, Size: 256x256, "
        rf"Model hash: {hash}, Model: default, Version: tintype \S+",
        text,
    )
    assert "checkpoint" not in made.image.info["tintype"], "its own recipe is there too, as every version reads it"
    said = api.png_info(made.image)
    assert (said.info, said.parameters["Prompt"], said.parameters["Seed"]) == (text, "a fox", "7")
    again = api.txt2img(prompt="a fox", steps=4, cfg_scale=1, width=256, height=256, seed=7)
    assert again.info["seed"] == 7


def test_a2_all_that_it_asks(api: webuiapi.WebUIApi) -> None:
    deprecated = {"get_artist_categories", "get_artists"}
    asks = [name for name in dir(api) if name.startswith("get_") and name not in {*deprecated, "get_endpoint"}]
    assert len(asks) > 15
    found = {name: getattr(api, name)() for name in asks}
    lists = ("sd_vae", "latent_upscale_modes", "hypernetworks", "face_restorers", "realesrgan_models", "prompt_styles")
    assert [found[f"get_{name}"] for name in (*lists, "loras")] == [[]] * (len(lists) + 1)
    assert {"ram", "cuda"} == found["get_memory"].keys()
    assert found["get_cmd_flags"]["api"] is True
    assert api.util_get_model_names() == sorted(one["title"] for one in found["get_sd_models"])
    assert {TEXT, EDIT, OLD, "default", "gpt-image-1", "sd-1.5"} <= {*api.util_get_model_names()}
    assert "DPM++ 2M" in api.util_get_sampler_names()
    assert "karras" in api.util_get_scheduler_names()
    assert api.util_get_current_model() == "default"
    api.util_wait_for_ready(0.01)
    assert (api.interrupt(), api.skip(), api.refresh_checkpoints()) == ({}, {}, {})
    api.util_set_model("SD1.5-img2im")
    assert api.util_get_current_model() == OLD


def test_a3_images_from_an_image(dialects: Server, key: str, api: webuiapi.WebUIApi) -> None:
    before = credits(dialects, key)
    source = api.txt2img(prompt="a panda", seed=1, **SMALL).image
    made = api.img2img(images=[source], prompt="a panda", denoising_strength=0.5, batch_size=2, seed=3, **SMALL)
    assert (made.info["all_seeds"], [image.size for image in made.images]) == ([3, 4], [(256, 256)] * 2)
    assert (made.info["denoising_strength"], made.parameters["init_images"]) == (0.5, None)
    assert "Size: 256x256, Denoising strength: 0.5, Model hash: " in made.images[1].info["parameters"]
    prices = MODELS[TEXT].price + 2 * MODELS[EDIT].price
    assert round((before - credits(dialects, key)) * 1e6) == prices


def test_a4_another_model_for_one_call(api: webuiapi.WebUIApi, http: httpx2.Client) -> None:
    before = api.get_options()
    override = {"sd_model_checkpoint": OLD}
    made = api.txt2img(prompt="a fox", override_settings=override, sampler_name="DPM++ 2M Karras")
    assert (made.image.size, made.info["sd_model_name"], made.info["sampler_name"]) == ((512, 512), OLD, "DPM++ 2M")
    assert made.info["extra_generation_params"]["tintype"].startswith(f"{OLD} takes a picture: drawn on a grey canvas")
    assert "Denoising" not in made.image.info["parameters"]
    assert api.get_options() == before
    body = {"prompt": "a fox", "override_settings": override, "sampler_name": "DPM++ 2M Karras", "seed": 5}
    warned = http.post("/txt2img", json=body)
    assert "drawn on a grey canvas" in warned.headers["x-warning"]


def test_a5_open_webui(http: httpx2.Client) -> None:
    options = http.get("/options").json()
    options["sd_model_checkpoint"] = TEXT
    assert http.post("/options", json=options).status_code == 200
    models = [one["title"] for one in http.get("/sd-models").json()]
    assert TEXT in models
    made = http.post("/txt2img", json={"prompt": "a fox", "batch_size": 1, **SMALL})
    assert made.status_code == 200
    image = Image.open(io.BytesIO(base64.b64decode(made.json()["images"][0])))
    assert f"Model: {TEXT}" in image.info["parameters"]


def test_a6_keys(dialects: Server, key: str) -> None:
    with httpx2.Client(base_url=f"{dialects.address}/sdapi/v1", timeout=120, verify=NO_TLS) as http:
        wrong = http.post("/txt2img", json={}, auth=("x", "wrong"))
        assert wrong.status_code == 401
        assert wrong.headers["www-authenticate"].startswith("Basic")
        assert http.get("/options", headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert http.get("/options", auth=(key, "")).status_code == 200
        assert http.post("/txt2img", json={"prompt": "a fox", **SMALL}, auth=(key, "")).status_code == 200
    with pytest.raises(RuntimeError) as refused:
        api_of(dialects, new_key(dialects, 1, test=True)).txt2img(prompt="test:refuse:out-of-credits")
    assert refused.value.args[0] == 402
    assert '"detail":' in refused.value.args[1]


def test_a7_kobold_lite(http: httpx2.Client) -> None:
    body = {
        "prompt": "a fox",
        "negative_prompt": "ugly",
        "cfg_scale": 5,
        "steps": 2,
        "width": 256,
        "height": 256,
        "seed": -1,
        "sampler_name": "Euler a",
        "n_iter": 1,
        "batch_size": 1,
        "enable_hr": False,
        "eta": 0,
        "s_churn": 0,
        "s_tmax": 0,
        "s_tmin": 0,
        "s_noise": 1,
        "do_not_save_samples": False,
        "do_not_save_grid": False,
        "send_images": True,
        "save_images": False,
        "override_settings": {"CLIP_stop_at_last_layers": 1.0},
    }
    answer = http.post("/txt2img", json=body)
    assert answer.status_code == 200
    assert not answer.headers.keys() & {"x-warning", "x-ignored-parameters"}


def test_a8_what_is_refused(dialects: Server, key: str, api: webuiapi.WebUIApi) -> None:
    before, mask = credits(dialects, key), Image.new("L", (64, 64), 255)
    unit = webuiapi.ControlNetUnit(image=mask)
    for status, detail, call in (
        (422, "inpainting is not supported", lambda: api.img2img(images=[mask], mask_image=mask)),
        (
            422,
            "always on script ControlNet not found",
            lambda: api.txt2img(controlnet_units=[unit], alwayson_scripts={}),
        ),
        (404, "Sampler not found", lambda: api.txt2img(sampler_name="nope")),
        (404, "Model not found", lambda: api.txt2img(override_settings={"sd_model_checkpoint": "nope"})),
        (404, "Init image not found", lambda: api.img2img(images=[])),
        (404, "Not Found", lambda: api.extra_single_image(mask)),
        (404, "Not Found", lambda: api.interrogate(mask)),
    ):
        with pytest.raises(RuntimeError) as refused:
            call()
        assert refused.value.args[0] == status
        assert detail in refused.value.args[1]
    assert credits(dialects, key) == before


def test_an_interrupted_call_and_its_progress(dialects: Server, key: str, api: webuiapi.WebUIApi) -> None:
    before, results = credits(dialects, key), list[webuiapi.webuiapi.WebUIApiResult]()
    other = api_of(dialects, key)
    call = threading.Thread(
        target=lambda: results.append(other.txt2img(prompt="a fox", steps=70, width=512, height=512, batch_size=8))
    )
    call.start()
    until(lambda: api.get_progress()["state"]["sampling_step"] > 0)
    until(lambda: api.get_progress()["current_image"])
    said = api.get_progress()
    assert 0.01 <= said["progress"] < 1
    assert said["state"]["job_count"] == 1
    assert Image.open(io.BytesIO(base64.b64decode(said["current_image"]))).format == "PNG"
    assert api.interrupt() == {}
    call.join(60)
    [made] = results
    assert (made.images, made.info["prompt"]) == ([], "a fox")
    api.util_wait_for_ready(0.01)
    assert credits(dialects, key) == before
