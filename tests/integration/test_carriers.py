"""Input images that carry manifests: which are kept, and that a child has tried it first."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import c2pa
import pytest
from structlog.testing import capture_logs
from tests.unit.test_provenance import DRAWN, OURS, PLAIN, file

from tintype.core import STORED_INPUT, InputImage
from tintype.media.decoder import Decoder
from tintype.media.http import PublicClient
from tintype.media.network import Cancellation
from tintype.media.provenance.carriers import Carriers
from tintype.media.provenance.manifests import MAX_GROWTH, context_settings
from tintype.media.storage import Files
from tintype.worker.inputs import Inputs

LEFT_OUT = {"event": "the manifests of an input image can't be kept", "log_level": "warning"}


@pytest.fixture(scope="module")
def carriers() -> Iterator[Carriers]:
    with closing(Carriers()) as one:
        yield one


def signed(words: str, *others: bytes) -> bytes:
    """A good file of somebody else's, with an assertion of that text, and other files as ingredients."""
    signer = c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", OURS.chain.encode(), OURS.key.encode(), None))
    created = {"action": "c2pa.created", "digitalSourceType": DRAWN.source_uri}
    said: list[dict[str, Any]] = [
        {"label": "c2pa.actions.v2", "data": {"actions": [created]}},
        {"label": "org.example.words", "data": {"words": words}},
    ]
    found = io.BytesIO()
    context = c2pa.Context(c2pa.Settings.from_dict(context_settings()), signer)
    with c2pa.Builder({"claim_generator_info": [{"name": "other"}], "assertions": said}, context) as builder:
        for other in others:
            builder.add_ingredient({"title": "other", "relationship": "componentOf"}, "image/png", io.BytesIO(other))
        builder.sign("image/png", io.BytesIO(file()), found)
    return found.getvalue()


#: A text is a million characters at most.
SIGNED, HALF = signed("short"), "a" * (MAX_GROWTH // 2)
BULKY = signed("", signed(HALF), signed(HALF))


def test_what_can_be_kept_is_and_an_image_without_is_not_looked_at(carriers: Carriers) -> None:
    with capture_logs() as logs:
        assert carriers.of(SIGNED, Cancellation()) is SIGNED
        assert carriers.of(file(), Cancellation()) is None
    assert logs == []


@pytest.mark.parametrize(
    "data", [BULKY, b"\xff\xd8\xff\xe0jumb" + bytes(1000)], ids=["more than is kept", "a JPEG's beginning"]
)
def test_what_can_not_be_kept_is_left_out(carriers: Carriers, data: bytes) -> None:
    with capture_logs() as logs:
        assert carriers.of(data, Cancellation()) is None
    assert logs == [LEFT_OUT]


def test_a_request_that_is_cancelled_does_not_wait(carriers: Carriers) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(CancelledError):
        carriers.of(SIGNED, cancellation)


def test_a_worker_takes_only_what_a_child_could_keep(carriers: Carriers, tmp_path: Path) -> None:
    stored = Files(tmp_path, math.inf)
    with Inputs(stored, PublicClient(frozenset(), 1), Decoder(2**21, 10), 1, 2**23, (), carriers) as inputs:
        for data, kept in ((SIGNED, SIGNED), (BULKY, None)):
            params = replace(PLAIN, width=64, height=64, inputs=(InputImage(STORED_INPUT + stored.put(data, "png")),))
            with capture_logs():
                found = inputs.submit(params, "somebody", lambda: None, Cancellation()).result()
            assert found["init"].carrier == kept
