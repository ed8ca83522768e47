"""What the `test_http_*` modules share; it holds no tests of its own."""

from __future__ import annotations

import io
import struct
import zlib
from datetime import UTC, datetime
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from tests.acceptance.harness import Server, until
from tintype.store.accounts.accounts import Accounts
from tintype.store.billing.ledger import micro

TEXT = "stable-diffusion-3.5-turbo-txt2img"
MEDIUM = "sd3-med-img2img"
TURBO = "stable-diffusion-3-turbo-img2img"
OLD = "sd1.5-img2img"
OLD_TEXT, MEDIUM_TEXT, INPAINTING = "sd1.5-txt2img", "sd3-med-txt2img", "sd1.5-inpainting"
XL_TEXT, XL = "sdxl1.0-txt2img", "sdxl-img2img"
#: Dollars per picture, from the contract, and of ours.
PRICES = {OLD: 0.0037, MEDIUM: 0.0076, TEXT: 0.0035, TURBO: 0.08}
PRICES |= {OLD_TEXT: PRICES[OLD], MEDIUM_TEXT: PRICES[MEDIUM], INPAINTING: PRICES[OLD], XL_TEXT: 0.008, XL: 0.008}


def quick(**changes: Any) -> dict[str, Any]:
    """Parameters of the cheapest picture there is."""
    return {"prompt": "a fox", "width": 128, "height": 128, "steps": 2, "image_format": "png", **changes}


def slow(**changes: Any) -> dict[str, Any]:
    """Parameters of `sd1.5-img2img` that keep a worker busy for many seconds."""
    picture = {"image": "/sd-img2img-input.jpeg", "prompt": "a fox"}
    return {**picture, "num_inference_steps": 100, "samples": 4, **changes}


def refused(response: httpx2.Response, status: int, *words: str) -> str:
    """Check an error against the contract, section 3; its text."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    places = {"request_id", "status_url", "response_url"} if status in (502, 504) else set()  # of what goes on
    assert body.keys() - places == {"error", "error_description", "status_code"}
    assert isinstance(body["error"], str)
    assert body["error"]
    assert isinstance(body["error_description"], str)
    assert body["error_description"]
    assert body["status_code"] == status
    for word in words:
        assert word in body["error"]
    if status >= 500 or status == 429:
        assert response.headers["x-should-retry"] in ("true", "false")
        assert ("retry-after" in response.headers) == (response.headers["x-should-retry"] == "true")
    return str(body["error"])


def refused_for_now(response: httpx2.Response, words: str) -> None:
    """Check a 429 of a limit: it says when to come back, twice alike."""
    refused(response, 429, words)
    headers = response.headers
    assert (headers["x-should-retry"], headers["x-rate-limit-remaining"]) == ("true", "0")
    reset = datetime.fromisoformat(headers["x-rate-limit-reset-at-utc"]) - datetime.now(UTC)
    assert abs(reset.total_seconds() - int(headers["retry-after"])) < 5


def new_key(server: Server, dollars: float, **limits: Any) -> str:
    """A key of a new account with this much money."""
    with server.store() as db:
        store = Accounts(db)
        return store.keys.create(store.create("other", micro(dollars)).id, "key", **limits)[1]


def credits(response: httpx2.Response) -> float:
    """What an answer says is left."""
    return float(response.headers["x-remaining-credits"])


def left(http: httpx2.Client) -> float:
    """What the credits call says is left."""
    return float(http.get("/v1/get-user-credits").json()["credits"])


def submit(http: httpx2.Client, slug: str, params: dict[str, Any], **headers: str) -> str:
    """Submit; the request's id."""
    response = http.post(f"/v2/{slug}", json=params, headers=headers)
    assert response.status_code == 200, response.text
    return str(response.json()["request_id"])


def result(http: httpx2.Client, request_id: str) -> httpx2.Response:
    """The result endpoint's answer once the request has ended."""
    until(lambda: http.get(f"/v2/requests/{request_id}/status").json()["status"] in ("COMPLETED", "FAILED"))
    return http.get(f"/v2/requests/{request_id}")


def opened(data: bytes) -> Image.Image:
    """A picture file, decoded."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def same(one: bytes, other: bytes) -> bool:
    """Whether two files have the same pixels. The files differ: each has a signature, and a manifest, of its own."""
    first, second = opened(one), opened(other)
    return (first.mode, first.size, first.tobytes()) == (second.mode, second.size, second.tobytes())


def apart(one: bytes, other: bytes) -> int:
    """Levels by which two picture files differ at most."""
    first, second = (np.asarray(opened(data).convert("RGB"), dtype=int) for data in (one, other))
    assert first.shape == second.shape
    return int(np.abs(first - second).max())


def gradient(width: int, height: int) -> bytes:
    """A PNG to start from."""
    across = np.linspace(0, 255, width, dtype=np.uint8)
    down = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    pixels = np.stack(np.broadcast_arrays(across, down, np.uint8(90)), axis=-1)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises this many pixels, and that holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
