"""A request's trace: from its caller's span through the queue and a worker's stages to its webhook."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from tests.acceptance.harness import here, until, words
from tests.integration.webhook_receiver import Receiver, receiving
from tests.integration.website import Website, serving
from tests.stores import new_request
from tests.toy_weights import BUILTIN, toy_weights

from tintype import __version__
from tintype.checkpoints.weights import WeightsSpec
from tintype.media.http import PublicClient
from tintype.settings.groups import WebhookSettings
from tintype.store.db.records import Request
from tintype.telemetry import logs
from tintype.telemetry.metrics import STAGE_RUNS, STAGE_SECONDS, Stage
from tintype.telemetry.traces import NO_TRACES, LoggedExporter, Tracing, open_tracing
from tintype.webhooks import WebhookSender
from tintype.worker.inputs import Inputs
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.models import ModelPool
from tintype.worker.outputs import Outputs, SafetyFilter
from tintype.worker.timings import Timings

SLUG = "stable-diffusion-3.5-turbo-txt2img"
#: The header of a caller that traces, from W3C's own example.
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"00-{TRACE}-00f067aa0ba902b7-01"
PRIVATE = "a fox that nobody must hear of"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[Website]:
    with serving(tmp_path_factory.mktemp("traces"), webhook_allow=receiver.host) as website:
        yield website


@pytest.fixture
def memory() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(memory: InMemorySpanExporter, site: Website) -> Iterator[Tracing]:
    """The SDK's own tracer, whose spans stay in memory; the website's as well."""
    provider, usual = TracerProvider(), site.app.state.runtime
    provider.add_span_processor(SimpleSpanProcessor(memory))
    one = Tracing(provider.get_tracer("test"), provider.shutdown)
    site.app.state.runtime = replace(usual, tracing=one)
    yield one
    site.app.state.runtime = usual
    one.close()


def submit(site: Website, receiver: Receiver, traceparent: str, **params: object) -> Request:
    """The request as it lies in the store."""
    asked = {"prompt": PRIVATE, "width": 128, "height": 128, "steps": 2, **params}
    headers = {"traceparent": traceparent, "x-webhook-url": f"http://{receiver.host}/hook"}
    with site.http() as http:
        answer = http.post(f"/v2/{SLUG}", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    return site.own.store.queue.find(answer.json()["request_id"], site.account_id)


def worker(site: Website, weights: Path, tracing: Tracing) -> Worker:
    """A worker with toy weights."""
    own = site.own
    models = ModelPool("cpu", "float32", 32, {SLUG: WeightsSpec(toy_weights("sd3", weights))}, catalogue=BUILTIN)
    outputs = Outputs(own.store.leases, own.files.outputs, SafetyFilter(None), with_recipe=False)
    config = WorkerConfig(id="w1", max_images=4, max_rows=16, poll=0.01, grace=1, heartbeat=1)
    return Worker(own.store, models, Inputs.from_settings(own.runtime.settings), outputs, config, tracing)


def work(site: Website, one: Worker, request: Request) -> Request:
    """Let the worker run until the request has ended."""
    thread = threading.Thread(target=one.run)
    thread.start()
    until(lambda: site.own.store.queue.find(request.id, site.account_id).ended)
    one.drain()
    thread.join()
    return site.own.store.queue.find(request.id, site.account_id)


def told(site: Website, receiver: Receiver, tracing: Tracing) -> str | None:
    """Send what the outbox has; the `traceparent` that came in with it."""
    claimed = site.own.store.webhooks.outbox.claim()
    assert claimed is not None
    with PublicClient(frozenset([receiver.host]), 10) as client:
        own = WebhookSettings(senders=1, poll=1, timeout=1)
        sender = WebhookSender(site.own.store.webhooks.outbox, client, own, tracing)
        outcome = sender.send(*claimed)
        assert outcome.succeeded, outcome
        site.own.store.webhooks.outbox.record(claimed[0], outcome)
    return receiver.messages[-1].headers.get("traceparent")


def name(span: ReadableSpan) -> str:
    """What the span is called in a `traceparent`."""
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-01"


def above(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"00-{span.parent.trace_id:032x}-{span.parent.span_id:016x}-01"


def test_one_trace_from_the_caller_to_the_webhook(
    site: Website, receiver: Receiver, tracing: Tracing, memory: InMemorySpanExporter, weights: Path
) -> None:
    one = worker(site, weights, tracing)
    request = work(site, one, submit(site, receiver, SENT))
    assert request.status == "COMPLETED", request.error
    sent_on = told(site, receiver, tracing)
    spans = {span.name: span for span in memory.get_finished_spans()}
    assert set(spans) == {"submit", "webhook", *Stage}
    assert above(spans["submit"]) == SENT
    assert request.metadata.traceparent == name(spans["submit"])
    assert {above(span) for span in spans.values() if span.name != "submit"} == {name(spans["submit"])}
    assert sent_on == name(spans["webhook"])
    assert {span.context.trace_id for span in spans.values()} == {int(TRACE, 16)}
    for stage in Stage:
        about = spans[stage].attributes or {}
        assert (about["tintype.request"], about["tintype.worker"], about["tintype.attempt"]) == (request.id, "w1", 1)
    in_order = [Stage.QUEUE, Stage.FETCH, Stage.ENCODE, Stage.DENOISE, Stage.DECODE, Stage.DELIVER]
    ends = [spans[stage].end_time or 0 for stage in in_order]
    assert [*sorted(ends)] == ends
    everything = "".join(span.to_json() for span in spans.values())
    assert not [private for private in (PRIVATE, site.secret, site.account_id) if private in everything]
    counts = one.timings.counts()
    runs = {stage: counts[STAGE_RUNS.key(SLUG, stage)] for stage in Stage}
    assert runs == dict.fromkeys(Stage, 1) | {Stage.LOAD: 3}, "weights come when they are needed"
    assert all(counts[STAGE_SECONDS.key(SLUG, stage)] >= 0 for stage in Stage)


def test_a_stage_that_fails_says_so_without_the_error_s_words(
    site: Website, tracing: Tracing, memory: InMemorySpanExporter
) -> None:
    stored = site.own.store.queue.submit(new_request(site.key, SLUG, {"prompt": PRIVATE}, 1, traceparent=SENT))
    site.own.store.queue.cancel(stored.id, site.account_id)
    with pytest.raises(ValueError, match="secret"):
        Timings("w1", tracing).run(stored, Stage.DECODE, int, "secret")
    with pytest.raises(ValueError, match="secret"), tracing.span("submit", SENT):
        int("secret")
    for span in memory.get_finished_spans():
        assert span.attributes is not None
        assert (span.status.status_code, span.attributes["error.type"]) == (StatusCode.ERROR, "ValueError")
        assert "secret" not in span.to_json()
        assert above(span) == SENT
    assert len(memory.get_finished_spans()) == 2


def test_what_is_logged_in_a_stage_names_the_request(site: Website) -> None:
    request = site.submit()
    site.own.store.queue.cancel(request.id, site.account_id)
    stages = Timings("w1")
    with capture_logs(processors=[merge_contextvars]) as logged:
        stages.run(request, Stage.DELIVER, structlog.get_logger().info, "picture checked")
        structlog.get_logger().info("worker ready")
    assert [line.get("request") for line in logged] == [request.id, None]


def test_without_a_tracer_the_caller_s_header_goes_through(site: Website, receiver: Receiver) -> None:
    request = submit(site, receiver, SENT)
    assert request.metadata.traceparent == SENT
    site.own.store.queue.cancel(request.id, site.account_id)
    assert told(site, receiver, NO_TRACES) == SENT


@pytest.mark.parametrize("sent", ["", "nonsense", f"00-{'0' * 32}-00f067aa0ba902b7-01", SENT.upper(), SENT + "0" * 99])
def test_a_header_that_is_not_of_the_standard_s_form_is_ignored(sent: str) -> None:
    with NO_TRACES.span("submit", sent) as traceparent:
        assert traceparent is None


def test_an_exporter_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TINTYPE_TRACES", "otlp_of_nowhere")
    refused = words(here("queue", "status", "--data", tmp_path))
    assert "TINTYPE_TRACES: no exporter otlp_of_nowhere is installed; there are: console" in refused


#: In a process of its own: the SDK's exporter holds on to the stdout that it found when it was imported.
EXPORT = """
import sys
from tintype.telemetry.traces import open_tracing
opened = open_tracing("console", "web", "web-1:8000")
with opened.span("submit", sys.argv[1], model="a"):
    pass
opened.close()
"""


def test_an_installed_exporter_gets_the_spans() -> None:
    told = subprocess.run([sys.executable, "-c", EXPORT, SENT], capture_output=True, text=True, check=True)
    span = json.loads(told.stdout)
    assert (span["name"], span["parent_id"], span["attributes"]) == (
        "submit",
        "0x00f067aa0ba902b7",
        {"tintype.model": "a"},
    )
    about = span["resource"]["attributes"]
    names = ("service.name", "service.version", "service.instance.id")
    assert [about[name] for name in names] == ["tintype-web", __version__, "web-1:8000"]


def test_what_senders_log_names_the_request(site: Website, receiver: Receiver) -> None:
    request = submit(site, receiver, "")
    site.own.store.queue.cancel(request.id, site.account_id)
    receiver.answer = lambda _: (500, {})
    with (
        capture_logs(processors=[merge_contextvars]) as logged,
        PublicClient(frozenset([receiver.host]), 10) as client,
        WebhookSender(site.own.store.webhooks.outbox, client, WebhookSettings(senders=2, poll=0.02, timeout=5)),
    ):
        until(lambda: logged)
    receiver.answer = lambda _: (204, {})
    [line] = logged
    assert (line["event"], line["request"]) == ("webhook not taken", request.id)


def test_a_collector_is_sent_the_spans(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://{receiver.host}")
    tracing = open_tracing("otlp_proto_http", "test")
    before = len(receiver.messages)
    with tracing.span("submit", SENT, model=SLUG):
        pass
    tracing.close()
    [sent] = [one for one in receiver.messages[before:] if one.path == "/v1/traces"]
    told = ExportTraceServiceRequest.FromString(sent.body)
    [span] = told.resource_spans[0].scope_spans[0].spans
    assert (span.name, span.trace_id.hex(), span.parent_span_id.hex()) == ("submit", *SENT.split("-")[1:3])
    assert [(one.key, one.value.string_value) for one in span.attributes] == [("tintype.model", SLUG)]


def test_a_collector_that_is_away_is_a_line_however_often_it_is_tried(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "QUIET", 0.0)
    provider, memory = TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(memory))
    provider.get_tracer("test").start_span("submit").end()
    spans = memory.get_finished_spans()
    away = OTLPSpanExporter("http://127.0.0.1:9/v1/traces", timeout=0.05)  # seconds, its own pauses and tries included
    exporter = LoggedExporter(away, "web")
    with capture_logs() as lines:
        for _ in range(5):
            exporter.export(spans)
        exporter._exporter = OTLPSpanExporter(f"http://{receiver.host}/v1/traces")
        exporter.export(spans)
    assert [(line["event"], line["service"]) for line in lines] == [
        ("traces can't be exported", "tintype-web"),
        ("traces are exported again", "tintype-web"),
    ]
    assert lines[1]["times"] == 5
    assert not logging.getLogger("opentelemetry.exporter").propagate, "its own lines would come beside"
    for one in (away, exporter):
        one.shutdown()
