"""The engine: neighbours share every forward pass and never change a picture."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.integration.drawing import begin, draw, whole
from tests.toy_weights import UNET, image_spec, toy_weights

from tintype.core import ImageSpec
from tintype.diffusion.image_state import Family, ImageState
from tintype.diffusion.schedules import SCHEDULES
from tintype.diffusion.text import Conditioning
from tintype.diffusion.unet import RefinedUNet
from tintype.engine import Engine
from tintype.errors import NoRoom
from tintype.samplers import SAMPLERS, SCHEDULERS

#: Relative to the largest latent: what float32 rounding may differ by when a batch has another size.
ROUNDING = 1e-5
WORDS = ("fox", "snow,", "oil painting", "of", "two ships", "at night", "cyberpunk", "market")


def random_job(dice: random.Random, kind: str, picture: torch.Tensor) -> ImageSpec:
    """Everything drawn that a request can choose."""
    own: dict[str, Any]
    if kind != "sd3":
        own = {"sampler": dice.choice([*SCHEDULERS]), "steps": dice.randint(20, 26)}
        strength = dice.uniform(0.1, 1)
    else:
        own = {"sampler": dice.choice([*SAMPLERS]), "schedule": dice.choice([*SCHEDULES]), "steps": dice.randint(2, 12)}
        strength = dice.uniform(0, 1)
    return image_spec(
        prompt=" ".join(dice.choices(WORDS, k=dice.randint(0, 40))),
        negative_prompt=" ".join(dice.choices(WORDS, k=dice.randint(0, 5))),
        guidance=dice.choice([1.0, 1.5, 7.5, 12.0]),
        strength=strength,
        seed=dice.randrange(2**63),
        width=picture.shape[3],
        height=picture.shape[2],
        init=dice.random() < 0.7,
        **own,
    )


def assert_same(picture: ImageState, alone: ImageState) -> None:
    difference = (picture.latents - alone.latents).abs().max() / alone.latents.abs().max()
    assert difference <= ROUNDING
    assert picture.step == alone.step == picture.steps


@pytest.fixture
def families(sd15: Family, sdxl: Family, sd3: Family) -> dict[str, Family]:
    return {"sd15": sd15, "sdxl": sdxl, "sd3": sd3}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_mixed_company_changes_no_picture(families: dict[str, Family], picture: torch.Tensor, seed: int) -> None:
    """60 random jobs of all families, joining at random steps, some of them leaving early: each as if alone."""
    dice = random.Random(seed)
    jobs = [(kind, random_job(dice, kind, picture)) for kind in dice.choices([*families], weights=[1, 1, 3], k=60)]
    engine = Engine(max_rows=16)
    waiting = list(jobs)
    began: list[tuple[str, ImageSpec, ImageState]] = []
    with torch.inference_mode():
        while waiting or engine.live:
            for kind, job in [waiting.pop() for _ in range(min(len(waiting), dice.randint(0, 3)))]:
                began.append((kind, job, begin(families[kind], job, picture)))
                engine.add(began[-1][2])
            if len(engine.live) > 6 and dice.random() < 0.2:
                engine.drop(dice.choice(engine.live))
            engine.step()
    kept = [(kind, job, one) for kind, job, one in began if one.latents is not None]
    assert 30 <= len(kept) < 60
    evaluations = sum(one.step for *_, one in began)
    assert engine.forward_passes < evaluations / 2
    for kind, job, one in kept:
        assert_same(whole(one), draw(families[kind], job, init=picture)[0])


def test_alike_pictures_share_every_forward_pass(sd3: Family) -> None:
    jobs = [
        image_spec(
            prompt=f"fox {seed}", steps=5, seed=seed, sampler="euler", schedule="sgm_uniform", width=64, height=64
        )
        for seed in range(4)
    ]
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        for job in jobs:
            engine.add(sd3.begin(job))
        while engine.live:
            engine.step()
    assert (engine.forward_passes, engine.rows) == (5, 20)


def test_sdxl_s_images_share_every_pass_whatever_they_start_from(sdxl: Family, picture: torch.Tensor) -> None:
    """From text and from an image, with any scheduler, strength and negative prompt, with guidance and without."""
    usual = {"prompt": "a fox", "steps": 20, "width": picture.shape[3], "height": picture.shape[2]}
    jobs = [
        image_spec(**usual, seed=1, sampler="UniPC", guidance=7.5),
        image_spec(**usual, seed=2, sampler="Euler a", guidance=5.0, negative_prompt="snow"),
        image_spec(**usual, seed=3, sampler="DDIM"),
        image_spec(**usual, seed=4, sampler="DPM Multi", guidance=6.5, strength=0.65, init=True),
    ]
    together = draw(sdxl, *jobs, init=picture)
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        for job in jobs:
            engine.add(begin(sdxl, job, picture))
        while engine.live:
            engine.step()
    assert (engine.forward_passes, engine.rows) == (20, 20 * (2 + 2 + 1) + 13 * 2)
    for job, one in zip(jobs, together, strict=True):
        assert_same(one, draw(sdxl, job, init=picture)[0])


def test_a_refiner_s_part_is_a_family_of_its_own(
    sdxl: Family, weights: Path, load: Callable[[str, Path], Family]
) -> None:
    """First parts share passes with images without a refiner, second parts with each other; all end as if alone."""
    refined = RefinedUNet(sdxl, refiner := load("sdxl-refiner", toy_weights("sdxl-refiner", weights)))
    usual = {"prompt": "a fox", "steps": 20, "sampler": "UniPC", "guidance": 5.0, "width": 64, "height": 64}
    plain = image_spec(**usual, seed=1)
    ended = [
        image_spec(**usual, seed=seed, refiner=True, high_noise_fraction=part) for seed, part in ((2, 0.8), (3, 0.8))
    ]
    early = image_spec(**usual, seed=4, refiner=True, high_noise_fraction=0.5)
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        images = [sdxl.begin(plain), *(refined.begin(job) for job in (*ended, early))]
        assert [image.steps for image in images] == [20] * 4
        for image in images:
            engine.add(image)
        seen = []
        while engine.live:
            engine.step()
            seen.append((sdxl.denoiser.leases, refiner.denoiser.leases))
    # 10 steps of all four; of the others, 6 together and 4 apart, while the early one goes on with the refiner.
    assert seen == [(4, 0)] * 9 + [(3, 1)] * 6 + [(1, 3)] * 4 + [(0, 0)]
    assert (engine.forward_passes, engine.rows) == (10 + 10 * 2, 20 * 4 * 2)
    for job, image in zip((*ended, early), images[1:], strict=True):
        assert_same(whole(image), draw(refined, job)[0])
    assert_same(whole(images[0]), draw(sdxl, plain)[0])


def test_an_image_whose_refiner_has_no_room_fails_alone(
    sdxl: Family, weights: Path, load: Callable[[str, Path], Family], monkeypatch: pytest.MonkeyPatch
) -> None:
    refined = RefinedUNet(sdxl, refiner := load("sdxl-refiner", toy_weights("sdxl-refiner", weights)))
    job = image_spec(
        prompt="a fox", steps=20, sampler="UniPC", seed=1, width=64, height=64, refiner=True, high_noise_fraction=0.8
    )
    monkeypatch.setattr(refiner.denoiser.memory, "budget", refiner.denoiser.size - 1)
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        engine.add(refused := refined.begin(job))
        engine.add(fine := sdxl.begin(job))
        while engine.live:
            engine.step()
    assert isinstance(refused.error, NoRoom)
    whole(fine)
    assert (sdxl.denoiser.leases, refiner.denoiser.leases) == (0, 0)


def test_rows_not_requests_fill_a_batch(sd3: Family) -> None:
    """At most 4 rows: two guided pictures, or one guided and two unguided, go together."""
    shape = {"steps": 1, "sampler": "euler", "schedule": "sgm_uniform", "width": 64, "height": 64}
    engine = Engine(max_rows=4)
    with torch.inference_mode():
        for seed, guidance in enumerate([5.0, 1.0, 1.0, 5.0, 5.0]):
            engine.add(sd3.begin(image_spec(prompt="fox", guidance=guidance, seed=seed, **shape)))
    assert [[one.rows for one in batch] for batch in engine.batches()] == [[2, 1, 1], [2, 2]]


def test_other_shapes_and_other_models_go_apart(sd15: Family, sd3: Family, picture: torch.Tensor) -> None:
    engine = Engine(max_rows=16)
    sd3_jobs = [
        image_spec(prompt="", steps=1, seed=1, sampler="euler", schedule="sgm_uniform", width=width, height=64)
        for width in (64, 128, 64)
    ]
    with torch.inference_mode():
        for job in sd3_jobs:
            engine.add(sd3.begin(job))
        engine.add(sd15.begin(image_spec(prompt="", steps=20, seed=1, sampler="DDIM", width=64, height=64)))
    assert [len(batch) for batch in engine.batches()] == [2, 1, 1]


def half(picture: torch.Tensor, side: int) -> torch.Tensor:
    """A mask: white on the left (0) or on the right (1)."""
    across = torch.arange(picture.shape[3]).expand(1, 1, *picture.shape[2:])
    return ((across >= picture.shape[3] // 2) == bool(side)).float()


def together(family: Family, picture: torch.Tensor, *wanted: tuple[ImageSpec, torch.Tensor | None]) -> Engine:
    """Draw images, each perhaps with a mask, in one engine, and compare each with itself drawn alone."""
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        images = [begin(family, spec, picture, mask) for spec, mask in wanted]
        for one in images:
            engine.add(one)
        while engine.live:
            engine.step()
    for one, (spec, mask) in zip(images, wanted, strict=True):
        assert_same(whole(one), *draw(family, spec, init=picture, mask=mask))
    return engine


def test_from_text_from_an_image_and_within_a_mask_share_every_forward_pass(
    sd15: Family, picture: torch.Tensor
) -> None:
    shape = {"steps": 20, "width": picture.shape[3], "height": picture.shape[2]}
    text = image_spec(prompt="a fox", seed=1, sampler="DDIM", guidance=5, **shape)
    image = image_spec(prompt="a hen", seed=2, sampler="Euler a", guidance=3, strength=0.5, init=True, **shape)
    mask = image_spec(prompt="a cat", seed=3, sampler="UniPC", guidance=1, strength=0.8, init=True, **shape)
    engine = together(sd15, picture, (text, None), (image, None), (mask, half(picture, 0)))
    assert (engine.forward_passes, engine.rows) == (20, 2 * 20 + 2 * 10 + 16)


def test_weights_for_inpainting_share_forward_passes_whatever_the_masks(
    folder: Callable[..., Path], load: Callable[..., Family], picture: torch.Tensor
) -> None:
    unet = "UNet2DConditionModel", UNET | {"in_channels": 9, "out_channels": 4}
    family = load("sd15", folder("sd15-inpainting", "sd15", unet=unet))
    shape = {"steps": 20, "width": picture.shape[3], "height": picture.shape[2], "init": True}
    one = image_spec(prompt="a fox", seed=1, sampler="DDIM", guidance=5, **shape)
    other = image_spec(prompt="a hen", seed=2, sampler="Euler a", guidance=1, strength=0.5, **shape)
    engine = together(family, picture, (one, half(picture, 0)), (other, half(picture, 1)))
    assert (engine.forward_passes, engine.rows) == (20, 2 * 20 + 10)


def test_what_the_model_raises_stays_with_its_batch(sd3: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = sd3.predict

    def out_of_memory(x: torch.Tensor, *rest: Any, **how: Any) -> torch.Tensor:
        if x.shape[-1] > 8:
            raise RuntimeError("out of memory")
        return predict(x, *rest, **how)

    monkeypatch.setattr(sd3, "predict", out_of_memory)
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        for width in (64, 128):
            job = image_spec(
                prompt="", steps=2, seed=1, sampler="euler", schedule="sgm_uniform", width=width, height=64
            )
            engine.add(sd3.begin(job))
        ended = engine.step()
    assert [str(one.error) for one in ended] == ["out of memory"]
    assert len(engine.live) == 1


def test_what_a_sampler_raises_stays_with_its_picture(sd3: Family) -> None:
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        for seed in range(3):
            job = image_spec(
                prompt="", steps=2, seed=seed, sampler="euler", schedule="sgm_uniform", width=64, height=64
            )
            engine.add(sd3.begin(job))
        engine.live[1]._sampler.close()  # a closed generator raises when it is sent an answer
        engine.live[1]._sampler = iter(())  # type: ignore[assignment] # has no `send`
        ended = engine.step()
    assert [type(one.error) for one in ended] == [AttributeError]
    assert len(engine.live) == 2


def test_exact_pictures_share_no_forward_pass_and_are_the_same_to_the_bit(sd3: Family) -> None:
    def job(seed: int) -> ImageSpec:
        return image_spec(
            prompt="fox", guidance=3, steps=6, seed=seed, sampler="dpmpp_sde", schedule="karras", width=64, height=64
        )

    alone = draw(sd3, job(1))[0]
    for company in (1, 3, 7):
        engine = Engine(max_rows=16)
        with torch.inference_mode():
            exact = sd3.begin(job(1))
            engine.add(exact, exact=True)
            for seed in range(company):
                engine.add(sd3.begin(job(seed)))
            assert [len(batch) for batch in engine.batches()] == [1, company]
            while engine.live:
                engine.step()
        assert torch.equal(whole(exact).latents, alone.latents)


def test_seeds_are_the_pictures_own(sd3: Family) -> None:
    def job(seed: int) -> ImageSpec:
        return image_spec(prompt="", steps=2, seed=seed, sampler="euler", schedule="sgm_uniform", width=64, height=64)

    together = draw(sd3, job(5), job(6))
    assert not torch.equal(together[0].latents, together[1].latents)
    assert_same(together[1], draw(sd3, job(6))[0])
    torch.manual_seed(1)
    again = draw(sd3, job(5), job(6))
    assert torch.equal(again[0].latents, together[0].latents), "the global generator must not matter"


def test_rows_of_conditioning_are_stacked_and_split_with_all_that_they_hold() -> None:
    one, two = (
        Conditioning(torch.full((rows, 4, 4), float(rows)), channels=torch.ones(rows, 5, 2, 2)) for rows in (1, 2)
    )
    stacked = Conditioning.stack([one, two])
    parts = list(stacked.split(2))
    assert [(begin, len(part.embeds), part.pooled) for begin, part in parts] == [(0, 2, None), (2, 1, None)]
    assert torch.equal(torch.cat([part.embeds for _, part in parts]), stacked.embeds)
    assert [part.channels.shape[0] for _, part in parts if part.channels is not None] == [2, 1]
    with pytest.raises(KeyError):
        Conditioning.stack([one, Conditioning(two.embeds)])
