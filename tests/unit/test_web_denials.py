"""Log lines about failed authentications: which address, and how many of them."""

from __future__ import annotations

import pytest
from fastapi import Request
from structlog.testing import capture_logs

from tintype.settings import Settings
from tintype.store.accounts.keys import Key
from tintype.web.clients import MAX_ADDRESSES, MAX_LINES, DenialLog, client_address


class Clock:
    """Stands still until it is moved."""

    moment = 100.0

    def __call__(self) -> float:
        return self.moment


def test_one_line_a_second_tells_of_all_that_an_address_sent() -> None:
    clock = Clock()
    denials = DenialLog(clock)
    with capture_logs() as logs:
        for _ in range(500):
            denials.unauthorized("203.0.113.7", "no such key")
        denials.unauthorized("203.0.113.8", "no such key")
        clock.moment += 1
        denials.unauthorized("203.0.113.7", "revoked")
    assert [(line["client"], line["times"], line["why"]) for line in logs] == [
        ("203.0.113.7", 1, "no such key"),
        ("203.0.113.8", 1, "no such key"),
        ("203.0.113.7", 500, "revoked"),
    ]


def test_a_flood_from_everywhere_fills_neither_log_nor_memory() -> None:
    clock = Clock()
    denials = DenialLog(clock)
    with capture_logs() as logs:
        for number in range(3 * MAX_ADDRESSES):
            denials.unauthorized(f"2001:db8::{number:x}", "no such key")
        assert len(logs) == MAX_LINES
        clock.moment += 1
        denials.unauthorized("203.0.113.7", "no such key")
    assert (len(logs), len(denials._known)) == (MAX_LINES + 1, MAX_ADDRESSES)


def test_what_a_key_may_not_do_hides_no_guess() -> None:
    clock = Clock()
    denials = DenialLog(clock)
    key = Key("k1", "a1", "key", "SG_1a2b", None, read_only=True, created_at=0, expires_at=None, revoked_at=None)
    with capture_logs() as logs:
        for _ in range(5):
            denials.forbidden("203.0.113.7", "it may only read", key)
        denials.unauthorized("203.0.113.7", "no such key")
    assert [(line["event"], line.get("key")) for line in logs] == [
        ("not allowed", "SG_1a2b"),
        ("authentication failed", None),
    ]


BEHIND = Settings.of(trusted_proxies="10.0.0.0/30")


@pytest.mark.parametrize(
    ("peer", "told", "client"),
    [
        ("203.0.113.7", [], "203.0.113.7"),
        ("203.0.113.7", ["198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", ["1.2.3.4", "198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", ['x" , "client": "1.2.3.4'], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", ['fe80::1%" whatever a caller likes'], "fe80::1"),
        ("fe80::7%eth0", ["1.2.3.4"], "fe80::7%eth0"),
    ],
)
def test_an_address_is_believed_from_a_trusted_proxy_alone(peer: str, told: list[str], client: str) -> None:
    headers = [(b"x-forwarded-for", line.encode()) for line in told]
    http = Request({"type": "http", "client": (peer, 5), "headers": headers})
    assert client_address(http, BEHIND) == client
