"""Previews: what a linear map can see, when it is made, and what it costs, in passes of the models."""

from __future__ import annotations

import io
from collections.abc import Iterator
from concurrent.futures import Future
from copy import copy
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from PIL import Image
from tests.databases import SqliteFiles
from tests.integration.drawing import network
from tests.stores import store_on
from tests.tenants import Tenant
from tests.toy_weights import image_spec
from torch.nn.functional import avg_pool2d, interpolate

from tintype.core import GenerationParams, ImageSpec
from tintype.diffusion.image_state import Ask, Family, ImageState
from tintype.diffusion.memory.device_memory import DeviceMemory
from tintype.diffusion.safety import Checker
from tintype.diffusion.samplers.schedulers import Schedulers
from tintype.diffusion.sd3 import SD3
from tintype.diffusion.unet import LatentUNet
from tintype.diffusion.vae import Autoencoder, ColourMap
from tintype.engine import Engine
from tintype.media.provenance.marker import Marker, SigningKey
from tintype.media.provenance.source import Origin
from tintype.running import RunningRequest
from tintype.store.db.database import Database
from tintype.store.queue.progress import Preview, Previews, latest
from tintype.worker.outputs import SafetyFilter
from tintype.worker.plan import Plan, Running
from tintype.worker.previews import PreviewRenderer

JOB = {"prompt": "a fox", "steps": 4, "seed": 1, "width": 64, "height": 128}
SAMPLERS = {"sd15": {"sampler": "Euler"}, "sd3": {"sampler": "euler", "schedule": "normal"}}


class Counting:
    """An autoencoder's model that counts its passes."""

    def __init__(self, model: object) -> None:
        self._model = model
        self.passes: list[str] = []

    def __getattr__(self, name: str) -> object:
        if name in ("encode", "decode"):
            self.passes.append(name)
        return getattr(self._model, name)


@pytest.fixture(params=["sd15", "sdxl", "sd3"])
def family(request: pytest.FixtureRequest) -> Family:
    loaded: Family = request.getfixturevalue(request.param)
    return loaded


def job(family: Family) -> ImageSpec:
    return image_spec(**JOB, **SAMPLERS["sd3" if isinstance(family, SD3) else "sd15"])


def test_the_map_is_exact_where_the_decoder_is_linear() -> None:
    """An autoencoder that averages 8 × 8 pixels and mixes the colours; what a look shows is what it decodes."""
    mix = torch.tensor([[0.9, 0.3, -0.2], [-0.4, 0.8, 0.1], [0.2, -0.5, 0.7]])

    def encode(picture: torch.Tensor) -> torch.Tensor:
        return torch.einsum("ij,bjhw->bihw", mix, avg_pool2d(picture, 8)) + 0.3

    def decode(latents: torch.Tensor) -> torch.Tensor:
        colours = torch.einsum("ij,bjhw->bihw", mix.inverse(), latents - 0.3)
        return interpolate(127.5 * (colours + 1), scale_factor=8.0)[0].permute(1, 2, 0).clamp(0, 255)

    latents = encode(torch.rand((1, 3, 64, 128), generator=torch.Generator().manual_seed(3)) * 2 - 1)
    seen = ColourMap.fit(encode, decode)(latents).float()
    assert seen.shape == (8, 16, 3)
    assert (seen - decode(latents)[::8, ::8]).abs().max() <= 1


def test_a_look_sees_something_of_what_the_decoder_draws(family: LatentUNet | SD3) -> None:
    """More than the best single colour would; these weights are random, and their decoder far from linear."""
    autoencoder = Autoencoder(family.autoencoder.component, network(family.autoencoder.component).config)
    waves = torch.stack([torch.sin(torch.arange(128.0)[:, None] / (9 + n) + torch.arange(64.0) / 7) for n in range(3)])
    with torch.inference_mode():
        latents = autoencoder.encode(waves[None], None)
        seen = autoencoder.preview(latents).float()
        drawn = autoencoder.decode(latents).float().view(16, 8, 8, 8, 3).mean(dim=(1, 3))
    blind = (drawn - drawn.mean(dim=(0, 1))).square().mean()
    assert (seen - drawn).square().mean() < blind


def test_the_map_is_fitted_once_and_then_costs_no_pass(family: LatentUNet | SD3) -> None:
    counting = Counting(network(family.autoencoder.component))
    part = DeviceMemory(2**30).component("counting", "vae", 0, lambda: counting)
    autoencoder = Autoencoder(part, network(family.autoencoder.component).config)
    with torch.inference_mode():
        for seed in range(5):
            autoencoder.preview(torch.full((1, autoencoder.channels, 8, 8), float(seed)))
    assert counting.passes == ["encode", "decode"]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_a_scheduler_s_question_and_its_answer_lead_back_to_the_clean_latents(
    sd15: LatentUNet, prediction: str
) -> None:
    generator = torch.Generator().manual_seed(5)
    clean, noise = (torch.randn((1, 4, 8, 8), generator=generator) for _ in range(2))
    schedulers = Schedulers({**sd15.schedulers.config, "prediction_type": prediction})
    kept = schedulers._signal[400]
    x = kept.sqrt() * clean + (1 - kept).sqrt() * noise
    velocity = kept.sqrt() * noise - (1 - kept).sqrt() * clean
    predicted = noise if prediction == "epsilon" else velocity
    assert torch.allclose(schedulers.denoised(Ask(x, 400.0), predicted), clean, atol=1e-5)


class Watched:
    """A picture under way in an engine, its request in a real store, and a looker."""

    def __init__(self, db: Database, family: Family) -> None:
        self.db = db
        self.previews = Previews(db)
        tenant = Tenant(store_on(db))
        tenant.submit()
        self.request = tenant.claim()
        self.engine = Engine(16)
        with torch.inference_mode():
            self.picture = family.begin(job(family))
        self.engine.add(self.picture)
        self.running = self.of([self.picture])
        self.looker = PreviewRenderer(self.previews, SafetyFilter(None))

    def of(self, images: list[ImageState], size: tuple[int, int] = (64, 128)) -> Running:
        """The request with these images in the engine."""
        params = GenerationParams(steps=4, guidance=1, seed=1, sampler="euler")
        one: Running = RunningRequest(self.request, params, Future())
        one.wait_for_memory(cast(Plan, SimpleNamespace(size=size, origin=None)))
        one.denoise(images, 0)
        return one

    def shown(self) -> list[Preview]:
        """The latest preview of each picture."""
        with self.db.read() as view:
            return [*latest(view, [self.request.id]).get(self.request.id, {}).values()]

    def beat(self) -> None:
        """One beat, to the end of what it began."""
        self.looker.render([self.running])
        if self.looker._rendering is not None:
            self.looker._rendering.result()


@pytest.fixture
def watched(sqlite_files: SqliteFiles, family: Family) -> Iterator[Watched]:
    db = Database(sqlite_files.fresh())
    one = Watched(db, family)
    yield one
    one.looker.close()
    db.close()


def test_nobody_watches_nothing_is_made(watched: Watched) -> None:
    for _ in range(3):
        watched.engine.step()
        watched.beat()
    assert watched.looker.count == 0
    assert watched.shown() == []


def test_one_look_a_beat_and_none_without_a_new_step(watched: Watched) -> None:
    watched.previews.follow([watched.request.id], 60)
    watched.beat()
    assert watched.looker.count == 0, "there is nothing to see before the first step"
    for _ in range(2):
        watched.engine.step()
        watched.engine.step()
        watched.beat()
        watched.beat()
    assert watched.looker.count == 2
    assert watched.engine.forward_passes == 4, "the model itself is not asked"
    [preview] = watched.shown()
    assert (preview.attempt, preview.number, preview.image, preview.step, preview.finished) == (1, 2, 0, 4, False)
    with Image.open(io.BytesIO(preview.jpeg)) as seen:
        assert (seen.format, seen.size) == ("JPEG", (8, 16))


def test_a_preview_says_what_makes_it_unsigned(watched: Watched) -> None:
    def load() -> SigningKey:
        raise AssertionError

    looker = PreviewRenderer(watched.previews, SafetyFilter(None), Marker(load))
    watched.running.plan = cast(Plan, SimpleNamespace(origin=Origin("trainedAlgorithmicMedia", "m")))
    watched.previews.follow([watched.request.id], 60)
    watched.engine.step()
    looker.render([watched.running])
    assert looker._rendering is not None
    looker._rendering.result()
    [preview] = watched.shown()
    assert (b"digitalsourcetype/trainedAlgorithmicMedia" in preview.jpeg, b"jumb" in preview.jpeg) == (True, False)
    looker.close()


def test_nobody_looks_at_what_is_not_checked_yet(watched: Watched) -> None:
    looker = PreviewRenderer(watched.previews, SafetyFilter(lambda: cast(Checker, None)))
    watched.running.request = replace(watched.request, safety="block")
    watched.previews.follow([watched.request.id], 60)
    watched.engine.step()
    looker.render([watched.running])
    assert looker._rendering is None
    watched.beat()
    assert watched.looker.count == 1
    looker.close()


def test_a_finished_picture_is_shown_small_while_its_sibling_runs(watched: Watched) -> None:
    watched.previews.follow([watched.request.id], 60)
    other = copy(watched.picture)
    watched.running = watched.of([watched.picture, other], size=(1024, 1536))
    watched.engine.step()
    vars(other).update(vars(watched.picture))
    watched.beat()
    assert [one.image for one in watched.shown()] == [0, 1]
    watched.running.finish(other, torch.zeros((96, 64, 3), dtype=torch.uint8))
    watched.beat()
    watched.beat()
    [done] = [one for one in watched.shown() if one.number > 2]
    assert (done.image, done.number, done.finished) == (1, 3, True)
    with Image.open(io.BytesIO(done.jpeg)) as seen:
        assert seen.size == (171, 256), "too small to be worth a picture's price"
    assert len(watched.shown()) == 2, "the latest of each"


def test_a_look_that_fails_harms_nothing(watched: Watched) -> None:
    watched.previews.follow([watched.request.id], 60)
    watched.engine.step()
    watched.picture.answered = (Ask(torch.zeros(1), -1.0), torch.zeros(1))
    watched.beat()
    assert watched.looker.count == 0
    watched.engine.step()
    watched.beat()
    assert watched.looker.count == 1
