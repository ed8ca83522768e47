"""Downloads from real servers on loopback, which only an allow-list lets through."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tintype.errors import AddressRefused, BadPicture, PictureUnreachable
from tintype.media.http import MAX_REDIRECTS, PublicClient
from tintype.media.network import Cancellation

LIMIT = 10_000
#: For what is meant to run out, and for what isn't, however busy the machine.
SECONDS, PLENTY = 0.6, 60.0
Serve = Callable[..., str]


def answer(status: str = "200 OK", body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


class Server:
    """Answers each connection in turn with the next of its answers (the last one for ever), piece by piece."""

    def __init__(self, *answers: bytes | list[bytes], pause: float = 0) -> None:
        self._answers = answers
        self._pause = pause
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self.port = self._listener.getsockname()[1]
        self.asked: list[bytes] = []
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            peer, _ = self._listener.accept()
            with peer:
                if self._over.is_set():
                    return
                self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        try:
            request = b""
            while b"\r\n\r\n" not in request:
                got = peer.recv(65536)
                if not got:
                    return
                request += got
            sent = self._answers[min(len(self.asked), len(self._answers) - 1)]
            self.asked.append(request)
            for piece in sent if isinstance(sent, list) else [sent]:
                peer.sendall(piece)
                if self._over.wait(self._pause):
                    return
        except OSError:
            return  # the client has hung up, as it should on some of these answers


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start(stack: ExitStack, *answers: bytes | list[bytes], pause: float = 0) -> tuple[Server, str]:
    server = Server(*answers, pause=pause)
    stack.callback(server.close)
    return server, f"127.0.0.1:{server.port}"


def fetch(url: str, *allow: str, max_redirects: int = MAX_REDIRECTS, seconds: float = PLENTY) -> bytes:
    with PublicClient(frozenset(allow), seconds) as client:
        return client.get(url, LIMIT, max_redirects=max_redirects)


def test_a_picture(stack: ExitStack) -> None:
    server, host = start(stack, answer("200 OK", b"picture", "Content-Length: 7", "Set-Cookie: a=b"))
    with PublicClient(frozenset({host}), PLENTY) as client:
        for _ in range(2):
            assert client.get(f"http://{host}/a%20b/c.png?size=large#part", LIMIT) == b"picture"
    first, second = server.asked
    assert first.startswith(b"GET /a%20b/c.png?size=large HTTP/1.1\r\n")
    assert f"host: {host}\r\n" in first.decode().lower()
    assert b"accept-encoding: identity" in first.lower()
    assert second == first  # no cookie


@pytest.mark.parametrize("place", ["https:////x[/", "//-.xn--a/", "http://%zz.xn--b/", "https:////]x[/"])
def test_a_redirect_to_no_address(stack: ExitStack, place: str) -> None:
    _, host = start(stack, answer("302 Found", b"", f"Location: {place}"))
    with pytest.raises(PictureUnreachable, match="not a valid URL"):
        fetch(f"http://{host}/", host)


def test_the_allow_list(stack: ExitStack) -> None:
    _, host = start(stack, answer("200 OK", b"picture"))
    port = host.split(":")[1]
    assert fetch(f"http://localhost:{port}/", "LocalHost") == b"picture"
    assert fetch(f"http://localhost:{port}/", f"localhost:{port}") == b"picture"
    for allow in ((), ("localhost:1",), ("example.com",), ("127.0.0.1",)):
        with pytest.raises(AddressRefused):
            fetch(f"http://localhost:{port}/", *allow)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "2130706433",
        "0x7f.1",
        "0.0.0.0",
        "169.254.169.254",
        "10.0.0.1",
    ],
)
def test_from_inside(stack: ExitStack, host: str) -> None:
    server, at = start(stack, answer("200 OK", b"secret"))
    with pytest.raises(AddressRefused) as refused:
        fetch(f"http://{host}:{at.split(':')[1]}/")
    assert str(refused.value) == f"{host.strip('[]')}: not a public address"
    assert not server.asked


def resolved(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Each lookup of a name gives the next of these addresses; the names asked for."""
    lookup, names, left = socket.getaddrinfo, [], list(answers)

    def pretend(host: str, port: int, *args: int, **options: int) -> object:
        names.append(host)
        return lookup(left.pop(0) if left else host, port, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", pretend)
    return names


def test_a_name_that_resolves_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved(monkeypatch, "10.20.30.40")
    with pytest.raises(AddressRefused) as refused:
        fetch("http://rebind.example/")
    assert "10.20.30.40" not in str(refused.value.public())


def test_dns_rebinding(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public when checked and local when connected to: it is looked up once."""
    server, at = start(stack, answer("200 OK", b"secret"))
    names = resolved(monkeypatch, "192.0.2.1", "127.0.0.1")
    monkeypatch.setattr("tintype.media.network.is_public", lambda address: address == "192.0.2.1")
    with pytest.raises(BadPicture):
        fetch(f"http://rebind.example:{at.split(':')[1]}/")
    assert names.count("rebind.example") == 1
    assert not server.asked


def test_the_peer_is_checked_again(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if the system connected to another address than it was told to."""
    server, at = start(stack, answer("200 OK", b"secret"))
    resolved(monkeypatch, "8.8.8.8", "127.0.0.1")
    with pytest.raises(AddressRefused):
        fetch(f"http://rebind.example:{at.split(':')[1]}/")
    assert not server.asked


def test_no_such_name() -> None:
    for host in ("nowhere.invalid", "a" * 70 + ".example"):
        with pytest.raises(PictureUnreachable, match="no address"):
            fetch(f"http://{host}/")


def test_a_silent_nameserver(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait(2 * PLENTY))
    begin = time.monotonic()
    with pytest.raises(PictureUnreachable, match=r"within 0\.6 s"):
        fetch("http://slow.example/", seconds=SECONDS)
    assert time.monotonic() - begin < PLENTY
    answered.set()


def test_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(PictureUnreachable, match=r"127\.0\.0\.1: Connection refused"):
        fetch(f"http://127.0.0.1:{port}/", "127.0.0.1")


def test_the_second_address_is_tried(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    _, at = start(stack, answer("200 OK", b"picture"))
    port = int(at.split(":")[1])
    lookup = socket.getaddrinfo

    def both(host: str, port: int, *args: int, **options: int) -> list[object]:
        hosts = ["127.0.0.2", "127.0.0.1"] if host == "two.example" else [host]
        return [entry for each in hosts for entry in lookup(each, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    assert fetch(f"http://two.example:{port}/", "two.example") == b"picture"


def test_redirects_are_followed(stack: ExitStack) -> None:
    server, host = start(
        stack,
        answer("302 Found", b"moved", "Location: /b/c.png"),
        answer("308 Permanent Redirect", b"", "Location: d.png"),
        answer("200 OK", b"picture"),
    )
    assert fetch(f"http://{host}/a", host) == b"picture"
    assert [request.split()[1] for request in server.asked] == [b"/a", b"/b/c.png", b"/b/d.png"]


def test_redirect_inside(stack: ExitStack) -> None:
    secret, hidden = start(stack, answer("200 OK", b"secret"))
    _, host = start(stack, answer("302 Found", b"", f"Location: http://{hidden}/"))
    with pytest.raises(AddressRefused):
        fetch(f"http://{host}/", host)
    assert not secret.asked


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://example.com/a", "gopher://example.com/", "data:,x", "http://me:pw@example.com/"],
)
def test_redirect_to_what_is_not_fetched(stack: ExitStack, location: str) -> None:
    _, host = start(stack, answer("301 Moved Permanently", b"", f"Location: {location}"))
    with pytest.raises(PictureUnreachable, match="fetched"):
        fetch(f"http://{host}/", host)


def test_redirect_loop(stack: ExitStack) -> None:
    server, host = start(stack, answer("302 Found", b"", "Location: /again"))
    with pytest.raises(PictureUnreachable, match="more than 3 redirects"):
        fetch(f"http://{host}/", host, max_redirects=3)
    assert len(server.asked) == 4


@pytest.mark.parametrize("headers", [(f"Content-Length: {LIMIT + 1}",), ()])
def test_too_large(stack: ExitStack, headers: tuple[str, ...]) -> None:
    _, host = start(stack, answer("200 OK", b"x" * (LIMIT + 1), *headers))
    with pytest.raises(PictureUnreachable, match="10000 bytes is the limit"):
        fetch(f"http://{host}/", host)


def test_too_large_is_refused_before_it_is_read(stack: ExitStack) -> None:
    # Without an end: whoever read it would be told of the time, not of the limit.
    _, host = start(stack, [answer("200 OK", b"", "Content-Length: 99999999999"), b"", b""], pause=3600)
    with pytest.raises(PictureUnreachable, match="10000 bytes is the limit"):
        fetch(f"http://{host}/", host)


def test_as_large_as_may_be(stack: ExitStack) -> None:
    _, host = start(stack, answer("200 OK", b"x" * LIMIT))
    assert len(fetch(f"http://{host}/", host)) == LIMIT


def test_slow_body(stack: ExitStack) -> None:
    drops = [answer("200 OK", b"", "Content-Length: 1000"), *[b"x"] * 1000]
    _, host = start(stack, drops, pause=SECONDS / 6)
    assert_in_time(f"http://{host}/", host)


def test_slow_headers(stack: ExitStack) -> None:
    drops = [b"HTTP/1.1 200 OK\r\n", *[b"x: y\r\n"] * 1000]
    _, host = start(stack, drops, pause=SECONDS / 6)
    assert_in_time(f"http://{host}/", host)


def test_slow_redirects(stack: ExitStack) -> None:
    """Each hop is quick enough, all of them together are not."""
    hop = answer("302 Found", b"", "Location: /again")
    _, host = start(stack, [b"", hop], pause=SECONDS / 2)
    assert_in_time(f"http://{host}/", host)


def assert_in_time(url: str, host: str) -> None:
    begin = time.monotonic()
    with pytest.raises(PictureUnreachable, match=r"within 0\.6 s"):
        fetch(url, host, seconds=SECONDS)
    assert SECONDS * 0.9 < time.monotonic() - begin < PLENTY


def test_compressed_although_not_asked(stack: ExitStack) -> None:
    _, host = start(stack, answer("200 OK", b"\x1f\x8b", "Content-Encoding: gzip"))
    with pytest.raises(PictureUnreachable, match="compressed"):
        fetch(f"http://{host}/", host)


def test_answers_before_the_answer_are_bounded(stack: ExitStack) -> None:
    before = b"HTTP/1.1 100 Continue\r\n\r\n"
    _, host = start(stack, before * 100 + answer("200 OK", b"picture"), [before * 1000] * 1000)
    assert fetch(f"http://{host}/", host) == b"picture"
    with pytest.raises(PictureUnreachable, match="not HTTP, or it broke off"):
        fetch(f"http://{host}/", host)


def test_an_answer_in_tiny_chunks(stack: ExitStack) -> None:
    tiny, small = b"1\r\na\r\n", b"258\r\n" + b"a" * 600 + b"\r\n"  # some of them in two pieces
    chunked = answer("200 OK", b"", "Transfer-Encoding: chunked")
    _, host = start(stack, chunked + tiny * 2000 + b"0\r\n\r\n", chunked + tiny * 2001)
    _, other = start(stack, chunked + small * 2000 + b"0\r\n\r\n")
    assert fetch(f"http://{host}/", host) == b"a" * 2000
    with PublicClient(frozenset({other}), PLENTY) as client:
        assert client.get(f"http://{other}/", 200 * LIMIT) == b"a" * 600 * 2000
    with pytest.raises(PictureUnreachable, match="in chunks of less than 512 bytes"):
        fetch(f"http://{host}/", host)


@pytest.mark.parametrize("coding", ["", "identity", " Identity "])
def test_a_coding_that_is_none(stack: ExitStack, coding: str) -> None:
    _, host = start(stack, answer("200 OK", b"x", f"Content-Encoding: {coding}"))
    assert fetch(f"http://{host}/", host) == b"x"


@pytest.mark.parametrize("status", ["404 Not Found", "204 No Content", "304 Not Modified", "503 Service Unavailable"])
def test_status(stack: ExitStack, status: str) -> None:
    _, host = start(stack, answer(status, b"", "Content-Length: 0"))
    with pytest.raises(PictureUnreachable) as error:
        fetch(f"http://{host}/path?token=secret", host)
    assert str(error.value) == f"127.0.0.1: HTTP status {status[:3]}"


@pytest.mark.parametrize("sent", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"])
def test_not_http(stack: ExitStack, sent: bytes) -> None:
    _, host = start(stack, sent)
    with pytest.raises(PictureUnreachable, match="not HTTP, or it broke off"):
        fetch(f"http://{host}/", host)


def test_no_tls_where_https_is_asked_for(stack: ExitStack) -> None:
    _, host = start(stack, answer("200 OK", b"picture"))
    with pytest.raises(PictureUnreachable, match=r"127\.0\.0\.1: "):
        fetch(f"https://{host}/", host, seconds=SECONDS)  # the server waits for an end of its request


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "example.com",
        "",
        "http://",
        "http://\n/",
        "http://a:99999/",
        "http://a:0/",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(PictureUnreachable):
        fetch(url)


def test_credentials_are_refused_and_not_repeated() -> None:
    with pytest.raises(PictureUnreachable) as error:
        fetch("http://me:hunter2@example.com/?token=secret")
    assert "hunter2" not in str(error.value)
    assert "secret" not in str(error.value)


def test_environment_proxies_are_not_used(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy, address = start(stack, answer("200 OK", b"from the proxy"))
    monkeypatch.setenv("HTTP_PROXY", f"http://{address}")
    monkeypatch.setenv("http_proxy", f"http://{address}")
    with pytest.raises(AddressRefused):
        fetch("http://10.0.0.1/")
    assert not proxy.asked


def given_up(url: str, *allow: str, when: Callable[[], bool]) -> None:
    """A download that is cancelled when something is so ends at once, long before its time is over."""
    cancellation = Cancellation()
    with PublicClient(frozenset(allow), PLENTY) as client, ThreadPoolExecutor(1) as threads:
        download = threads.submit(client.get, url, LIMIT, client.deadline(cancellation))
        while not when():
            time.sleep(0.01)
        cancellation.cancel()
        with pytest.raises(CancelledError):
            download.result(PLENTY / 4)
        with pytest.raises(CancelledError):
            client.get(url, LIMIT, client.deadline(cancellation))


def test_a_cancelled_download_stops_while_it_waits_for_an_answer(stack: ExitStack) -> None:
    server, host = start(stack, [b"", b""], pause=PLENTY)
    given_up(f"http://{host}/", host, when=lambda: bool(server.asked))
    assert len(server.asked) == 1


def test_a_cancelled_download_stops_while_a_body_drips(stack: ExitStack) -> None:
    server, host = start(stack, [answer("200 OK", b"a", "Content-Length: 9000"), *[b"a"] * 9000], pause=0.05)
    given_up(f"http://{host}/", host, when=lambda: bool(server.asked))


def test_a_cancelled_download_stops_in_the_handshake(stack: ExitStack) -> None:
    taken: list[socket.socket] = []
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    threading.Thread(target=lambda: taken.append(listener.accept()[0])).start()
    host = f"127.0.0.1:{listener.getsockname()[1]}"
    given_up(f"https://{host}/", host, when=lambda: bool(taken) and bool(taken[0].recv(1)))
    taken[0].close()


def test_a_cancelled_download_stops_while_it_connects(stack: ExitStack) -> None:
    """To a port whose queue is full, which answers nothing."""
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    port = listener.getsockname()[1]
    for _ in range(4):
        filler = stack.enter_context(socket.socket())
        filler.setblocking(False)
        filler.connect_ex(("127.0.0.1", port))
    begun = time.monotonic()
    given_up(f"http://127.0.0.1:{port}/", "127.0.0.1", when=lambda: time.monotonic() > begun + 0.3)


def test_a_cancelled_download_does_not_wait_for_a_lookup_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """But whoever gave it a place can."""
    asked, answered = threading.Event(), threading.Event()

    def silent(*_: object, **__: object) -> list[object]:
        asked.set()
        answered.wait(PLENTY)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", silent)
    cancellation = Cancellation()
    with PublicClient(frozenset(), PLENTY) as client, ThreadPoolExecutor(2) as threads:
        deadline = client.deadline(cancellation)
        download = threads.submit(client.get, "http://slow.example/", LIMIT, deadline)
        assert asked.wait(PLENTY)
        cancellation.cancel()
        with pytest.raises(CancelledError):
            download.result(PLENTY / 4)
        settled = threads.submit(deadline.settle)
        assert not settled.done()
        answered.set()
        settled.result(PLENTY)
