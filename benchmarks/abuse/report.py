"""What came of the attacks, held against the goals: as a table, as Markdown, as JSON, as a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.abuse.actors import Attack, Deed, Sample
from benchmarks.abuse.stage import Peaks

MB = 1e6
#: Seconds at most, whatever is done: of `/health`, and of a call with a key that only reads.
HEALTH, KEYED = 0.25, 1.0
#: Seconds by which somebody else's text to image may be later than undisturbed.
LATER = 2.0
#: Bytes of memory that an attack may take for a while, and of disk that may stay beyond what was sent.
MEMORY, DISK = 768 * MB, 32 * MB
WHO = {"health": "/health", "keyed": "a keyed call", "drawing": "a text to image"}


@dataclass(frozen=True)
class Latency:
    """Of one probe, in seconds: the middle before the attack, the worst from its beginning on."""

    before: float
    worst: float
    #: Calls from the beginning on, and those of them that were answered otherwise than 200.
    calls: int
    failed: int
    #: The statuses of those; 0 is no answer in time.
    statuses: list[int]

    @classmethod
    def of(cls, samples: Sequence[Sample], began: float) -> Latency:
        """Of one probe's samples; a call that was under way when the attack began counts as during it."""
        before = [one.seconds for one in samples if one.began + one.seconds < began]
        since = [one for one in samples if one.began + one.seconds >= began]
        failed = [one.status for one in since if one.status != 200]
        # Where nothing was answered before: the best of what was.
        usual = median(before) if before else min(one.seconds for one in samples)
        return cls(usual, max(one.seconds for one in since), len(since), len(failed), sorted(set(failed)))

    def shown(self) -> str:
        """Before → worst."""
        worst = f"{self.worst:.2f}"
        told = ", ".join(str(status or "none") for status in self.statuses)
        return f"{self.before:.3f} → {worst} s" + (f" ({self.failed} × {told})" if self.failed else "")


@dataclass(frozen=True)
class Outcome:
    """One attack, and what others noticed of it."""

    name: str
    finding: str
    what: str
    latencies: dict[str, Latency]
    peaks: Peaks
    deed: Deed
    #: Dollars; None where the server did not tell any more.
    charged: float | None
    #: What the attack itself has reached, in words.
    judged: str

    @classmethod
    def of(cls, attack: Attack, samples: Sequence[Sample], peaks: Peaks, deed: Deed, charged: float | None) -> Outcome:
        """Put together what the processes told."""
        latencies = {who: Latency.of([one for one in samples if one.probe == who], deed.began) for who in WHO}
        what = (type(attack).__doc__ or "").strip()
        return cls(attack.name, attack.finding, what, latencies, peaks, deed, charged, attack.judge(deed))

    def missed(self) -> list[str]:
        """The goals that were missed, each with its figure."""
        limits = {"health": HEALTH, "keyed": KEYED, "drawing": self.latencies["drawing"].before + LATER}
        said = []
        for who, limit in limits.items():
            seen = self.latencies[who]
            if seen.worst > limit:
                said.append(f"{WHO[who]} took {seen.worst:.2f} s (goal {limit:.2f})")
            if seen.failed:
                said.append(f"{WHO[who]} was refused {seen.failed} of {seen.calls} times")
        if (more := self.peaks.memory - self.peaks.memory_before) > MEMORY:
            said.append(f"{more / MB:.0f} MB of memory more (goal {MEMORY / MB:.0f})")
        if (left := self.peaks.disk_left - self.peaks.disk_before - self.deed.sent) > DISK:
            said.append(f"{left / MB:.0f} MB of disk stay beyond what was sent (goal {DISK / MB:.0f})")
        return said + ([self.judged] if self.judged else [])

    def told(self) -> str:
        """The answers that the attacker got, the most frequent first."""
        ordered = sorted(self.deed.told.items(), key=lambda one: -one[1])
        return " ".join(f"{status}×{count}" for status, count in ordered)

    def memory(self) -> str:
        """Before → at most."""
        return f"{self.peaks.memory_before / MB:.0f} → {self.peaks.memory / MB:.0f} MB"

    def disk(self) -> str:
        """By how much it grew, and by how much it stayed larger."""
        grown, left = (size - self.peaks.disk_before for size in (self.peaks.disk, self.peaks.disk_left))
        return f"+{grown / MB:.0f}, left {left / MB:+.0f} MB"

    def as_json(self) -> dict[str, Any]:
        """Everything, with the verdict."""
        return {**asdict(self), "peaks": self.peaks._asdict(), "missed": self.missed()}


def table(outcomes: Sequence[Outcome]) -> Table:
    """For a terminal."""
    shown = Table(
        "attack",
        "/health\nbefore → worst",
        "keyed call",
        "text to image",
        "memory",
        "disk",
        "attacker was told",
        "charged",
        "attacker's core",
        "verdict",
        title=f"Goals: /health < {HEALTH} s, a keyed call < {KEYED:g} s, text to image ≤ {LATER:g} s later than before",
        show_lines=True,
    )
    for one in outcomes:
        missed = one.missed()
        verdict = "[red]" + "\n".join(missed) if missed else "[green]held"
        latencies = [one.latencies[who].shown().replace(" (", "\n(") for who in WHO]
        sizes = one.memory(), one.disk()
        attacker = one.told(), "?" if one.charged is None else f"${one.charged:.4f}", f"{one.deed.processor:.0%}"
        shown.add_row(f"{one.name}\n{one.finding}", *latencies, *sizes, *attacker, verdict)
    return shown


def markdown(outcomes: Sequence[Outcome]) -> str:
    """For docs/operations.md."""
    lines = [
        "| attack | `/health`, worst | a keyed call, worst | text to image, worst (before) | memory | disk | verdict |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in outcomes:
        health, keyed, drawing = (one.latencies[who] for who in WHO)
        cells = [
            one.what.rstrip("."),
            f"{health.worst:.2f} s",
            f"{keyed.worst:.2f} s",
            f"{drawing.worst:.1f} s ({drawing.before:.1f})",
            f"+{max(one.peaks.memory - one.peaks.memory_before, 0) / MB:.0f} MB",
            one.disk(),
            "; ".join(one.missed()) or "held",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(outcomes: Sequence[Outcome], target: Path) -> None:
    """Worst latencies per attack against the goals, as a picture; the file's name says in which format."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - half a second that only who asks for a plot should pay

    figure = Figure(figsize=(12, 1.5 + 0.3 * len(outcomes)), layout="constrained")
    names = [one.name for one in outcomes]
    panels = figure.subplots(1, 3, sharey=True)
    goals = {"health": HEALTH, "keyed": KEYED, "drawing": LATER}
    for axes, (who, title) in zip(panels, WHO.items(), strict=True):
        # Of drawing, what counts is by how much it is later.
        base = [one.latencies[who].before if who == "drawing" else 0 for one in outcomes]
        worst = [max(one.latencies[who].worst - less, 0.001) for one, less in zip(outcomes, base, strict=True)]
        refused = [one.latencies[who].failed for one in outcomes]
        missed = [late > goals[who] or failed for late, failed in zip(worst, refused, strict=True)]
        colours = ["tab:red" if miss else "tab:green" for miss in missed]
        axes.barh(names, worst, color=colours)
        axes.axvline(goals[who], color="black", linestyle="--")
        axes.set_xscale("log")
        axes.set_title(f"{title}, {'later by' if who == 'drawing' else 'worst'} (goal {goals[who]:g} s)")
        axes.set_xlabel("seconds")
    panels[0].invert_yaxis()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target)
