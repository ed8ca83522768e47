"""A training run: counted in steps, resumable, with an average of the weights, a progress bar and a log."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.hyper import LOGS
from training.sources import work

CHECKPOINT_SECONDS = 120


class Run:
    """Optimises `model` for `steps` steps.

    Its learning rates rise over `warmup` steps and fall to a fiftieth, straight or as a cosine. Its state lies in the
    work folder under `name`; a run that was stopped goes on from there, and a finished one does nothing.
    """

    def __init__(
        self,
        name: str,
        model: torch.nn.Module,
        optimisers: Sequence[torch.optim.Optimizer],
        steps: int,
        *,
        warmup: int = 50,
        average: float = 0.998,
        look: Callable[[str], dict[str, Any]] | None = None,
        look_seconds: float = 900,
    ) -> None:
        self.name = name
        self.model = model
        self.optimisers = optimisers
        #: A rehearsal of all of it (`make rehearsal`) takes few of them.
        self.steps = min(steps, int(os.environ.get("TINTYPE_REHEARSAL_STEPS", steps)))
        self.warmup = warmup
        self.average = average
        self.look = look
        self.look_seconds = look_seconds
        self.step = 0
        self.seconds = 0.0
        self.rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in optimisers]
        #: The exponential moving average of the weights: what is kept in the end.
        self.mean = {key: value.clone() for key, value in model.state_dict().items()}
        self._file = work(f"{name}.run.pt")
        self._resume()

    def __iter__(self) -> Iterator[int]:
        """Yield each step's number, and between steps show, log and save what has been reached."""
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        saved = looked = time.monotonic()
        losses: list[float] = []
        with Progress(*columns) as progress:
            bar = progress.add_task(self.name, total=self.steps, completed=self.step)
            while self.step < self.steps:
                began = time.monotonic()
                self._set_rates()
                yield self.step
                losses.append(self.loss)
                self.step += 1
                self.seconds += time.monotonic() - began
                progress.update(bar, completed=self.step)
                if self.step % 100 == 0:
                    mean_loss = sum(losses) / len(losses)
                    progress.update(bar, description=f"{self.name} loss {mean_loss:.4f}")
                    self.log(loss=round(mean_loss, 5))
                    losses.clear()
                if time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.monotonic()
                if self.look and time.monotonic() - looked > self.look_seconds:
                    self.show()
                    looked = time.monotonic()
        self._save()

    def descend(self, loss: torch.Tensor) -> None:
        """One step of every optimiser down this loss, and of the average."""
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.loss = loss.item()
        weight = 1 - min(self.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for key, value in self.model.state_dict().items():
                if value.is_floating_point():
                    self.mean[key].lerp_(value, weight)

    def averaged(self) -> torch.nn.Module:
        """The model with the averaged weights in it, ready to be used."""
        self.model.load_state_dict(self.mean)
        return self.model.eval().requires_grad_(False)

    def show(self) -> None:
        """Call `look` with the averaged weights in the model, and log what it measures."""
        if self.look is None:
            return
        current = {key: value.clone() for key, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.mean)
        self.model.eval()
        with torch.no_grad():
            self.log(**self.look(f"{self.name}-{self.step:06d}"))
        self.model.load_state_dict(current)
        self.model.train()

    def log(self, **reached: Any) -> None:
        """Add a line to the run's log."""
        LOGS.mkdir(parents=True, exist_ok=True)
        line = {"step": self.step, "seconds": round(self.seconds), **reached}
        with (LOGS / f"{self.name}.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")

    def _set_rates(self) -> None:
        factor = min(1.0, (self.step + 1) / self.warmup) * (
            0.02 + 0.98 * (0.5 + 0.5 * math.cos(math.pi * self.step / self.steps))
        )
        for optimiser, rates in zip(self.optimisers, self.rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor

    def _save(self) -> None:
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "model": self.model.state_dict(),
            "mean": self.mean,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "random": torch.get_rng_state(),
        }
        half = self._file.with_suffix(".half")
        torch.save(state, half)
        half.rename(self._file)

    def _resume(self) -> None:
        if not self._file.exists():
            return
        state = torch.load(self._file, weights_only=True)
        self.step, self.seconds, self.mean = state["step"], state["seconds"], state["mean"]
        self.model.load_state_dict(state["model"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        torch.set_rng_state(state["random"])
