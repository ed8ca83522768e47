"""Weights that break down: no black picture, no charge, and the neighbours notice nothing."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from segmind import InferenceFailed

from tests.acceptance.harness import Server
from tests.toy_weights import toy_weights
from tintype.catalog.models import SD35_TURBO_TXT2IMG

#: A letter whose embedding is NaN, and one whose embedding is too large for bfloat16, but not for float32.
NEVER, ONLY_FLOAT32 = "q", "z"
#: The dimension of the embedding that is.
HUGE = 3
QUICK: dict[str, Any] = {"width": 64, "height": 64, "steps": 20, "guidance_scale": 4, "image_format": "png", "seed": 5}


@pytest.fixture(scope="module")
def fragile(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy SD 3 with two letters spoilt in its first text encoder."""
    path = tmp_path_factory.mktemp("fragile") / "sd3"
    shutil.copytree(toy_weights("sd3", weights), path)
    vocabulary = json.loads((path / "tokenizer" / "tokenizer.json").read_text())["model"]["vocab"]
    with changed(path / "text_encoder" / "model.safetensors", "token_embedding.weight") as embedding:
        embedding[vocabulary[f"{NEVER}</w>"]] = float("nan")
        embedding[vocabulary[f"{ONLY_FLOAT32}</w>"], HUGE] = torch.finfo(torch.float32).max
    file = path / "transformer" / "diffusion_pytorch_model.safetensors"
    with changed(file, "context_embedder.weight") as weight:
        weight[:, HUGE] = 0  # nothing, times that number, and not a number, times the infinity it rounds to
    return path


@contextmanager
def changed(file: Path, name: str) -> Iterator[torch.Tensor]:
    """One tensor of a file of weights, written back afterwards."""
    tensors = load_file(file)
    [found] = [tensor for key, tensor in tensors.items() if key.endswith(name)]
    yield found
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def server(new_server: Callable[..., Server], fragile: Path) -> Server:
    """It computes in bfloat16, and has no weights at all for SD 1.5."""
    (fragile.parent / "nothing").mkdir()
    weights = {SD35_TURBO_TXT2IMG.slug: str(fragile), "sd1.5-img2img": str(fragile.parent / "nothing")}
    return new_server(dtype="bfloat16", weights=json.dumps(weights)).start()


def picture(result: dict[str, Any]) -> bytes:
    with Image.open(io.BytesIO(httpx2.get(result["output"], timeout=60).content)) as image:
        return image.tobytes()


def test_nan_fails_without_charge_and_spares_its_neighbours(server: Server) -> None:
    client = server.client()
    before = server.money()
    alone = client.run(SD35_TURBO_TXT2IMG.slug, prompt="a fox", **QUICK)
    jobs = [client.submit_async(SD35_TURBO_TXT2IMG.slug, prompt=prompt, **QUICK) for prompt in (NEVER, "a fox")]
    with pytest.raises(InferenceFailed, match="NaN or infinite"):
        jobs[0].wait(interval=0.1)
    together = jobs[1].wait(interval=0.1)
    difference = [abs(a - b) for a, b in zip(picture(together), picture(alone), strict=True)]
    assert sum(difference) / len(difference) < 1, "bfloat16 rounds, but no more than that"
    assert server.money() == (before[0] - 2 * SD35_TURBO_TXT2IMG.price, 0)


def test_what_overflows_in_bfloat16_is_drawn_in_float32(server: Server) -> None:
    result = server.client().run(SD35_TURBO_TXT2IMG.slug, prompt=ONLY_FLOAT32, **QUICK)
    assert len(set(picture(result))) > 50
    assert "beginning again in float32" in server.log.read_text()


def test_weights_that_are_not_there_fail_with_words_and_without_their_path(server: Server) -> None:
    with pytest.raises(InferenceFailed) as failed:
        server.client().run("sd1.5-img2img", prompt="x", image="/sd-img2img-input.jpeg")
    assert failed.value.detail == "model_index.json is not there"
    assert server.money()[1] == 0
