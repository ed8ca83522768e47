"""What a client may take of the server's connections: raw sockets against a real server whose bounds are tight."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import pairwise
from pathlib import Path

import pytest
from tests import clients
from tests.acceptance.test_http_helpers import TEXT, quick
from tests.clients import LONG, call_bytes
from tests.integration.sse import following
from tests.integration.website import Website, serving

from tintype.settings.groups import WebSettings
from tintype.web.connections import Bounds

HEALTH = b"GET /health HTTP/1.1\r\nhost: a\r\n\r\n"
TIGHT = {"head_timeout": 0.4, "transfer_timeout": 0.4, "transfer_rate": 20_000}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    """A server that waits for nobody."""
    with serving(tmp_path_factory.mktemp("tight"), events_heartbeat=0.5, **TIGHT) as website:
        yield website


@pytest.fixture
def dial(site: Website) -> Iterator[Callable[..., socket.socket]]:
    """Opens connections to it, and closes them at the end."""
    with ExitStack() as closing:
        yield lambda received=0: closing.enter_context(clients.dial(site.address, received))


def rest(one: socket.socket) -> bytes:
    """All that still comes until the server closes; fails if it doesn't."""
    came = bytearray()
    with suppress(ConnectionResetError):
        while data := one.recv(65536):
            came += data
    return bytes(came)


def answered(one: socket.socket) -> int:
    """Read the head of an answer, and its body if it has a length; its status."""
    came = b""
    while b"\r\n\r\n" not in came:
        came += more(one)
    head, _, body = came.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head)
    while length and len(body) < int(length[1]):
        body += more(one)
    return int(head.split()[1])


def more(one: socket.socket, size: int = 65536) -> bytes:
    """Some of what still comes; fails where the server has closed."""
    data = one.recv(size)
    assert data, "the server has closed the connection in the midst of an answer"
    return data


def drip(one: socket.socket, data: bytes, pause: float = 0.05) -> int:
    """Send byte by byte until the server closes or answers; how many it took."""
    for sent, byte in enumerate(data):
        one.settimeout(pause)
        with suppress(TimeoutError):
            one.recv(1, socket.MSG_PEEK)
            one.settimeout(LONG)
            return sent
        one.settimeout(LONG)
        try:
            one.send(bytes([byte]))
        except (BrokenPipeError, ConnectionResetError):
            return sent
    return len(data)


def post(site: Website, body: bytes = b"", length: int | None = None, **headers: str) -> bytes:
    """A submit, whose length may be a lie."""
    return call_bytes("POST", f"/v2/{TEXT}", site.secret, body, length, **headers)


def body_of(size: int) -> bytes:
    """A good body of this many bytes."""
    return json.dumps(quick(x="y" * (size - len(json.dumps(quick(x="")))))).encode()


def refusal(answer: bytes, status: int) -> str:
    """Check an answer that a connection ended with; its `error`."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"connection: close" in head.lower()
    told = json.loads(body)
    assert told.keys() == {"error", "error_description", "status_code"}
    assert told["status_code"] == status
    return str(told["error"])


def queued(site: Website) -> int:
    """Pictures of this account that wait."""
    with site.http() as http:
        return len(http.get("/inference-request/request-history").json()["data"])


def test_who_says_nothing_is_told_nothing(dial: Callable[..., socket.socket]) -> None:
    """A browser opens connections ahead, and takes whatever lies there for its next call's answer."""
    assert rest(dial()) == b""


@pytest.mark.parametrize("before", [b"", HEALTH], ids=["new", "kept"])
def test_half_a_head(dial: Callable[..., socket.socket], before: bytes) -> None:
    one = dial()
    if before:
        one.sendall(before)
        assert answered(one) == 200
    one.sendall(HEALTH[:-2])
    assert "did not come in time" in refusal(rest(one), 408)


def test_half_a_head_behind_a_whole_call(dial: Callable[..., socket.socket]) -> None:
    one = dial()
    one.sendall(HEALTH + HEALTH[:-2])
    assert answered(one) == 200
    refusal(rest(one), 408)


def test_a_head_byte_by_byte(dial: Callable[..., socket.socket]) -> None:
    one = dial()
    assert drip(one, HEALTH) < len(HEALTH)
    refusal(rest(one), 408)


def test_half_a_body(site: Website, dial: Callable[..., socket.socket]) -> None:
    before = queued(site)
    one = dial()
    one.sendall(post(site, body_of(500)[:-1], length=500))
    refusal(rest(one), 408)
    assert queued(site) == before


def test_the_end_of_a_head_is_seen_wherever_packets_end(site: Website, dial: Callable[..., socket.socket]) -> None:
    """The lines of a body aren't the head's."""
    whole = post(site, b"\n" * 400 + body_of(500))
    for cut in range(whole.index(b"\r\n\r\n") - 1, whole.index(b"\r\n\r\n") + 6):
        one = dial()
        one.sendall(whole[:cut])
        time.sleep(0.02)
        one.sendall(whole[cut:])
        assert answered(one) == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_byte_by_byte(site: Website, dial: Callable[..., socket.socket], chunked: bool) -> None:
    """Never quiet for long, and yet too slow."""
    one, body = dial(), body_of(500)
    if chunked:
        one.sendall(post(site, b"1f4\r\n", transfer_encoding="chunked"))
    else:
        one.sendall(post(site, length=500))
    assert drip(one, body, 0.02) < 500
    refusal(rest(one), 408)


def test_a_body_after_the_answer(site: Website, dial: Callable[..., socket.socket]) -> None:
    """What nobody reads any more isn't waited for, however steadily it comes."""
    one = dial()
    one.sendall(post(site, length=10**9).replace(site.secret.encode(), b"SG_nobody's"))
    assert answered(one) == 401
    sent = 0
    with suppress(BrokenPipeError, ConnectionResetError):
        while sent < 10**9:
            sent += one.send(b"x" * 1000)
            time.sleep(0.01)
    assert sent < 10**6


def test_a_slow_but_honest_body_is_waited_for(tmp_path: Path) -> None:
    """Several times as long as anybody may be quiet; a machine that is busy may be quiet for a while too."""
    body = body_of(240_000)
    with serving(tmp_path, **TIGHT | {"transfer_timeout": 2.0}) as site, clients.dial(site.address) as one:
        one.sendall(post(site, length=len(body)))
        for start, end in pairwise(range(0, len(body) + 1, 12_000)):
            time.sleep(0.3)
            one.sendall(body[start:end])
        assert answered(one) == 200


def test_calls_that_wait_here_may_last(site: Website) -> None:
    """Events and a v1 call, for several times as long as any client may."""
    test = site.own.store.accounts.keys.create(site.account_id, "test", test=True)[1]
    with site.http(test) as http:
        asked = http.post(f"/v1/{TEXT}", json=quick(prompt="test:processing:2"))
        assert (asked.status_code, asked.headers["x-mode"]) == (200, "test")
    request = site.submit()
    with site.http() as http, following(http, request.id) as events:
        names = [next(events).name]
        while names.count("comment") < 3 or "queued" not in names:  # on a busy machine a comment may come first
            names.append(next(events).name)
    assert {*names} == {"queued", "comment"}


def test_who_does_not_read_is_left(site: Website, dial: Callable[..., socket.socket]) -> None:
    """Neither at all, nor a little now and then; who reads steadily gets all of it, however long it takes."""
    size = 12_000_000
    name = site.own.files.outputs.put(b"x" * size, "png")
    ask = f"GET /files/{name} HTTP/1.1\r\nhost: a\r\n\r\n".encode()
    for pause, read in ((0.3, 1_000), (None, 0)):
        one = dial(8192)
        one.sendall(ask)
        one.recv(1, socket.MSG_PEEK)  # the server has begun: a connection that it doesn't know yet would seem closed
        came = 0
        for _ in range(8 if pause else 0):
            time.sleep(pause or 0)
            came += len(one.recv(read))
        wait_closed(site, one)
        assert came + held(one) < size
    steady = dial(250_000)
    steady.sendall(ask)
    came = 0
    while came < size:
        time.sleep(0.05)
        came += len(more(steady, 1_000_000))


def held(one: socket.socket) -> int:
    """Bytes that the system still has of an answer whose server has closed; it may take minutes to give all of them."""
    came = 0
    one.settimeout(1)
    with suppress(ConnectionResetError, TimeoutError):
        while data := one.recv(65536):
            came += len(data)
    return came


def wait_closed(site: Website, one: socket.socket) -> None:
    """Until the server has closed the other end of a connection."""
    ours, until = one.getsockname(), time.monotonic() + LONG
    while any(other.client == ours for other in list(site.server.server_state.connections)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_length_in_two_ways_is_refused(site: Website, dial: Callable[..., socket.socket]) -> None:
    """RFC 9112, section 6.1: two readers would take it for one request and for two."""
    before = queued(site)
    smuggled = b"0\r\n\r\n" + HEALTH
    for version in ("1.1", "1.0"):
        one = dial()
        ask = post(site, smuggled, len(smuggled) if version == "1.1" else None, transfer_encoding="chunked")
        one.sendall(ask.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1))
        assert "Content-Length or Transfer-Encoding" in refusal(rest(one), 400)
    assert queued(site) == before


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: " + b"y" * 100_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 25_000, 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 201 + b"\r\n", 431),
        (b"GET /" + b"y" * 100_000, 431),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500, 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ],
)
def test_what_is_not_http(dial: Callable[..., socket.socket], sent: bytes, status: int) -> None:
    one = dial()
    with suppress(BrokenPipeError, ConnectionResetError):
        one.sendall(sent)
    came = rest(one)
    if came or len(sent) < 1_000:  # what the server doesn't read any more may reset the connection, answer and all
        refusal(came, status)


def test_a_body_of_crumbs_is_refused(site: Website, dial: Callable[..., socket.socket]) -> None:
    """What reading a chunk costs doesn't depend on its size; a few hundred small ones may be."""
    body = body_of(5_000)
    few = b"".join(b"14\r\n%b\r\n" % body[start : start + 20] for start in range(0, len(body), 20))
    one = dial()
    one.sendall(post(site, few + b"0\r\n\r\n", transfer_encoding="chunked"))
    assert answered(one) == 200
    many = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    one = dial()
    with suppress(BrokenPipeError, ConnectionResetError):
        one.sendall(post(site, many, transfer_encoding="chunked"))
    came = rest(one)
    assert not came or "251 chunks" in refusal(came, 400)


def test_leave_to_send_a_body_that_is_not_given(site: Website, dial: Callable[..., socket.socket]) -> None:
    """Whoever asks first, and is refused, may not take the next request for that body."""
    ask = post(site, length=20_000, expect="100-continue")
    one = dial()
    one.sendall(ask.replace(site.secret.encode(), b"SG_nobody's"))
    assert rest(one).startswith(b"HTTP/1.1 401")
    one = dial()
    one.sendall(ask)
    assert one.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
    one.sendall(body_of(20_000))
    assert answered(one) == 200


@pytest.mark.parametrize("upgrade", ["h2c", "websocket"])
def test_an_offer_to_upgrade_is_ignored(site: Website, dial: Callable[..., socket.socket], upgrade: str) -> None:
    one = dial()
    offer = {"connection": "Upgrade, HTTP2-Settings", "upgrade": upgrade, "http2-settings": "AAEAAEAA"}
    one.sendall(post(site, body_of(500), **offer))
    assert answered(one) == 200


def test_many_calls_at_once_on_one_connection(dial: Callable[..., socket.socket]) -> None:
    one, calls = dial(), 1_000
    one.sendall(HEALTH * (calls - 1) + HEALTH.replace(b"host: a", b"host: a\r\nconnection: close"))
    assert rest(one).count(b"HTTP/1.1 200") == calls


def test_connections_that_wait_give_way(tmp_path: Path) -> None:
    """The one that has been without a call for longest first; calls stay, and more than those find no place."""
    with serving(tmp_path, connections=6, trusted_proxies="127.0.0.1") as site, ExitStack() as closing:
        idle = [closing.enter_context(clients.dial(site.address)) for _ in range(40)]
        assert [rest(one) for one in idle[:-6]] == [b""] * 34
        last = idle[-1]
        last.sendall(HEALTH)
        assert answered(last) == 200
        request = site.submit()
        ask = f"GET /v2/requests/{request.id}/events HTTP/1.1\r\nhost: a\r\nx-api-key: {site.secret}\r\n\r\n"
        streams = [closing.enter_context(clients.dial(site.address)) for _ in range(6)]
        for stream in streams:
            stream.sendall(ask.encode())
            assert answered(stream) == 200
        late = closing.enter_context(clients.dial(site.address))
        came = rest(late)
        assert "maximum number of connections" in refusal(came, 503)
        assert b"retry-after" in came
        streams.pop().close()
        site.complete(site.claim())
        for stream in streams:
            while b"event: completed" not in more(stream):
                pass


@pytest.mark.parametrize(("proxies", "kept"), [("", 3), ("127.0.0.1", 10)])
def test_one_address_has_a_part_of_them(tmp_path: Path, proxies: str, kept: int) -> None:
    """A proxy's address speaks for many, and may have all."""
    settings = {"peer_connections": 3, "trusted_proxies": proxies}
    with serving(tmp_path, **settings) as site, ExitStack() as closing:
        some = [closing.enter_context(clients.dial(site.address)) for _ in range(10)]
        assert [rest(one) for one in some[: 10 - kept]] == [b""] * (10 - kept)
        for one in some[10 - kept :]:
            one.sendall(HEALTH)
            assert answered(one) == 200


@pytest.mark.parametrize(
    ("settings", "files", "total", "per_client"),
    [
        ({}, 65_536, 2_048, 512),
        ({}, 1_024, 512, 128),
        ({}, 256, 128, 32),  # what shells and services often give: one address must not have all that this leaves
        ({"connections": 100}, 65_536, 100, 25),
        ({"peer_connections": 3}, 256, 128, 3),
        ({"connections": 2}, 8, 2, 1),
    ],
)
def test_one_address_never_has_all(settings: dict[str, int], files: int, total: int, per_client: int) -> None:
    bounds = Bounds.of(WebSettings(**settings), files)
    assert (bounds.total, bounds.per_client) == (total, per_client)
