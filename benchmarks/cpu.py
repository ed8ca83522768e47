"""`python -m benchmarks.cpu`: true sizes with random weights on this CPU, against what people would use instead.

Each side draws in a process of its own, one after the other, so that each has all cores and all memory; the sides take
turns, round by round. What is in the output file is not measured again: a run may be interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file, save_file
from tests.original_layouts import original_unet, original_vae
from tests.toy_weights import CLIP, SD3_SCHEDULER, Components, build_once, write_random

from benchmarks import networks
from benchmarks.gpu import SD15_COMPONENTS, SD15_SCHEDULER
from benchmarks.run import machine
from tintype.diffusion.devices import device_type

PROMPT = "a fox on a sky blue background"
#: Seconds for one process.
TIMEOUT = 3600
#: Steps, guidance and seed of each image.
Jobs = Sequence[tuple[int, float, int]]


@dataclass(frozen=True)
class Workload:
    """What one process draws, on end or, if it can, together."""

    name: str
    family: str
    slug: str
    side: int
    jobs: Jobs
    #: Sides that it is not measured with.
    without: Sequence[str] = ()


SLUGS = {"sd15": "sd1.5-txt2img", "sd3": "stable-diffusion-3.5-turbo-txt2img"}
MIXED: Jobs = [(4 + index % 4, (7.5, 4.0, 1.0)[index % 3], index) for index in range(8)]
SDCPP_SIDE = "stable-diffusion.cpp"
QUICK = (Workload("SD 1.5, 256², 4 steps", "sd15", SLUGS["sd15"], 256, [(4, 7.5, 1)]),)
# stable-diffusion.cpp takes an hour for the large ones on two cores.
WORKLOADS = (
    *QUICK,
    Workload("SD 1.5, 512², 20 steps", "sd15", SLUGS["sd15"], 512, [(20, 7.5, 1)], [SDCPP_SIDE]),
    Workload("SD 3 (2 B), 512², 4 steps", "sd3", SLUGS["sd3"], 512, [(4, 1.0, 1)], [SDCPP_SIDE]),
    Workload("8 mixed clients, SD 1.5, 256²", "sd15", SLUGS["sd15"], 256, MIXED, [SDCPP_SIDE]),
)
SD3_CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 20}
TRUE_SIZES: Mapping[str, tuple[Components, Mapping[str, Any]]] = {
    # As many tokens as published: stable-diffusion.cpp has a tokenizer of its own.
    "sd15": (
        SD15_COMPONENTS | {"text_encoder": ("CLIPTextModel", CLIP | networks.CLIP_L | {"vocab_size": 49408})},
        SD15_SCHEDULER,
    ),
    "sd3": (
        {
            "tokenizer": ("CLIPTokenizer", {}),
            "tokenizer_2": ("CLIPTokenizer", {}),
            "text_encoder": ("CLIPTextModelWithProjection", CLIP | networks.CLIP_L | {"projection_dim": 768}),
            "text_encoder_2": (
                "CLIPTextModelWithProjection",
                CLIP | SD3_CLIP_G | {"projection_dim": 1280, "hidden_act": "gelu"},
            ),
            "vae": ("AutoencoderKL", networks.AUTOENCODER),
            "transformer": ("SD3Transformer2DModel", networks.SD3_MEDIUM),
        },
        SD3_SCHEDULER,
    ),
}

#: Before and after each side's own lines, which define `load`: it gives `draw`, of jobs, which gives images.
HEAD = """
import json, resource, sys, time
started, folder, slug, prompt, target, threads, side, jobs = sys.argv[1:]
threads, side, jobs, family = int(threads), int(side), json.loads(jobs), folder.rpartition("/")[2]
"""
TAIL = """
draw = load()
before, spent = time.time(), time.process_time()
images = draw(jobs)
for number, image in enumerate(images):
    image.save(f"{target}-{number}.png")
now, total = time.time(), time.process_time()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"first": now - float(started), "seconds": now - before, "processor": total - spent, "peak": peak}))
"""
TINTYPE = """
import torch
torch.set_num_threads(threads)
from pathlib import Path
from PIL import Image
from tests.toy_weights import image_spec
from tintype.catalog.models import MODELS
from tintype.checkpoints.weights import WeightsSpec
from tintype.engine import Engine
from tintype.worker.models import ModelPool
sampler = {"sd15": {"sampler": "Euler"}, "sd3": {"sampler": "euler", "schedule": "normal"}}[family]
def load():
    pool = ModelPool("cpu", "auto", 256, {slug: WeightsSpec(Path(folder), t5="none")})
    drawn = pool.load(MODELS[slug]).family
    def draw(jobs):
        engine, images = Engine(16), []
        with torch.inference_mode():
            for steps, guidance, seed in jobs:
                one = {"steps": steps, "guidance": guidance, "seed": seed, "width": side, "height": side}
                images.append(drawn.begin(image_spec(prompt=prompt, **one, **sampler)))
                engine.add(images[-1])
            while engine.live:
                engine.step()
            return [Image.fromarray(drawn.autoencoder.decode(image.latents).numpy()) for image in images]
    if %s:
        from tintype.diffusion.openvino import OpenVinoCache
        drawn.run = drawn.autoencoder.run = OpenVinoCache(only_faster=False, often=1)
        began = time.time()
        draw(jobs if len(jobs) > 1 else [(2, *jobs[0][1:])])
        drawn.run.wait()
        print(f"prepared in {time.time() - began:.0f} s", file=sys.stderr)
    return draw
"""
DIFFUSERS = """
import torch
torch.set_num_threads(threads)
from diffusers import DiffusionPipeline, EulerDiscreteScheduler
def load():
    without = {"safety_checker": None, "requires_safety_checker": False}
    if family == "sd3":
        without = {"text_encoder_3": None, "tokenizer_3": None}
    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.%s, **without)
    pipe.set_progress_bar_config(disable=True)
    if family == "sd15":
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    for name in ("unet", "transformer", "vae") if %s else ():
        if name in pipe.components:
            pipe.components[name].to(memory_format=torch.channels_last)
    return lambda jobs: [pipe(prompt, num_inference_steps=steps, guidance_scale=guidance, width=side, height=side,
                              generator=torch.Generator().manual_seed(seed)).images[0]
                         for steps, guidance, seed in jobs]
"""
OPTIMUM = """
from optimum.intel import OVPipelineForText2Image
from diffusers import EulerDiscreteScheduler
import torch
torch.set_num_threads(threads)
def load():
    options = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": threads}
    pipe = OVPipelineForText2Image.from_pretrained(folder, export=True, compile=False, ov_config=options)
    if family == "sd15":
        pipe.scheduler = EulerDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.reshape(batch_size=1, height=side, width=side, num_images_per_prompt=1)
    pipe.compile()
    pipe.set_progress_bar_config(disable=True)
    return lambda jobs: [pipe(prompt, num_inference_steps=steps, guidance_scale=guidance, width=side, height=side,
                              generator=torch.Generator().manual_seed(seed)).images[0]
                         for steps, guidance, seed in jobs]
"""
SDCPP = """
from stable_diffusion_cpp import StableDiffusion
def load():
    model = StableDiffusion(model_path=folder + ".safetensors", wtype="bf16", n_threads=threads, verbose=False)
    return lambda jobs: [model.generate_image(prompt=prompt, sample_steps=steps, cfg_scale=guidance, width=side,
                                              height=side, sample_method="euler", seed=seed)[0]
                         for steps, guidance, seed in jobs]
"""
DEFAULT, CHANNELS = "diffusers, float32", "diffusers, float32, channels last"
TUNED = "diffusers, bfloat16, channels last"
OURS, PREPARED = "tintype, eager", "tintype, OpenVINO"
SIDES = {
    OURS: TINTYPE % False,
    PREPARED: TINTYPE % True,
    DEFAULT: DIFFUSERS % ("float32", False),
    CHANNELS: DIFFUSERS % ("float32", True),
    TUNED: DIFFUSERS % ("bfloat16", True),
    "optimum-intel, OpenVINO": OPTIMUM,
    SDCPP_SIDE: SDCPP,
}
#: Variables that name the interpreters of environments with what is not among tintype's packages.
INTERPRETERS = {
    "optimum-intel, OpenVINO": "OPTIMUM_PYTHON",
    SDCPP_SIDE: "SDCPP_PYTHON",
}


def main() -> None:
    """Measure what is not measured yet, write after each process, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="processes of each side and workload")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each side")
    parser.add_argument("--quick", action="store_true", help="small images of few steps")
    parser.add_argument("--only", default="", help="workloads and sides whose names, `workload: side`, match this")
    parser.add_argument("--weights", type=Path, default=Path("build/true-size"), help="made there if need be, 13 GB")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/latest-cpu.json"))
    given = parser.parse_args()
    known = json.loads(given.output.read_text()) if given.output.exists() else {}
    halves = device_type(torch.device("cpu")).bfloat16(torch.device("cpu"))
    said = machine() | {
        "processor": f"{torch.cpu.get_capabilities()['cpu_name']}, {torch.backends.cpu.get_cpu_capability()}",
        "bfloat16": halves,
        "threads": given.threads,
        "weights": "random, at true size",
        "openvino": version("openvino"),
    }
    rows: dict[str, dict[str, list[dict[str, float]]]] = known.get("processes", {})
    # Emulated, it would take hours, and nobody would tune that way.
    failed: dict[str, str] = {} if halves else {TUNED: "this processor has no instructions for bfloat16"}
    for number in range(given.rounds):
        for workload in QUICK if given.quick else WORKLOADS:
            sides = rows.setdefault(workload.name, {})
            wanted = [one for one in SIDES if re.search(given.only, f"{workload.name}: {one}")]
            for side in (one for one in wanted if one not in {*workload.without, *failed}):
                if len(sides.setdefault(side, [])) <= number:
                    try:
                        sides[side].append(measure(workload, side, given.weights.absolute(), given.threads))
                    except RuntimeError as error:
                        failed[f"{workload.name}: {side}"] = str(error)
                given.output.write_text(json.dumps(said | {"processes": rows, "failed": failed}, indent=2) + "\n")
    apart = differences(given.weights / "images")
    given.output.write_text(
        json.dumps(said | {"processes": rows, "differences": apart, "failed": failed}, indent=2) + "\n"
    )
    show(rows)
    for what, why in failed.items():
        Console().print(f"{what}: {why}")


def measure(workload: Workload, side: str, weights: Path, threads: int) -> dict[str, float]:
    """What one process tells; raises RuntimeError with its last words."""
    interpreter = sys.executable if side not in INTERPRETERS else os.environ.get(INTERPRETERS[side])
    if not interpreter:
        raise RuntimeError(f"{INTERPRETERS[side]} names no interpreter")
    components, scheduler = TRUE_SIZES[workload.family]
    folder = build_once(weights / workload.family, lambda path: write_random(path, components, scheduler))
    if side == SDCPP_SIDE:
        single_file(folder)
    target = weights / "images" / f"{workload.name}, {side}"
    target.parent.mkdir(exist_ok=True)
    Console(stderr=True).print(f"{time.strftime('%H:%M:%S')} {workload.name}: {side}")
    jobs = json.dumps(workload.jobs)
    words = (time.time(), folder, workload.slug, PROMPT, target, threads, workload.side, jobs)
    command = [interpreter, "-c", HEAD + SIDES[side] + TAIL, *map(str, words)]
    env = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(  # noqa: S603 - our own
        command, check=False, env=env, capture_output=True, text=True, timeout=TIMEOUT
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:300])
    told: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    return told


def differences(images: Path) -> dict[str, float]:
    """Mean difference of each side's first image from the one of diffusers in float32, in levels of 255.

    The same noise in each: but for sides that draw it in bfloat16, or have a generator of their own.
    """
    found = {}
    for workload in (*QUICK, *WORKLOADS):
        expected = images / f"{workload.name}, {DEFAULT}-0.png"
        for side in SIDES if expected.exists() else ():
            if (image := images / f"{workload.name}, {side}-0.png").exists():
                one, other = (np.array(Image.open(path)).astype(float) for path in (image, expected))
                found[f"{workload.name}: {side}"] = round(float(abs(one - other).mean()), 2)
    return found


def single_file(folder: Path) -> None:
    """SD 1.5's folder as one file in the original layout, next to it, in bfloat16."""
    target = folder.with_name(f"{folder.name}.safetensors")
    if target.exists():
        return
    unet, vae, text = (
        {name: tensor.bfloat16() for name, tensor in load_file(next((folder / one).glob("*.safetensors"))).items()}
        for one in ("unet", "vae", "text_encoder")
    )
    named = {f"cond_stage_model.transformer.text_model.{name}": tensor for name, tensor in text.items()}
    originals = original_unet(unet, 4, 2) | original_vae(vae, 4) | named
    save_file({name: tensor.contiguous() for name, tensor in originals.items()}, target)


def show(rows: Mapping[str, Mapping[str, Sequence[Mapping[str, float]]]]) -> None:
    """Print the tables: of each figure the median of its rounds."""
    for name, sides in rows.items():
        table = Table("side", "seconds", "of processor", "to the first", "peak, GB", "÷ ours prepared", title=name)
        middle = {
            side: {what: statistics.median(one[what] for one in told) for what in told[0]}
            for side, told in sides.items()
            if told
        }
        for side, one in middle.items():
            figures = [f"{one[what]:.1f}" for what in ("seconds", "processor", "first", "peak")]
            ratio = f"{one['seconds'] / middle[PREPARED]['seconds']:.2f}" if PREPARED in middle else ""
            table.add_row(side, *figures, ratio)
        Console().print(table)


if __name__ == "__main__":
    main()
