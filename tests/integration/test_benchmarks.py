"""The GPU's measurements at toy size on the CPU: they measure what they say, and refuse where there is no GPU."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import gpu, latency
from benchmarks.control import Goal, Row
from benchmarks.networks import DENOISERS, Denoiser, on_meta, work
from benchmarks.work import mixed_jobs
from tests.integration.conftest import KL
from tests.toy_weights import TRANSFORMER, UNET, toy_weights

from tintype.diffusion.compile import CompileCache
from tintype.diffusion.memory.component import run_eagerly

CPU, FLOAT = torch.device("cpu"), torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and an hour's work for it")
def test_without_a_gpu_it_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(SystemExit, match="needs a GPU"):
        gpu.main()


def test_everything_is_measured(weights: Path) -> None:
    toys = [
        Denoiser("toy UNet", "UNet2DConditionModel", UNET, 8, (1, 3)),
        Denoiser("toy SD3", "SD3Transformer2DModel", TRANSFORMER, 8, (2,)),
    ]
    filled = CompileCache(compiles=False, captures=False, often=1)
    with torch.inference_mode():
        figures = [*gpu.ceilings(CPU, FLOAT, 64, 1), *gpu.decoding({**KL, "latent_channels": 4}, 8, CPU, FLOAT, 1)]
        for toy in toys:
            figures += gpu.steps(toy, CPU, FLOAT, 1, 1e12, {"eager": run_eagerly, "filled up": filled})
    filled.close()
    assert all(figure.number > 0 for figure in figures)
    assert [figure.what for figure in figures if figure.share] == [
        f"{name}, {rows} rows, {way}"
        for name, rows in (("toy UNet", 1), ("toy UNet", 3), ("toy SD3", 2))
        for way in ("eager", "filled up")
    ]
    [one] = mixed_jobs(1)
    short = [[replace(one, params=replace(one.params, steps=2, strength=1.0))]]
    apart, speed = gpu.requests(toy_weights("sd15", weights), CPU, FLOAT, 1, short, compiled=False)
    assert apart.number < 1, "the same pictures"
    assert speed.number > 0


def test_the_true_sizes_are_those_of_the_published_models() -> None:
    """Parameters, as the models' own pages give them: 860 million, 2 and 8 billion; and PERFORMANCE.md's operations."""
    counted = [sum(p.numel() for p in on_meta(one.class_name, one.config).parameters()) / 1e9 for one in DENOISERS]
    assert counted == pytest.approx([0.86, 2.03, 8.06], rel=0.02)
    # 377 TFLOP for 20 steps of two rows, a few of them for text and decoding.
    assert 40 * work(DENOISERS[1], 1) == pytest.approx(377e12, rel=0.1)


def test_a_request_s_parts_sum_to_the_whole() -> None:
    """Whatever is not noted, or noted late by another thread."""
    ends = [("parse", 1.0), ("commit", None), ("claim", 3.0), ("fetch", 2.5), ("steps", 7.0), ("answer", None)]
    parts = latency._parts(0.5, [*ends, ("sent", 7.25)])
    assert parts == {"parse": 0.5, "commit + claim": 2.0, "fetch": 0.0, "steps": 4.0, "answer + sent": 0.25}
    assert sum(parts.values()) == 7.25 - 0.5
    assert latency.Breakdown(6.75, 4.0, parts).beyond == 2.75


def test_goals_are_held_by_what_is_now_or_by_what_it_gained() -> None:
    row = Row("requests", "/s", Goal(5, of_gain=True), {"before": [100.0, 50.0], "now": [500.0, 300.0]})
    assert (row.gain, row.held) == (5.5, True)
    assert Row("a poll", "÷", Goal(0.5), {"now": [0.4, 0.6, 0.4]}).held is False
    assert Row("idle", "%", Goal(0.5, at_least=False), {"now": [0.4]}).held is True
    assert Row("requests", "/s", Goal(5, of_gain=True), {"now": [500.0]}).held is None, "git lacks the commit before"
