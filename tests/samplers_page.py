"""The tables of docs/samplers.md, made from `tintype.samplers`; the text around them is written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

from tintype.samplers import SAMPLERS, SCHEDULERS, SCHEDULES, SamplerSpec

PAGE = Path(__file__).parents[1] / "docs/samplers.md"
Row = TypeVar("Row")


def page() -> str:
    """The page with its tables as the code has them: each stands between `<!-- its name -->` and `<!-- end -->`."""
    text = PAGE.read_text("utf-8")
    for name, lines in TABLES.items():
        mark = f"<!-- {name}: made from src/tintype/samplers.py by `make docs` -->\n"
        if mark not in text:
            raise ValueError(f"docs/samplers.md has no place for the table {name}")
        made = mark + "\n".join(lines) + "\n"
        text = re.sub(re.escape(mark) + r".*?(?=<!-- end -->)", lambda _, made=made: made, text, count=1, flags=re.S)
    return text


def _samplers(rows: Mapping[str, SamplerSpec], title: str) -> list[str]:
    table = [
        (names, str(spec.order), _evaluations(spec), "yes" if spec.stochastic else "no", spec.use)
        for names, spec in _merged(rows)
    ]
    return _table((title, "order", "evaluations", "noise on the way", "when"), table)


def _evaluations(spec: SamplerSpec) -> str:
    most = {None: "its own choice", 3: "up to 3"}.get(spec.evaluations, str(spec.evaluations))
    return most + (", two rows" if spec.needs_unconditional else "")


def _merged(rows: Mapping[str, Row]) -> Iterable[tuple[str, Row]]:
    """Several names of the same row have one line."""
    for name, row in rows.items():
        names = [other for other, its in rows.items() if its == row]
        if names[0] == name:
            yield ", ".join(f"`{other}`" for other in names), row


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (head, *rows)]
    return [lines[0], "|---" * len(head) + "|", *lines[1:]]


TABLES: dict[str, list[str]] = {
    "samplers": _samplers({name: spec for name, spec in SAMPLERS.items() if spec.offered}, "sampler"),
    "schedules": _table(
        ("schedule", "how the noise levels are spread"), [(f"`{name}`", row.use) for name, row in SCHEDULES.items()]
    ),
    "schedulers": _samplers(SCHEDULERS, "scheduler"),
}
