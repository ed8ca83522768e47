"""The server's own address."""

from __future__ import annotations

import pytest
from fastapi import Request as HttpRequest

from tintype.cli.web_server import listen
from tintype.errors import BadRequest
from tintype.settings import Settings
from tintype.web.clients import base_url, own_path

DIRECT = Settings()
BEHIND = Settings.of(trusted_proxies="10.0.0.1")


def request(peer: str | None = "10.0.0.1", scheme: str = "http", **headers: str) -> HttpRequest:
    named = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    client = None if peer is None else (peer, 1234)
    return HttpRequest(
        {"type": "http", "scheme": scheme, "path": "/", "query_string": b"", "headers": named, "client": client}
    )


@pytest.mark.parametrize(
    ("host", "opened"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("localhost", "localhost"),
    ],
)
def test_what_a_browser_on_this_machine_opens(host: str, opened: str) -> None:
    listener = listen(host, 0)
    with listener.socket as listening:
        assert listener.local_url == f"http://{opened}:{listening.getsockname()[1]}"


@pytest.mark.parametrize(
    "host", ["a.example", "a.example:8080", "127.0.0.1:1", "[::1]", "[::1]:80", "a_b", "LOCALHOST"]
)
def test_the_host_header(host: str) -> None:
    assert base_url(request(host=host), DIRECT) == f"http://{host}"
    assert base_url(request(host=host, scheme="https"), DIRECT) == f"https://{host}"


@pytest.mark.parametrize(
    "host", ["", "a b", "a/b", "a?b", "a#b", "u@a", "a:b", "a:", "[::1", "::1", "a\\b", "<a>", "\xe4"]
)
def test_what_is_no_host(host: str) -> None:
    with pytest.raises(BadRequest, match="Host"):
        base_url(request(host=host), DIRECT)
    with pytest.raises(BadRequest, match="Host"):
        base_url(request(host="a.example", x_forwarded_host=host), BEHIND)


@pytest.mark.parametrize("host", ["a,b", "a\n", " a"])
def test_what_is_no_host_unless_a_proxy_lists_it(host: str) -> None:
    with pytest.raises(BadRequest, match="Host"):
        base_url(request(host=host), DIRECT)


def test_no_host_at_all() -> None:
    with pytest.raises(BadRequest):
        base_url(request(), DIRECT)


def test_only_a_trusted_proxy_is_believed() -> None:
    forwarded = {"host": "in", "x_forwarded_host": "out.example", "x_forwarded_proto": "https"}
    assert base_url(request(**forwarded), DIRECT) == "http://in"
    assert base_url(request("10.0.0.2", **forwarded), BEHIND) == "http://in"
    assert base_url(request(None, **forwarded), BEHIND) == "http://in"
    assert base_url(request("10.0.0.1", **forwarded), BEHIND) == "https://out.example"


def test_the_first_of_several_proxies_is_the_callers() -> None:
    chain = {"x_forwarded_host": "out.example, mid.example", "x_forwarded_proto": "https, http"}
    assert base_url(request(host="in", **chain), BEHIND) == "https://out.example"


@pytest.mark.parametrize("scheme", ["ftp", "javascript", "", "wss", "https://", "x" * 999])
def test_a_scheme_that_is_none(scheme: str) -> None:
    with pytest.raises(BadRequest, match=r"^X-Forwarded-Proto: .* allowed: http and https$") as refused:
        base_url(request(host="in", x_forwarded_proto=scheme), BEHIND)
    assert len(refused.value.message) < 200


@pytest.mark.parametrize("scheme", ["HTTPS", "Https", " https ", "https,HTTP"])
def test_a_scheme_in_any_case(scheme: str) -> None:
    assert base_url(request(host="in", x_forwarded_proto=scheme), BEHIND) == "https://in"


def test_the_header_that_is_wrong_is_named() -> None:
    with pytest.raises(BadRequest, match=r"^Host: 'a b' was sent; allowed: a host name"):
        base_url(request(host="a b"), BEHIND)
    with pytest.raises(BadRequest, match=r"^X-Forwarded-Host: 'a b' was sent"):
        base_url(request(host="in", x_forwarded_host="a b"), BEHIND)


@pytest.mark.parametrize(
    ("proxies", "peer", "trusted"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.1/8", "10.9.9.9", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.0/104", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("127.0.0.1, fd00::/8", "fd12::1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "192.0.2.1", True),
        ("0.0.0.0/0", "2001:db8::1", False),
        ("0.0.0.0/0,::/0", "2001:db8::1", True),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "testclient", False),
        ("", "10.0.0.1", False),
    ],
)
def test_networks_of_proxies(proxies: str, peer: str, trusted: bool) -> None:
    asked = request(peer, host="in", x_forwarded_host="out.example")
    assert base_url(asked, Settings.of(trusted_proxies=proxies)) == f"http://{'out.example' if trusted else 'in'}"


def test_the_operators_word_comes_first() -> None:
    own = Settings.of(public_url="https://own.example/api/", trusted_proxies="10.0.0.1")
    assert base_url(request(host="<nonsense>", x_forwarded_host="out.example"), own) == "https://own.example/api"


def test_the_path_below_which_a_proxy_has_it() -> None:
    asked = {"host": "a.example", "x_forwarded_prefix": "/tintype/"}
    assert base_url(request(**asked), BEHIND) == "http://a.example/tintype"
    assert base_url(request("10.0.0.2", **asked), BEHIND) == "http://a.example"
    assert base_url(request(**asked), Settings.of(public_url="https://b.example/x/")) == "https://b.example/x"


@pytest.mark.parametrize("prefix", ["tintype", "//evil.example", "/a b", "/a?b", "/a//b", "/<a>", "/a#b"])
def test_what_is_no_path(prefix: str) -> None:
    with pytest.raises(BadRequest, match="X-Forwarded-Prefix"):
        base_url(request(host="a.example", x_forwarded_prefix=prefix), BEHIND)


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://127.0.0.1/files/a.png", "/files/a.png"),
        ("http://127.0.0.1", "/"),
        ("http://127.0.0.1/", "/"),
        ("/files/a.png", "/files/a.png"),
        ("http://127.0.0.1:9000/x.jpg", "http://127.0.0.1:9000/x.jpg"),
        ("http://127.0.0.10/x.jpg", "http://127.0.0.10/x.jpg"),
        ("http://127.0.0.1.example.com/x.jpg", "http://127.0.0.1.example.com/x.jpg"),
        ("http://127.0.0.1@example.com/x.jpg", "http://127.0.0.1@example.com/x.jpg"),
        ("https://127.0.0.1/x.jpg", "https://127.0.0.1/x.jpg"),
        ("iVBORw0KGgo=", "iVBORw0KGgo="),
    ],
)
def test_an_address_of_this_server_is_a_path_and_anothers_is_not(address: str, path: str) -> None:
    assert own_path(address, "http://127.0.0.1") == path


@pytest.mark.parametrize("more", ["2", "-test", ".old"])
def test_another_path_that_begins_alike_is_another_server(more: str) -> None:
    assert own_path(f"http://a.example/tin{more}/a.png", "http://a.example/tin") == f"http://a.example/tin{more}/a.png"


@pytest.mark.parametrize("base", ["http://gpu", "https://a.example:8443/tintype"])
def test_an_address_of_this_server_is_its_path(base: str) -> None:
    assert own_path(f"{base}/files/x.png", base) == "/files/x.png"
    assert own_path(f"{base.upper()}/files/X.png", base) == "/files/X.png"
    assert own_path(base, base) == own_path(f"{base}/", base) == "/"
    for path in ("", "/files/x.png", "data:,x"):
        assert own_path(path, base) == path


@pytest.mark.parametrize("rest", ["2/x.png", ":8080/x.png", ".example/x.png", "@b/x.png", "?x", "data:,x"])
def test_an_address_that_begins_alike_is_anothers(rest: str) -> None:
    assert own_path(f"http://gpu{rest}", "http://gpu") == f"http://gpu{rest}"
