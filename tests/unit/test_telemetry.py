"""Every family that `/metrics` has is in the documentation, and whatever the dashboard and the alerts name exists."""

from __future__ import annotations

import json
import logging
import re
from pathlib import Path

import pytest
import structlog
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from tintype.errors import TintypeError
from tintype.store.workers import STATES
from tintype.telemetry.logs import REMIND, Outage, set_up_logs
from tintype.telemetry.metrics import SUMS, Figures, Metrics, Stage

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana.json").read_text())
SCALER = (ROOT / "deploy/kubernetes/keda/scaledobject.yaml").read_text()
DOCS = (ROOT / "docs/operations.md").read_text()
TYPES = dict(re.findall(r"^\| `(tintype_\w+)` \| (\w+) \|", DOCS, re.M))
LABELS = dict(re.findall(r"^\| `(tintype_\w+)` \| \w+ \| ([\w, ]*)\|", DOCS, re.M))
#: One of everything, so that each family has a sample.
EVERYTHING = Figures(
    sums={one.key(*one.labels): 1 for one in SUMS},
    waiting={"a": 1},
    oldest={"a": 1.0},
    running={"a": 1},
    paused=True,
    workers={"idle": 1},
    memory={("w", "process"): 1},
)


def text(figures: Figures = EVERYTHING) -> str:
    metrics = Metrics(lambda: figures)
    metrics.refused(TintypeError())
    return metrics.render("")[0].decode()


def families() -> dict[str, Metric]:
    """All but the times at which prometheus-client began to count, which it adds by itself."""
    found = text_string_to_metric_families(text())
    return {family.name: family for family in found if not family.name.endswith("_created")}


def samples() -> set[str]:
    return {one.name for family in families().values() for one in family.samples}


def named(words: str) -> set[str]:
    """Samples in expressions; what stands in braces or brackets is no sample."""
    plain = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", words)
    return set(re.findall(r"\b(?:tintype|process)_\w+", plain))


def test_the_documentation_has_every_family_with_its_type_and_labels() -> None:
    own = {name: family for name, family in families().items() if name.startswith("tintype_")}
    assert {name: family.type for name, family in own.items()} == TYPES
    for name, family in own.items():
        labels = {label for one in family.samples for label in one.labels}
        assert labels == {label.strip() for label in LABELS[name].split(",") if label.strip()}, name


def test_the_documentation_explains_every_stage_and_state() -> None:
    stages = DOCS.partition("The stages of a request are")[2]
    assert [stage for stage in Stage if f"`{stage}`" not in stages] == []
    assert [state for state in STATES if f"{state}" not in DOCS] == []


def test_the_dashboard_asks_for_what_there_is_and_for_all_of_it() -> None:
    asked = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found = {name for expression in asked for name in named(expression)}
    assert found <= samples()
    own = {name for name in samples() if name.startswith("tintype_")}
    assert found >= own, "each has its place on the dashboard"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


@pytest.mark.parametrize("place", ["alerts", "scaler"])
def test_alerts_and_the_autoscaler_ask_for_what_there_is(place: str) -> None:
    if place == "alerts":
        words = " ".join(re.findall(r"`([^`\n]*tintype_[^`\n]*[><][^`\n]*)`", DOCS))
    else:
        [words] = re.findall(r"^ +query: (.*)$", SCALER, re.M)
    assert named(words)
    assert named(words) <= samples()


def test_sums_that_nobody_has_added_to_are_zero() -> None:
    told = text(Figures({}, {}, {}, {}, paused=False, workers={}))
    assert "\ntintype_missed_charges_total 0.0\n" in told
    assert "\ntintype_queue_paused 0.0\n" in told


def test_what_libraries_warn_of_is_a_line_like_ours(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(process="web")
    assert logging.lastResort
    record = logging.LogRecord("library", logging.WARNING, __file__, 1, "%s is away", ("the collector",), None)
    try:
        logging.lastResort.handle(record)
        line = json.loads(capsys.readouterr().err)
    finally:
        logging.lastResort.setFormatter(None)
        structlog.reset_defaults()
    told = {name: line[name] for name in ("event", "level", "process")}
    assert told == {"event": "the collector is away", "level": "warning", "process": "web"}


def test_a_state_that_lasts_is_a_line_at_its_begin_one_at_its_end_and_a_count_between() -> None:
    moments = iter([*range(101), 100.5, 110, 200])
    outage = Outage("database unavailable", "database available again", clock=lambda: next(moments))
    with structlog.testing.capture_logs() as lines:
        outage.succeeded()
        for _ in range(101):
            outage.failed("refused")
        outage.succeeded()  # between two failures some call may go well
        assert outage.lasts
        outage.succeeded()
        outage.succeeded()
    assert not outage.lasts
    assert [{**line, "log_level": ""} for line in lines] == [
        {"event": "database unavailable", "cause": "refused", "log_level": ""},
        {"event": "database unavailable", "cause": "refused", "times": 61, "seconds": REMIND, "log_level": ""},
        {"event": "database available again", "times": 101, "seconds": 110, "log_level": ""},
    ]
    with structlog.testing.capture_logs() as lines:
        outage.failed("refused")
    assert lines == [{"event": "database unavailable", "cause": "refused", "log_level": "warning"}], (
        "a new one begins anew"
    )
