"""An act: one claimed request in the stand-in's hands."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Self

from tintype.catalog.spec import ModelSpec
from tintype.core import GenerationParams
from tintype.store.db.records import LeaseStatus, Progress, Request
from tintype.testmode.script import Script, parse


@dataclass
class Act:
    """A claimed request, played as its script says."""

    request: Request
    order: GenerationParams
    script: Script
    #: When it ends, on this machine's monotonic clock.
    until: float
    verdict: LeaseStatus = LeaseStatus.KEEP

    @classmethod
    def of(cls, request: Request, spec: ModelSpec) -> Self:
        """From the moment of its claim; its delays count from its arrival, so that a restart adds nothing to them."""
        wanted = spec.read(request.params)
        script = parse(wanted.prompt)
        timing = request.timing
        waited = (timing.started_at or timing.submitted_at) - timing.submitted_at
        left = max(0.0, script.queued + script.processing - waited) if script.processing else 0.0
        return cls(request, wanted, script, time.monotonic() + left)

    @property
    def mark(self) -> Progress:
        """As many of the steps as there has been of its time."""
        left = max(0.0, self.until - time.monotonic())
        done = 1 - min(1.0, left / self.script.processing) if self.script.processing else 0.0
        return Progress(self.request.id, self.request.attempt, int(done * self.request.steps), self.request.steps)

    @property
    def over(self) -> bool:
        """Whether it is time for its end."""
        return self.verdict is not LeaseStatus.KEEP or time.monotonic() >= self.until
