"""Every family that `/metrics` has is in the documentation, and whatever the dashboard and the alerts name exists."""

from __future__ import annotations

import ast
import io
import json
import logging
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from tests.promql import Asked, asked

from tintype.errors import Forbidden, TintypeError, Unauthorized
from tintype.store.db.records import VENDOR
from tintype.store.ops.processes import STATES
from tintype.telemetry.exposition import Metrics, MetricsSnapshot
from tintype.telemetry.logs import REMIND, Outage, set_up_logs
from tintype.telemetry.metrics import SUMS, Stage, Transactions

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana.json").read_text())
SCALER = (ROOT / "deploy/kubernetes/keda/scaledobject.yaml").read_text()
DOCS = (ROOT / "docs/operations.md").read_text()
TYPES = dict(re.findall(r"^\| `(tintype_\w+)` \| (\w+) \|", DOCS, re.M))
LABELS = dict(re.findall(r"^\| `(tintype_\w+)` \| \w+ \| ([\w, ]*)\|", DOCS, re.M))
ALERTS = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
#: Alerts that fire in the cases that promtool runs.
CASES = re.findall(r'alertname="(\w+)"', (ROOT / "tests/unit/alerts.yaml").read_text())
#: What Prometheus itself and other exporters tell, with what else is known of their labels.
OTHERS = {
    "up": {"job", "instance"},
    "node_filesystem_avail_bytes": {"instance", "mountpoint", "fstype"},
    "node_filesystem_size_bytes": {"instance", "mountpoint", "fstype"},
    "probe_ssl_earliest_cert_expiry": {"instance"},
}
#: Labels whose values are all known.
FEW = ("reason", "outcome", "state", "kind", "wait", "stage", "result", "part")
#: One of everything, so that each family has a sample.
EVERYTHING = MetricsSnapshot(
    sums={one.key(*one.labels): 1 for one in SUMS},
    waiting={"a": 1},
    oldest={"a": 1.0},
    running={"a": 1},
    paused=True,
    workers=dict.fromkeys(STATES, 1),
    wanted=1,
    versions={"1": 1},
    memory={("h", "cpu", "process"): 1},
)


def text(figures: MetricsSnapshot = EVERYTHING) -> str:
    times = Transactions()
    times.read.observe(1)
    metrics = Metrics(lambda: figures, [times], {"database": "sqlite"})
    metrics.calls.refused(TintypeError())
    metrics.calls.expect([VENDOR])
    metrics.calls.answered("/health", "GET", 200, 0.1)
    return metrics.render("")[0].decode()


@cache
def families() -> dict[str, Metric]:
    """All but the times at which prometheus-client began to count, which it adds by itself."""
    found = text_string_to_metric_families(text())
    return {family.name: family for family in found if not family.name.endswith("_created")}


def samples() -> dict[str, set[str]]:
    """The labels of each sample, those among them that Prometheus adds."""
    found: dict[str, set[str]] = {}
    for family in families().values():
        for one in family.samples:
            found.setdefault(one.name, {"job", "instance"}).update(one.labels)
    return found


def values() -> set[tuple[str, str, str]]:
    """Which values labels have, by sample."""
    every = (one for family in families().values() for one in family.samples)
    return {(one.name, label, value) for one in every for label, value in one.labels.items()}


def check(expression: str) -> Asked:
    """All of it names what there is: samples, their labels, and the values of labels that have a few for ever."""
    found, known = asked(expression), OTHERS | samples()
    assert found.names, expression
    assert found.names <= known.keys(), expression
    for name, matchers in found.samples:
        assert {label for label, _, _ in matchers} <= known[name], expression
        for label, operator, value in matchers:
            if label in FEW and "!" not in operator:
                assert {(name, label, one) for one in value.split("|")} <= values(), expression
    assert found.grouped <= set().union(*(known[name] for name in found.names)), expression
    return found


def test_the_documentation_has_every_family_with_its_type_and_labels() -> None:
    own = {name: family for name, family in families().items() if name.startswith("tintype_")}
    assert {name: family.type for name, family in own.items()} == TYPES
    for name, family in own.items():
        labels = {label for one in family.samples for label in one.labels} - {"le"}
        assert labels == {label.strip() for label in LABELS[name].split(",") if label.strip()}, name


def test_the_documentation_explains_every_stage_and_state() -> None:
    stages = DOCS.partition("The stages of a request are")[2]
    assert [stage for stage in Stage if f"`{stage}`" not in stages] == []
    assert [state for state in STATES if f"{state}" not in DOCS] == []


def test_the_dashboard_asks_for_what_there_is_and_for_all_of_it() -> None:
    expressions = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
    found = {name for expression in expressions for name in check(expression).names}
    assert found >= {name for name in samples() if name.startswith("tintype_")}, "each has its place on the dashboard"
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alerts_ask_for_what_there_is_and_say_what_to_do(rule: dict[str, Any]) -> None:
    found = check(rule["expr"])
    assert rule["labels"]["severity"] in ("critical", "warning")
    words = " ".join(rule["annotations"].values())
    assert rule["annotations"].keys() == {"summary", "description"}
    assert "`" in rule["annotations"]["description"], "what to run"
    known = OTHERS | samples()
    assert set(re.findall(r"\$labels\.(\w+)", words)) <= {label for name in found.names for label in known[name]}
    for query in re.findall(r"`([^`]*tintype_[^`]*)`", words):
        check(query)
    assert rule["alert"] in CASES, "it fires in a case of tests/unit/alerts.yaml"


def test_an_expression_that_names_what_is_not_there_is_found() -> None:
    for wrong in (
        "max(tintype_queue_lenght)",
        'sum(rate(tintype_http_answers_total{state="500"}[5m]))',
        'max(tintype_workers{state=~"working|asleep"})',
        "sum by (slug) (tintype_queue_length)",
        "max(tintype_queue_age_seconds) > 300 and on (model) nothing",
        "vector(1)",
    ):
        with pytest.raises(AssertionError):
            check(wrong)


def test_the_documentation_and_the_autoscaler_ask_for_what_there_is() -> None:
    [scaler] = re.findall(r"^ +query: (.*)$", SCALER, re.M)
    check(scaler)
    queries = re.findall(r"^ {4}promtool query instant \S+ '([^']*)'$", DOCS, re.M)
    queries += re.findall(r"`([^`\n]*tintype_\w+[^`\n]*[><({][^`\n]*)`", DOCS)
    assert queries
    for query in queries:
        check(query)


COMMANDS = (("check", "rules", "deploy/alerts.yaml"), ("test", "rules", "tests/unit/alerts.yaml"))


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool comes with Debian's package prometheus")
@pytest.mark.parametrize("command", COMMANDS)
def test_prometheus_takes_the_rules_and_each_fires_where_it_should(command: tuple[str, ...]) -> None:
    told = subprocess.run(["promtool", *command], check=False, cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_denial_names_a_reason_that_is_known_from_the_start() -> None:
    """Another would be a series that begins at 1; and what it names must be few, whoever calls."""
    texts = (path.read_text() for path in (ROOT / "src").rglob("*.py"))
    trees = [ast.parse(text) for text in texts if re.search(r"(Unauthorized|Forbidden)\(", text)]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    for denial in (Unauthorized, Forbidden):
        named = [call.keywords for call in calls if isinstance(call.func, ast.Name) and call.func.id == denial.__name__]
        reasons = {word.value.value for words in named for word in words if isinstance(word.value, ast.Constant)}
        assert reasons, "they were found"
        assert reasons <= set(denial.REASONS)


def test_sums_that_nobody_has_added_to_are_zero() -> None:
    told = text(MetricsSnapshot({}, {"a": 0}, {}, {}, paused=False, workers={}))
    assert "\ntintype_missed_charges_total 0.0\n" in told
    assert "\ntintype_queue_paused 0.0\n" in told
    assert '\ntintype_requests_total{model="a",outcome="failed"} 0.0\n' in told
    assert '\ntintype_stage_runs_total{model="a",stage="queue"} 0.0\n' in told
    assert '\ntintype_prompt_cache_total{result="hit"} 0.0\n' in told


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


def test_a_line_that_can_not_be_written_is_lost_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the log's disk is full, or its reader has gone; what is told of is done already."""
    full = Path("/dev/full").open("w")  # noqa: SIM115 - to close it fails too
    monkeypatch.setattr(sys, "stderr", full)
    set_up_logs(process="web")
    log = structlog.get_logger()
    try:
        for write in (log.info, log.warning, log.error, log.exception):
            write("queued")
        with pytest.raises(OSError, match="No space"):
            full.flush()
    finally:
        structlog.reset_defaults()
        with suppress(OSError):
            full.close()


def test_a_line_and_its_end_are_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else another thread's line may come between them, and no reader of JSON lines takes the two."""
    written: list[str] = []

    class File(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", File())
    set_up_logs(process="t")
    try:
        structlog.get_logger().info("first")
        structlog.get_logger().info("second")
    finally:
        structlog.reset_defaults()
    assert [json.loads(text)["event"] for text in written] == ["first", "second"]
    assert all(text.endswith("}\n") for text in written)


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
