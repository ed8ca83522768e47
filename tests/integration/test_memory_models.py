"""ModelPool in a memory that is too small for all of them, against the same models with room for everything."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tests.integration.drawing import draw, pixels
from tests.integration.test_engine import assert_same
from tests.toy_weights import image_spec, toy_weights

from tintype.catalog.models import SD3_MEDIUM_IMG2IMG, SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.checkpoints.weights import WeightsSpec
from tintype.core import ImageSpec
from tintype.diffusion.image_state import Family
from tintype.diffusion.memory.component import (
    MEASURED,
    SLACK,
    ActivationMemory,
    Location,
)
from tintype.diffusion.memory.device_memory import DeviceMemory, available, free_on_host, margin, open_memory
from tintype.diffusion.memory.transfer import CudaTransfer, _replace
from tintype.diffusion.text import PromptCache
from tintype.engine import Engine
from tintype.errors import NoRoom
from tintype.worker.models import ModelPool

MEGABYTE = 2**20
SHAPE = {"steps": 3, "seed": 1, "width": 64, "height": 64}
SD15_JOB = image_spec(prompt="a fox", guidance=4.0, sampler="Euler", **SHAPE)
SD3_JOB = image_spec(prompt="a fox", guidance=4.0, sampler="euler", schedule="normal", **SHAPE)


@pytest.fixture(scope="module")
def folders(weights: Path) -> dict[str, WeightsSpec]:
    return {spec.slug: WeightsSpec(toy_weights(spec.family, weights)) for spec in (SD15_IMG2IMG, SD3_MEDIUM_IMG2IMG)}


def models(
    folders: dict[str, WeightsSpec], budget: int | None = None, dtype: str = "float32", **more: Any
) -> ModelPool:
    memory = DeviceMemory(2**40 if budget is None else budget)
    return ModelPool("cpu", dtype, 32, folders, memory=memory, **more)


def test_pictures_are_the_same_to_the_bit_after_their_weights_have_left(folders: dict[str, WeightsSpec]) -> None:
    """A budget for the larger denoiser and the decoder's work: 7.4 MB of weights take turns in it."""
    roomy, tight = models(folders), models(folders, 6 * MEGABYTE)
    wanted = [(SD15_IMG2IMG, SD15_JOB), (SD3_MEDIUM_IMG2IMG, SD3_JOB)]
    expected = [pixels(roomy.get(spec).family, job) for spec, job in wanted]
    for _ in range(2):
        for (spec, job), picture in zip(wanted, expected, strict=True):
            assert torch.equal(pixels(tight.get(spec).family, job), picture)
    assert tight.memory.peak <= 6 * MEGABYTE
    assert (roomy.memory.loads, len(tight.memory.known)) == (7, 7)
    assert tight.memory.loads > 10


def test_the_sd3_family_shares_its_encoders_and_autoencoder() -> None:
    built_in = models({})
    base, turbo = (built_in.load(spec).family for spec in (SD3_MEDIUM_IMG2IMG, SD35_TURBO_TXT2IMG))
    assert base.components[:-1] == turbo.components[:-1]
    assert base.denoiser is not turbo.denoiser
    used = built_in.memory.used
    assert used == sum(part.size for part in {*base.components, *turbo.components})
    assert used < 0.9 * sum(part.size for part in (*base.components, *turbo.components))


def test_the_second_copy_of_a_model_in_float32_can_leave_too(folders: dict[str, WeightsSpec]) -> None:
    tight = models(folders, 5 * MEGABYTE, "bfloat16")
    usual, exact = tight.get(SD15_IMG2IMG), tight.get(SD15_IMG2IMG, torch.float32)
    picture = pixels(usual.family, SD15_JOB)
    pixels(exact.family, SD15_JOB)
    assert usual.family.denoiser.location is Location.DISK
    assert torch.equal(pixels(usual.family, SD15_JOB), picture)
    assert tight.memory.peak <= 5 * MEGABYTE


def test_a_pinned_model_stays_and_what_has_no_room_beside_it_is_refused(folders: dict[str, WeightsSpec]) -> None:
    tight = models(folders, 6 * MEGABYTE)
    tight.pin([SD3_MEDIUM_IMG2IMG])
    assert tight.load(SD3_MEDIUM_IMG2IMG).warm
    with pytest.raises(NoRoom, match="GB of memory, and"):
        pixels(tight.get(SD15_IMG2IMG).family, SD15_JOB)
    assert tight.get(SD3_MEDIUM_IMG2IMG).warm
    with pytest.raises(NoRoom, match="can't be pinned"):
        tight.pin([SD15_IMG2IMG])


def test_the_report_adds_up(folders: dict[str, WeightsSpec]) -> None:
    own = models(folders)
    old, new = own.load(SD15_IMG2IMG), own.get(SD3_MEDIUM_IMG2IMG)
    here = [one.size for one in own.memory.known.values() if one.location is Location.DEVICE]
    assert own.memory.used == own.memory.peak == sum(here) == sum(part.size for part in old.family.components)
    assert len(own.memory.known) == len(old.family.components) + len(new.family.components)
    assert (old.warm, new.warm, own.warm()) == (True, False, {SD15_IMG2IMG.slug})


def test_sizes_are_known_without_loading(folders: dict[str, WeightsSpec]) -> None:
    for spec in (SD15_IMG2IMG, SD3_MEDIUM_IMG2IMG):
        for part in models(folders).get(spec).family.components:
            assert part.location is Location.DISK
            assert part.size == sum(weight.nbytes for weight in part.build().state_dict().values())


class Narrow:
    """A family that runs out of memory above so many rows; a stand-in for a GPU's limit, over real arithmetic."""

    def __init__(self, family: Family, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.predict, self.most = family.predict, most
        self.rows: list[int] = []
        self.refused: list[int] = []
        monkeypatch.setattr(family, "predict", self)

    def __call__(self, x: torch.Tensor, *rest: Any, **how: Any) -> torch.Tensor:
        if len(x) > self.most or x.shape[-1] > 16:
            self.refused.append(len(x))
            raise torch.OutOfMemoryError
        self.rows.append(len(x))
        return self.predict(x, *rest, **how)


def jobs(*guidances: float) -> list[ImageSpec]:
    same = {"steps": 4, "sampler": "euler", "schedule": "normal", "width": 64, "height": 64}
    return [image_spec(prompt=f"fox {seed}", guidance=own, seed=seed, **same) for seed, own in enumerate(guidances)]


@pytest.mark.parametrize(
    ("most", "refused", "rows"),
    [(4, [7], [3, 4] + 3 * [3, 4]), (2, [7, 3, 4], 4 * [2, 1, 2, 2]), (1, [7, 3, 2], 4 * 7 * [1])],
)
def test_a_pass_that_runs_out_of_memory_is_made_in_smaller_ones(
    sd3: Family, monkeypatch: pytest.MonkeyPatch, most: int, refused: list[int], rows: list[int]
) -> None:
    """Inputs of 2, 1, 2 and 2 rows; what was learnt in the first step holds for the others."""
    wanted = jobs(5, 1, 5, 5)
    whole = draw(sd3, *wanted)
    narrow = Narrow(sd3, most, monkeypatch)
    for one, other in zip(draw(sd3, *wanted), whole, strict=True):
        assert_same(one, other)
    assert (narrow.refused, narrow.rows) == (refused, rows)


def test_an_exact_picture_is_made_whole_or_not_at_all(sd3: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last bits would be others in two passes of one row; its neighbour's may."""
    narrow = Narrow(sd3, 1, monkeypatch)
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        exact, other = (sd3.begin(job) for job in jobs(5, 5))
        engine.add(other)
        engine.add(exact, exact=True)
        ended = engine.step()
    assert ended == [exact]
    assert isinstance(exact.error, torch.OutOfMemoryError)
    assert (narrow.refused, narrow.rows) == ([2, 2], [1, 1])


def test_a_picture_that_never_fits_fails_by_itself(sd3: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    Narrow(sd3, 4, monkeypatch)
    large = image_spec(prompt="", guidance=5, steps=4, seed=1, sampler="euler", schedule="normal", width=192, height=64)
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        for job in (large, *jobs(1, 5)):
            engine.add(sd3.begin(job))
        ended = engine.step()
        assert [type(one.error) for one in ended] == [torch.OutOfMemoryError]
        while engine.live:
            ended += engine.step()
    assert [one.error for one in ended[1:]] == [None, None]


def test_what_would_not_fit_by_prediction_is_not_tried(folders: dict[str, WeightsSpec]) -> None:
    """16 rows by 16 pictures: as the first guess goes, 3 MB have room for few of them at a time."""
    tight = models(folders, 3 * MEGABYTE)
    wanted = jobs(*[1.0] * 16)
    family = tight.get(SD3_MEDIUM_IMG2IMG).family
    engine = Engine(max_rows=16)
    with torch.inference_mode():
        together = [family.begin(job) for job in wanted]
        for picture in together:
            engine.add(picture)
        while engine.live:
            engine.step()
    for one, alone in zip(together, draw(models(folders).get(SD3_MEDIUM_IMG2IMG).family, *wanted), strict=True):
        assert_same(one, alone)
    assert engine.forward_passes > 4
    assert tight.memory.peak <= 3 * MEGABYTE
    assert family.denoiser.leases == 0


@pytest.mark.parametrize(("spec", "job"), [(SD15_IMG2IMG, SD15_JOB), (SD3_MEDIUM_IMG2IMG, SD3_JOB)])
def test_a_prompt_is_encoded_once_and_its_encoders_are_not_needed_again(
    folders: dict[str, WeightsSpec], spec: Any, job: ImageSpec
) -> None:
    kept = models(folders, prompts=PromptCache(MEGABYTE))
    fresh = models(folders).get(spec).family
    loaded = kept.load(spec)
    with torch.inference_mode():
        first = loaded.family.begin(job)
        kept.memory.evict_expired(-1)
        assert not loaded.warm
        again = loaded.family.begin(job)
        other = fresh.begin(job)
    assert (kept.prompts.hits, kept.prompts.misses) == (2, 2), "the prompt and the negative one"
    for text in (first.text, other.text):
        assert torch.equal(again.text.embeds, text.embeds)
    assert {part.location for part in loaded.family.components} == {Location.DISK}
    with torch.inference_mode():
        loaded.family.begin(
            image_spec(prompt="another", sampler=job.params.sampler, schedule=job.params.schedule, **SHAPE)
        )
    assert loaded.family.components[0].location is Location.DEVICE


def test_what_was_measured_is_known_after_a_restart(tmp_path: Path) -> None:
    key, file = ("unet", "denoise", 64, 64, 2), tmp_path / "memory.json"
    activation = ActivationMemory(lambda: lambda: 1000, file)
    unet = DeviceMemory(activation=activation).component("unet", "unet", 0, object)
    for _ in range(MEASURED):
        with activation.measured(unet.forward_pass(*key[1:], guess=5)):
            pass
    assert file.read_text() == '[[["unet", "denoise", 64, 64, 2], 1000]]', "as earlier versions wrote and read it"
    assert ActivationMemory(None, file).expect(key, 5) == round(1000 * SLACK)
    for other in ("[[3]]", '[[["unet"], 3]]', "{"):
        file.write_text(other)
        assert ActivationMemory(None, file).expect(key, 5) == 5


#: In a process of its own: in one of many tests, collected garbage and what the C library keeps of freed memory
#: (`cli/local.py`: `tintype generate` in a test) hide what is allocated.
PEAK = """
import torch
from tintype.diffusion.memory.component import meter

measure = meter(torch.device("cpu"))
for size in (64 * 2**20, 64):
    stop = measure()
    torch.ones(size, dtype=torch.uint8)
    print(stop() or 0)
"""


def test_the_process_s_own_peak_is_seen() -> None:
    done = subprocess.run([sys.executable, "-c", PEAK], capture_output=True, text=True, check=True)
    large, small = map(int, done.stdout.split())
    assert 60 * MEGABYTE < large < 200 * MEGABYTE
    assert small == 0


def test_what_is_free_is_the_budget_less_a_margin() -> None:
    cpu = torch.device("cpu")
    assert 0 < available(cpu) < free_on_host()
    half = free_on_host() / 2 / psutil.virtual_memory().total
    allowed = int(half * psutil.virtual_memory().total)
    assert available(cpu, half) == allowed - margin(allowed), "a share is of all there is, not of what is free"
    assert open_memory(cpu, None, share=half).budget == available(cpu, half)
    assert open_memory(cpu, 100, share=half).budget == 100
    own = open_memory(torch.device("cpu"), 100, set_aside=30)
    assert (own.budget, own.cpu) == (70, own)


def test_moving_changes_where_weights_are_and_nothing_else() -> None:
    """On one device, with copies in the place of transfers; weights that are shared stay shared."""
    with torch.inference_mode():
        module = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3), torch.nn.BatchNorm2d(4)).eval()
        module.to(memory_format=torch.channels_last)
        module.append(torch.nn.Conv2d(4, 4, 3))
        module[2].weight = module[0].weight
        x = torch.randn(1, 4, 8, 8)
        before = module(x)
        addresses = {name: tensor.data_ptr() for name, tensor in module.state_dict().items()}
        _replace(module, torch.Tensor.clone)
        assert torch.equal(module(x), before)
    assert all(tensor.data_ptr() != addresses[name] for name, tensor in module.state_dict().items())
    assert module[0].weight.data_ptr() == module[2].weight.data_ptr()
    assert module[0].weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: modules have nowhere to go")
def test_a_module_comes_back_from_the_gpu_as_it_went() -> None:
    transfer = CudaTransfer(torch.device("cuda"))
    with torch.inference_mode():
        module = torch.nn.Linear(8192, 4100).bfloat16()  # more than one buffer
        expected = module.weight.clone()
        there = transfer.to_device(module)
        assert there.weight.is_cuda
        back = transfer.to_host(there)
        assert back.weight.is_pinned()
        assert torch.equal(back.weight, expected)
        assert torch.equal(transfer.to_device(back).weight.cpu(), expected)
