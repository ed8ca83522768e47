"""A server whose operator has configured no weights: the built-in ones draw, and the answers say so."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from tests.acceptance.harness import Server, done, here
from tests.toy_weights import BUILTIN
from tintype.catalog.models import SD3_MEDIUM_IMG2IMG, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.media.images import read_note

TEXT = SD35_TURBO_TXT2IMG.slug


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("size", [(1024, 1024), (1344, 768), (256, 1024), (1024, 256), (64, 64)])
def test_pictures_have_the_size_asked_for(builtin: Server, size: tuple[int, int]) -> None:
    body = {"prompt": "a fox", "width": size[0], "height": size[1], "steps": 2}
    answer = builtin.http().post(f"/v1/{TEXT}", json=body)
    assert answer.headers["x-weights"] == "built-in"
    assert opened(answer.content).size == size
    assert (builtin.data / "prepared").stat().st_mode & 0o777 == 0o700, "torch would make it for all to read"


@pytest.mark.parametrize("spec", BUILTIN.values(), ids=BUILTIN)
def test_every_example_is_drawn(builtin: Server, spec: Any) -> None:
    answer = builtin.http().post(f"/v1/{spec.slug}", json=dict(spec.example))
    assert answer.status_code == 200
    assert answer.headers["x-weights"] == "built-in"
    with opened(answer.content) as picture:
        assert len(set(picture.resize((32, 32)).tobytes())) > 8, "it shows something"


def test_the_queue_s_answers_say_it_too(builtin: Server) -> None:
    http = builtin.http()
    job = builtin.client().submit_async(TEXT, prompt="a fox", width=64, height=64)
    job.wait(interval=0.1)
    found = [http.get(f"/{version}/requests/{job.request_id}") for version in ("v1", "v2")]
    assert [one.headers["x-weights"] for one in found] == ["built-in", "built-in"]


def test_configured_weights_say_nothing(server: Server) -> None:
    answer = server.http().post(f"/v1/{TEXT}", json={"prompt": "a fox", "width": 64, "height": 64, "steps": 1})
    assert answer.is_success
    assert "x-weights" not in answer.headers
    models = server.http(None).get("/v1/models").json()["models"]
    assert not any({"weights", "vocabulary"} & one.keys() for one in models)


def test_the_models_say_what_they_can_draw(builtin: Server) -> None:
    listed = {one["slug"]: one for one in builtin.http(None).get("/v1/models").json()["models"]}
    assert {slug for slug, one in listed.items() if one["weights"] == "needs weights"} == listed.keys() - BUILTIN.keys()
    for one in (listed[slug] for slug in BUILTIN):
        assert one["weights"] == "built-in"
        assert {"name": "fox", "emoji": "🦊"} in one["vocabulary"]


def test_the_header_is_documented(builtin: Server) -> None:
    openapi = builtin.http(None).get("/openapi.json").json()
    paths, header = openapi["paths"], "#/components/headers/x-weights"
    for operation in (paths[f"/v1/{TEXT}"]["post"], paths["/v2/requests/{request_id}"]["get"]):
        assert operation["responses"]["200"]["headers"]["x-weights"]["$ref"] == header
    assert openapi["components"]["headers"]["x-weights"]["schema"]["enum"] == ["built-in"]


@pytest.mark.parametrize(
    ("slug", "body"),
    [
        (TEXT, {"width": 1152, "height": 896, "image_format": "png"}),
        (SD3_MEDIUM_IMG2IMG.slug, {"image": "/sd3-img2img-ip.jpg", "num_inference_steps": 4}),
        (SD15_IMG2IMG.slug, {"image": "/sd-img2img-input.jpeg", "img_width": 768, "strength": 0.4}),
    ],
    ids=["text", "sd3", "sd15"],
)
def test_an_enlarged_picture_is_made_again_bit_for_bit(
    builtin: Server, tmp_path: Path, slug: str, body: dict[str, Any]
) -> None:
    result = builtin.client().run(slug, prompt="an astronaut", seed=5, exact=True, **body)
    picture = tmp_path / "picture"
    picture.write_bytes(httpx2.get(result["output"], timeout=60).content)
    assert ('"t5_tokens": 1' in read_note(picture.read_bytes())) == (slug != SD15_IMG2IMG.slug)
    assert done(here("replay", picture, "--data", builtin.data)) == "identical"
