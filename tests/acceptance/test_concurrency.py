"""Ten clients at once: every answer right, in fewer forward passes than one by one."""

from __future__ import annotations

import io
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.acceptance.harness import LONG_LEASE, Server, until

SD15: dict[str, Any] = {"prompt": "a castle", "image": "/sd-img2img-input.jpeg"}
ROBOT: dict[str, Any] = {"prompt": "a robot", "image": "/sd3-img2img-ip.jpg"}
TEXT: dict[str, Any] = {"width": 256, "height": 256, "image_format": "png"}
#: Ten requests of four models: their step counts, guidance, seeds, strengths and source pictures all differ.
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("sd1.5-img2img", SD15 | {"seed": 1, "num_inference_steps": 24, "strength": 0.4, "scheduler": "DDIM"}),
    ("sd1.5-img2img", SD15 | {"seed": 2, "num_inference_steps": 30, "strength": 0.2, "scheduler": "Euler a"}),
    ("sd1.5-img2img", SD15 | {"seed": 3, "image": "/sd3-turbo-i2i-input.jpg", "guidance_scale": 3, "strength": 0.5}),
    ("stable-diffusion-3.5-turbo-txt2img", TEXT | {"prompt": "a fox", "seed": 4, "steps": 12, "guidance_scale": 4}),
    ("stable-diffusion-3.5-turbo-txt2img", TEXT | {"prompt": "two ships", "seed": 5, "steps": 4}),
    ("stable-diffusion-3.5-turbo-txt2img", TEXT | {"prompt": "a market", "seed": 6, "steps": 9, "sampler": "euler"}),
    ("stable-diffusion-3.5-turbo-txt2img", TEXT | {"prompt": "", "seed": 7, "steps": 14, "batch_size": 1}),
    ("sd3-med-img2img", ROBOT | {"seed": 8, "num_inference_steps": 7, "strength": 0.6}),
    ("sd3-med-img2img", ROBOT | {"prompt": "snow", "seed": 9, "num_inference_steps": 10, "guidance_scale": 1}),
    ("stable-diffusion-3-turbo-img2img", ROBOT | {"mode": "image-to-image", "prompt": "a frog", "seed": 10}),
]


@pytest.fixture
def server(new_server: Callable[..., Server]) -> Server:
    """One that draws at the size asked for: enlarging would enlarge the differences."""
    return new_server(lease=LONG_LEASE).start()


def small(server: Server, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with the input picture, where there is one, at 256 × 256: a quarter of the work at 512."""
    if "image" not in params:
        return params
    sample = server.http().get(params["image"]).content
    file = io.BytesIO()
    with Image.open(io.BytesIO(sample)) as image:
        image.resize((256, 256)).save(file, "PNG")
    return params | {"image": "data:image/png;base64," + b64encode(file.getvalue()).decode()}


def pixels(server: Server, result: dict[str, Any]) -> np.ndarray:
    with Image.open(io.BytesIO(server.http().get(result["output"]).content)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.int16)


def test_ten_clients(server: Server) -> None:
    requests = [(slug, small(server, params)) for slug, params in REQUESTS]

    def passes() -> int:
        return server.seen_worker().forward_passes

    start = passes()
    alone = [server.client().submit_async(slug, **params).wait(interval=0.1) for slug, params in requests]
    one_by_one = sum(evaluations(server, result) for result in alone)
    until(lambda: passes() >= start + one_by_one)
    assert passes() == start + one_by_one, "alone, each evaluation is a forward pass"

    with ThreadPoolExecutor(len(requests)) as clients:
        together = list(
            clients.map(lambda one: server.client().submit_async(one[0], **one[1]).wait(interval=0.5), requests)
        )
    until(lambda: passes() > start + one_by_one)
    shared = passes() - start - one_by_one
    assert shared < 0.75 * one_by_one, f"{shared} forward passes together, {one_by_one} one by one"

    for (slug, params), mine, reference in zip(requests, together, alone, strict=True):
        assert mine["seed"] == str(params["seed"])
        # JPEG may turn one level of rounding into a few.
        difference = np.abs(pixels(server, mine) - pixels(server, reference))
        assert difference.max() <= (1 if mine["output"].endswith("png") else 12), slug
        assert difference.mean() < 0.05, slug


def evaluations(server: Server, result: dict[str, Any]) -> int:
    """How often the model was asked for one of these requests."""
    status = server.http().get(f"/v2/requests/{result['request_id']}/status").json()
    assert status["step"] == status["steps"]
    return int(status["steps"])
