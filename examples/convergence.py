"""Error against model evaluations for every deterministic sampler, on a denoiser whose answer is known.

    .venv/bin/python examples/convergence.py docs/images/convergence.png

The data is a mixture of two normals; the denoiser is its exact posterior mean, and the reference is Heun's method with
4,000 steps. The schedule is karras, which ends close to 0, so that what is left of the error is the sampler's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from rich.progress import track

from tintype.diffusion.image_state import Answer
from tintype.diffusion.samplers.spec import noise_stream, plan, start
from tintype.diffusion.schedules import Epsilon
from tintype.samplers import SAMPLERS

SPACE = Epsilon()
MEANS, SPREAD = (-0.8, 0.5), 0.25
STEPS = (4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50, 65, 85, 100)
FAMILIES = {
    "one evaluation, first order": ("euler", "euler_cfg_pp"),
    "one evaluation, with history": ("lms", "ipndm", "ipndm_v", "deis", "dpmpp_2m", "uni_pc", "uni_pc_bh2"),
    "several evaluations a step": ("heun", "heunpp2", "dpm_2", "dpm_fast", "dpm_adaptive"),
}


def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """E[data | x] for data from the mixture and x = data + sigma noise."""
    variance = SPREAD**2 + sigma**2
    logits = torch.stack([-((x - mean) ** 2) / (2 * variance) for mean in MEANS])
    means = torch.stack([mean + SPREAD**2 / variance * (x - mean) for mean in MEANS])
    return (logits.softmax(0) * means).sum(0)


def run(name: str, steps: int, denoise: Callable[[torch.Tensor, float], torch.Tensor]) -> tuple[torch.Tensor, int]:
    """The sampler's end, and how often it asked."""
    method = SAMPLERS[name]
    levels = plan(method, "karras", steps, 1.0, SPACE)
    noise = noise_stream(1, (1, 1, 32, 32), torch.device("cpu"))
    x = SPACE.start(noise().double(), torch.zeros(1, 1, 32, 32), levels[0])
    sampler = start(method, x, levels, SPACE, noise)
    asked = 0
    try:
        ask = next(sampler)
        while True:
            asked += 1
            d = denoise(ask.x, ask.level)
            ask = sampler.send(Answer(d, d))
    except StopIteration as finished:
        return finished.value, asked


def main(output: Path) -> None:
    """Measure and plot."""
    exact, _ = run("heun", 4000, denoise)
    figure, panels = plt.subplots(1, 3, figsize=(15, 5), sharex=True, sharey=True, layout="constrained")
    for panel, (title, names) in zip(panels, FAMILIES.items(), strict=True):
        for name in track(names, description=title):
            points = [run(name, steps, denoise) for steps in STEPS]
            errors = [float((made - exact).abs().mean()) for made, _ in points]
            panel.loglog([asked for _, asked in points], errors, marker="o", markersize=3, label=name)
        panel.set(title=title, xlabel="model evaluations")
        panel.grid(visible=True, which="both", alpha=0.2)
        panel.legend()
    panels[0].set_ylabel("mean error of the picture")
    figure.savefig(output, dpi=90)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "convergence.png"))
