"""The GPU's measurements at toy size on the CPU: they measure what they say, and refuse where there is no GPU."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from benchmarks import batching, cpu, gpu, latency, marks
from benchmarks.control import Goal, Row
from benchmarks.gpu import Bench
from benchmarks.networks import DENOISERS, Denoiser, on_meta, work
from benchmarks.parts import Figure, Part, Record, run_parts
from benchmarks.work import mixed_jobs
from tests.integration.conftest import KL
from tests.toy_weights import FAMILIES, TRANSFORMER, UNET, toy_weights

from tintype.catalog.formats import offered
from tintype.checkpoints.weights import WeightsSpec
from tintype.diffusion.families import load_family

CPU, FLOAT = torch.device("cpu"), torch.float32


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, and minutes of work for it")
def test_without_a_gpu_it_refuses() -> None:
    with pytest.raises(SystemExit, match="needs a GPU"):
        gpu.main([])


@pytest.fixture
def bench(weights: Path) -> Bench:
    """Toys on the CPU."""
    toys = [
        Denoiser("toy UNet", "UNet2DConditionModel", UNET, 8, (1, 3)),
        Denoiser("toy SD3", "SD3Transformer2DModel", TRANSFORMER, 8, (2,)),
    ]
    coder = {**KL, "latent_channels": 4}
    return Bench(CPU, FLOAT, 1, weights, {"sd15": 64}, toys, coder, side=64, toy=True)


def test_everything_is_proven_or_measured(bench: Bench) -> None:
    """All but what compiles; whole requests are in the next test, as they take seconds."""
    parts = [part for part in gpu.all_parts(bench) if "compiled" not in part.name and "requests" not in part.name]
    figures = {part.name: [*part.run()] for part in parts}
    nothing = [name for name, found in figures.items() if not found]
    assert nothing == ["memory, sd15", "memory, sdxl", "memory, sd3-medium"], "too small for the CPU's meter"
    assert all(one.number >= 0 for found in figures.values() for one in found)
    assert [one.what for one in figures["steps, toy UNet"] if one.share] == [
        f"toy UNet, {rows} rows, {way}" for rows in (1, 3) for way in ("eager", "graphs")
    ]
    apart = figures["the same latents as the CPU's"]
    assert (len(apart), max(one.number for one in apart)) == (9, 0.0), "here it is the CPU itself"


def test_whole_requests_are_compared_with_diffusers(bench: Bench) -> None:
    [one] = mixed_jobs(1)
    apart, speed = gpu.requests(bench, [[replace(one, params=replace(one.params, steps=2, strength=1.0))]])
    assert apart.number < 1, "the same pictures"
    assert speed.number > 0


def test_who_joins_when(weights: Path) -> None:
    """Of 8, 20 and 12 steps, two at a time: the third is begun after the first, or after both."""
    family = load_family("sd15", WeightsSpec(toy_weights("sd15", weights)), CPU, FLOAT, 256)
    three = batching.jobs(3, side=64)
    drawn = {
        rule: batching.draw(family, three, [0.0] * 3, replace(rule, together=min(2, rule.together)))
        for rule in batching.RULES
    }
    first, second, third = drawn[batching.STEPS]
    assert first.took <= third.waited < second.took
    first, second, third = drawn[batching.REQUESTS]
    assert max(first.took, second.took) <= third.waited
    first, second, third = drawn[batching.ONE_BY_ONE]
    assert 0 <= first.waited < first.took <= second.waited < second.took <= third.waited < third.took
    [late] = batching.draw(family, three[:1], [1e6], batching.STEPS)
    assert late.took < 1e5, "time jumps to it, and begins there"


@pytest.mark.nightly
@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_every_side_draws_the_same_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str) -> None:
    """Processes of their own, with toy weights: but for what needs other environments."""
    monkeypatch.setattr(cpu, "TRUE_SIZES", FAMILIES)
    workload = cpu.Workload("toy", family, cpu.SLUGS[family], 64, [(3, 2.0, 1), (2, 1.0, 2)])
    monkeypatch.setattr(cpu, "WORKLOADS", [workload])
    for side in set(cpu.SIDES) - set(cpu.INTERPRETERS):
        told = cpu.measure(workload, side, tmp_path, 1)
        assert told["first"] > told["seconds"] > 0
    with pytest.raises(RuntimeError, match="OPTIMUM_PYTHON names no interpreter"):
        cpu.measure(workload, "optimum-intel, OpenVINO", tmp_path, 1)
    apart = cpu.differences(tmp_path / "images")
    assert apart[f"toy: {cpu.DEFAULT}"] == 0
    assert max(apart[f"toy: {side}"] for side in (cpu.OURS, cpu.PREPARED)) < 4, "in bfloat16"


def test_parts_are_caught_and_those_that_are_done_are_not_done_again(tmp_path: Path) -> None:
    def good() -> Iterator[Figure]:
        yield Figure("speed", 2.0, "GB/s")

    def failing() -> Iterator[Figure]:
        yield Figure("speed", 3.0, "GB/s")
        raise AssertionError("latents differ")

    def dying() -> Iterator[Figure]:
        os._exit(3)
        yield

    def hanging() -> Iterator[Figure]:
        yield Figure("speed", 4.0, "GB/s")
        time.sleep(600)

    parts = [Part("good", good, 0), Part("failing", failing, 0), Part("dying", dying, 0), Part("long", good, 600)]
    file, lines = tmp_path / "gpu.json", list[str]()
    run_parts(parts, Record(file, {"gpu": "one"}), 60, lines.append)
    run_parts([Part("hanging", hanging, 0)], Record(file, {"gpu": "one"}), 3, lines.append)
    known = json.loads(file.read_text())["parts"]
    assert {name: part["state"] for name, part in known.items()} == {
        "good": "done",
        "failing": "failed",
        "dying": "died",
        "long": "left out",
        "hanging": "too slow",
    }
    assert "latents differ" in known["failing"]["error"]
    assert known["dying"]["error"] == "exit status 3"
    assert [one["number"] for name in ("failing", "hanging") for one in known[name]["figures"]] == [3.0, 4.0]
    lines.clear()
    run_parts(parts, Record(file, {"gpu": "one"}), 1000, lines.append)
    assert [line for line in lines if line.startswith(("good", "long"))] == [
        "good: done before",
        "long: speed: 2 GB/s",
        "long: done",
    ]
    assert not Record(file, {"gpu": "another"}).parts, "what another has done"


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


def test_marking_is_measured_by_format_size_and_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marks, "SIDES", (64,))
    rows = marks.measure(1)
    assert {(row.format, row.way) for row in rows} == {
        (one.name, way) for one in offered() for way in ("signed", "edited", "full")
    }
    assert all(1_000 < row.more_bytes < 50_000 for row in rows)
