"""Progress and previews of a real worker, told by the server that was asked and by another one on the same data."""

from __future__ import annotations

import io
from base64 import b64decode
from collections.abc import Callable

import pytest
from PIL import Image

from tests.acceptance.harness import LONG_LEASE, Server
from tests.acceptance.test_http_helpers import OLD, slow, submit
from tests.integration.sse import told

QUICK = {"events_poll": 0.02, "heartbeat": 0.05, "lease": LONG_LEASE}


@pytest.mark.nightly  # test_machines has two servers with one database, too
def test_what_a_worker_does_is_told_by_every_server(new_server: Callable[..., Server]) -> None:
    server = new_server(**QUICK).start()
    other = Server(server.data, **{**server.settings, "devices": ""}).start()
    try:
        request_id = submit(server.http(), OLD, slow(samples=1))
        events = told(other.http(), request_id)
    finally:
        assert other.stop() == 0
    names = [event.name for event in events]
    assert [name for name in names if name not in ("queued", "progress", "preview")] == ["started", "completed"]
    steps = [event.data["step"] for event in events if event.name == "progress"]
    assert steps == sorted(set(steps))
    assert len(steps) > 2
    looks = [event.data for event in events if event.name == "preview"]
    assert looks
    head, _, encoded = looks[-1]["image"].partition(",")
    assert head == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(b64decode(encoded))) as image:
        assert image.size == (64, 64)
    again = told(server.http(), request_id)
    assert [event.name for event in again] == ["completed"]
    assert again[0].data["output"].rpartition("/")[2] == events[-1].data["output"].rpartition("/")[2]
    assert server.stop() == 0
