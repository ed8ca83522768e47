"""The vendor's own client package, unmodified, with nothing changed but the base URL and the key.

Its errors, and the account's surface, are in contract/test_sdk.py.
"""

from __future__ import annotations

import io

import httpx2
import pytest
from PIL import Image
from segmind import InferenceTimeout

from tests.acceptance.harness import Server
from tests.acceptance.test_http_helpers import apart
from tintype.catalog.models import MODELS

#: Levels of 255: other tests' requests may share its steps, and JPEG makes a few levels out of one.
ROUNDING = 12
#: Slug → the request that the seed document prints, or one of a model of ours, and the size that it gives.
SEEDS = {
    "stable-diffusion-3-turbo-img2img": (
        {
            "mode": "image-to-image",
            "image": "https://segmind-sd-models.s3.amazonaws.com/display_images/sd3-turbo-i2i-input.jpg",
            "prompt": "cyberpunk style frog, dark colors",
            "strength": 1,
            "output_format": "jpeg",
            "base64": False,
        },
        (1024, 1024),
    ),
    "sd3-med-img2img": (
        {
            "prompt": "photo of a boy holding phone on table,3d pixar style",
            "negative_prompt": "low quality,less details",
            "image": "https://segmind-sd-models.s3.amazonaws.com/display_images/sd3-img2img-ip.jpg",
            "num_inference_steps": 20,
            "guidance_scale": 5,
            "seed": 698845,
            "samples": 1,
            "strength": 0.7,
            "sampler": "dpmpp_2m",
            "scheduler": "sgm_uniform",
            "base64": False,
        },
        (1024, 1024),
    ),
    "sd1.5-img2img": (
        {
            "image": "/sd-img2img-input.jpeg",
            "samples": 1,
            "prompt": "A fantasy landscape, trending on artstation, mystical sky",
            "negative_prompt": "nude, disfigured, blurry",
            "scheduler": "DDIM",
            "num_inference_steps": 25,
            "guidance_scale": 10.5,
            "strength": 0.75,
            "seed": 98877465625,
            "img_width": 512,
            "img_height": 512,
            "base64": False,
        },
        (512, 512),
    ),
    "stable-diffusion-3.5-turbo-txt2img": (
        {
            "prompt": (
                "A panda in a glowing tech-infused jacket, standing in front of a bustling cyberpunk market, his "
                "T-shirt displaying 'Segmind'. Neon lights illuminate his face, with a futuristic cityscape behind "
                "him. Reflections shimmer on the wet pavement."
            ),
            "negative_prompt": "low quality, blurry",
            "steps": 4,
            "guidance_scale": 1,
            "seed": 98552302,
            "sampler": "dpmpp_2m",
            "scheduler": "sgm_uniform",
            "width": 1024,
            "height": 1024,
            "aspect_ratio": "custom",
            "batch_size": 1,
            "image_format": "jpeg",
            "image_quality": 95,
            "base64": False,
        },
        (1024, 1024),
    ),
    "sd1.5-txt2img": ({"prompt": "a fox", "img_width": 512, "img_height": 256, "seed": 3}, (512, 256)),
    "sd1.5-inpainting": (
        {
            "image": "/sd-img2img-input.jpeg",
            "mask": "/sd-inpainting-mask.jpeg",
            "prompt": "a castle",
            "strength": 0.9,
            "seed": 3,
        },
        (512, 512),
    ),
    "sd3-med-txt2img": ({"prompt": "a fox", "img_width": 128, "img_height": 64, "seed": 3}, (128, 64)),
    "sdxl1.0-txt2img": ({"prompt": "a fox", "img_width": 512, "img_height": 528, "seed": 3}, (512, 528)),
    "sdxl-img2img": ({"prompt": "a fox", "image": "/sd-img2img-input.jpeg", "strength": 0.3, "seed": 3}, (512, 512)),
}


def test_every_model_has_a_seed() -> None:
    assert SEEDS.keys() == MODELS.keys()


@pytest.mark.parametrize("slug", SEEDS)
def test_the_seeds_requests_give_the_same_picture_each_way(server: Server, slug: str) -> None:
    params, size = SEEDS[slug]
    params = {"seed": 7, **params}
    client = server.client()

    ran = client.run(slug, **params)
    assert ran["status"] == "COMPLETED"
    assert ran["metrics"]["inference_time"] > 0
    assert ran["metrics"]["cost"] == MODELS[slug].price / 1e6
    picture = httpx2.get(ran["output"], timeout=60)
    assert picture.headers["content-type"] == "image/jpeg"
    with Image.open(io.BytesIO(picture.content)) as image:
        assert (image.format, image.size) == ("JPEG", size)

    waited = client.submit_async(slug, **params).wait(timeout=120, interval=0.1)
    assert apart(httpx2.get(waited["output"], timeout=60).content, picture.content) <= ROUNDING

    blocking = client.run_sync(slug, **params)
    assert blocking.headers["content-type"] == "image/jpeg"
    assert blocking.headers["x-seed-value"] == str(params["seed"])
    assert apart(blocking.content, picture.content) <= ROUNDING


def test_a_wait_that_runs_out_raises_inference_timeout(server: Server) -> None:
    params = SEEDS["sd1.5-img2img"][0] | {"num_inference_steps": 100}
    job = server.client().submit_async("sd1.5-img2img", **params)
    with pytest.raises(InferenceTimeout) as ran_out:
        job.wait(timeout=0, interval=0.01)
    assert ran_out.value.request_id == job.request_id
    assert job.wait(interval=0.2)["status"] == "COMPLETED"
