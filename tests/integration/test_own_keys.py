"""Keys that keys make over HTTP: never with more rights than their maker, shown once, rotated, revoked."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs
from tests.acceptance.test_http_helpers import refused
from tests.databases import Databases, statements
from tests.integration.website import Website, serving

from tintype.catalog.limits import LIMITS
from tintype.cli.startup import first_key

OLD, NEW = "sd1.5-img2img", "sd3-med-img2img"


@pytest.fixture(scope="module", params=["sqlite_files", "postgres"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    databases: Databases = request.getfixturevalue(request.param)
    limits = {"key_rpm": 60, "account_keys": 12}
    with serving(tmp_path_factory.mktemp("keys"), database_url=databases.fresh(), **limits) as website:
        yield website


@pytest.fixture
def account(site: Website) -> str:
    return site.own.store.accounts.create("one", 1_000_000).id


@pytest.fixture
def http(site: Website, account: str) -> Iterator[httpx2.Client]:
    """With a key that may do everything."""
    with site.http(site.own.store.accounts.keys.create(account, "main")[1]) as client:
        yield client


def made(http: httpx2.Client, **wanted: Any) -> tuple[dict[str, Any], str]:
    answer = http.post("/v2/keys", json=wanted)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body["key"], body["secret"]


def keys(http: httpx2.Client) -> dict[str, dict[str, Any]]:
    return {key["name"]: key for key in http.get("/v2/keys").json()["keys"]}


def test_a_key_that_was_just_used_is_not_looked_up_again(
    site: Website, http: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    http.get("/v1/get-user-credits")
    moment = time.monotonic()
    monkeypatch.setattr(site.own.store.accounts.keys.cache, "_clock", lambda: moment)
    with statements(site.own.store.db, any_thread=True) as said:
        for _ in range(20):
            assert http.get("/v1/get-user-credits").is_success
    assert not [statement for statement, _ in said if "api_keys.digest" in statement]


@pytest.mark.parametrize("old", ["used", "revoked", "never"])
def test_a_bootstrap_key_that_does_not_work_is_not_ignored_in_silence(site: Website, account: str, old: str) -> None:
    secret = "SG_aaaabbbbccccdddd" + old
    if old != "never":
        site.own.store.accounts.keys.create(account, "first", secret=secret)
    if old == "revoked":
        site.own.store.accounts.keys.revoke(secret)
    first = site.own.runtime.settings.replace(bootstrap_key=SecretStr(secret))
    with capture_logs() as lines:
        first_key(site.own.store, first, "http://here")
    expected = [] if old == "used" else ["TINTYPE_BOOTSTRAP_KEY was ignored"]
    assert [line["event"][:33] for line in lines] == expected
    assert secret not in str(lines)


def test_a_later_start_says_where_keys_come_from(site: Website, capsys: pytest.CaptureFixture[str]) -> None:
    settings = site.own.runtime.settings.replace(data=Path("/my data"))
    first_key(site.own.store, settings, "http://here")
    [line] = capsys.readouterr().out.splitlines()
    assert line.startswith("Open http://here in a browser. Lost the key?")
    assert "`tintype keys create --name me --operator --data '/my data'`" in line


def test_a_key_is_made_shown_once_used_and_revoked(site: Website, http: httpx2.Client) -> None:
    limits = {"spend_cap": 0.5, "rpm": 6, "max_pixels": 10**6, "daily_spend": 0.25, "daily_requests": 9}
    wanted = {"name": "laptop", "models": [OLD], **limits, "expires_in": 3600}
    key, secret = made(http, **wanted)
    assert {name: key[name] for name in wanted.keys() & key.keys()} == {
        name: value for name, value in wanted.items() if name != "expires_in"
    }
    assert secret.startswith(key["begins"])
    assert secret not in http.get("/v2/keys").text
    assert keys(http)["main"]["own"]
    assert http.get("/v2/keys").json()["may_create"]
    with site.http(secret) as client:
        assert client.get("/v1/get-user-credits").json()["credits"] == 1
        assert keys(client)["laptop"]["own"]
        turned = http.post(f"/v2/keys/{key['id']}/rotate", json={"overlap": 0}).json()
        assert turned["message"] == "The previous secret no longer works"
        refused(client.get("/v2/keys"), 401, "replaced")
    with site.http(turned["secret"]) as client:
        assert http.delete(f"/v2/keys/{key['id']}").json()["key"]["state"] == "revoked"
        refused(client.get("/v2/keys"), 401, "revoked")
    refused(http.delete(f"/v2/keys/{key['id']}"), 404, "in force")


NARROW: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"models": [OLD]}, {"models": [OLD, NEW]}, "models"),
    ({"models": [OLD]}, {"models": None}, "models"),
    ({"max_pixels": 100}, {"max_pixels": 101}, "max_pixels"),
    ({"max_pixels": 100}, {"max_pixels": None}, "max_pixels"),
    ({"expires_in": 60.0}, {"expires_in": 3600}, "longer"),
    ({"expires_in": 60.0}, {"expires_in": None}, "longer"),
    ({}, {"rpm": 61}, "rpm"),
]


@pytest.mark.parametrize(("limits", "wanted", "word"), NARROW)
def test_none_is_made_that_may_do_more(
    site: Website, account: str, limits: dict[str, Any], wanted: dict[str, Any], word: str
) -> None:
    secret = site.own.store.accounts.keys.create(account, "narrow", **limits)[1]
    with site.http(secret) as client:
        refused(client.post("/v2/keys", json={"name": "wide", **wanted}), 403, word)
        key, _ = made(client, name="same")
        assert [*keys(client)] == ["narrow", "same"]
    own = site.own.store.delegation.list(replace(site.key, account_id=account))
    narrow, same = own
    assert (same.models, same.max_pixels, same.expires_at) == (narrow.models, narrow.max_pixels, narrow.expires_at)
    assert key["may_change"]


@pytest.mark.parametrize("limit", [limit.name for limit in LIMITS.values() if limit.scope != "request"])
def test_a_limit_that_another_key_would_add_to_lets_a_key_manage_only_itself(
    site: Website, account: str, http: httpx2.Client, limit: str
) -> None:
    key, secret = made(http, name="capped", **{limit: 5})
    with site.http(secret) as client:
        refused(client.post("/v2/keys", json={"name": "more", limit: 1}), 403, "only itself")
        for call in (client.delete, lambda path: client.post(f"{path}/rotate", json={})):
            refused(call(f"/v2/keys/{keys(client)['main']['id']}"), 403, "only itself")
        assert [one["may_change"] for one in keys(client).values()] == [False, True]
        assert not client.get("/v2/keys").json()["may_create"]
        assert client.delete(f"/v2/keys/{key['id']}").status_code == 200


def test_who_reads_only_sees_and_changes_nothing(site: Website, account: str, http: httpx2.Client) -> None:
    _, secret = made(http, name="eye", read_only=True)
    with site.http(secret) as client:
        own = keys(client)
        assert {one["may_change"] for one in own.values()} == {False}
        refused(client.post("/v2/keys", json={}), 403, "only read")
        refused(client.delete(f"/v2/keys/{own['eye']['id']}"), 403, "only read")


def test_test_keys_and_live_ones(site: Website, http: httpx2.Client) -> None:
    _, secret = made(http, name="rehearsal", test=True)
    assert secret.startswith("SG_test")
    assert keys(http)["rehearsal"]["mode"] == "test"
    with site.http(secret) as client:
        _, second = made(client, name="another", test=False)
        assert second.startswith("SG_test"), "whatever it asks for"
        assert [*keys(client)] == ["rehearsal", "another"]
        refused(client.delete(f"/v2/keys/{keys(http)['main']['id']}"), 404)
    assert http.delete(f"/v2/keys/{keys(http)['another']['id']}").status_code == 200


def test_another_accounts_keys_are_not_there(site: Website, http: httpx2.Client) -> None:
    for call in (http.delete, lambda path: http.post(f"{path}/rotate", json={})):
        refused(call(f"/v2/keys/{site.key.id}"), 404)
    assert site.key.name not in keys(http)


def test_an_account_has_so_many(site: Website, http: httpx2.Client) -> None:
    for number in range(11):
        key, _ = made(http, name=f"key {number}")
    refused(http.post("/v2/keys", json={}), 400, "12 API keys")
    http.delete(f"/v2/keys/{key['id']}")
    made(http)


def test_an_operator_can_keep_it_to_himself(tmp_path: Path) -> None:
    with serving(tmp_path, account_keys=0) as website, website.http() as client:
        refused(client.post("/v2/keys", json={}), 403, "operator makes the keys")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("name", ""), ("name", "a\x00b"), ("name", "x" * 81), ("models", []), ("models", ["no-such"]), ("models", OLD),
        ("rpm", "1_0"), ("expires_in", "１０"), ("expires_in", True), ("spend_cap", "nan"), ("test", 1), ("rpm", [1]),
        ("read_only", "yes"), ("expires_in", 0), ("expires_in", 1e300), ("spend_cap", -1), ("spend_cap", 1e400),
        ("rpm", 0), ("rpm", True), ("daily_requests", 0), ("daily_spend", -0.1), ("concurrency", 1.5),
        ("max_pixels", 10**12),
    ],
)  # fmt: skip
def test_what_cannot_be_a_key_is_refused_in_words(http: httpx2.Client, name: str, value: object) -> None:
    body = f'{{"{name}": 1e400}}' if value == 1e400 else None
    answer = http.post("/v2/keys", content=body) if body else http.post("/v2/keys", json={name: value})
    refused(answer, 400, name, "allowed")
    assert [*keys(http)] == ["main"]


def test_what_is_null_is_not_limited(http: httpx2.Client) -> None:
    key, _ = made(http, name="free", **dict.fromkeys(("models", "expires_in", *LIMITS)))
    assert {key[name] for name in ("models", *LIMITS)} == {None}


def test_a_key_from_a_form(http: httpx2.Client) -> None:
    sent = {"name": "form", "read_only": "true", "test": "", "rpm": "6", "concurrency": "", "expires_in": "3600"}
    answer = http.post("/v2/keys", data=sent)
    assert answer.status_code == 200, answer.text
    key = answer.json()["key"]
    assert (key["read_only"], key["mode"], key["rpm"], key["concurrency"]) == (True, "live", 6, None)


def test_a_key_has_its_maker_s_safety_and_turns_none_that_is_less_strict(site: Website, account: str) -> None:
    accounts = site.own.store.accounts
    strict = accounts.keys.create(account, "strict", safety="warn")[1]
    laxer, stricter = (accounts.keys.create(account, name, safety=name)[0] for name in ("off", "block"))
    with site.http(strict) as client:
        made(client, name="child")
        refused(client.post(f"/v2/keys/{laxer.id}/rotate", json={"overlap": 0}), 403, "safety")
        assert client.post(f"/v2/keys/{stricter.id}/rotate", json={"overlap": 0}).status_code == 200
    safety = {key.name: key.safety for key in accounts.keys.list() if key.account_id == account}
    assert safety == {"strict": "warn", "off": "off", "block": "block", "child": "warn"}


def test_an_operators_key_is_an_operators_to_change(site: Website, account: str, http: httpx2.Client) -> None:
    theirs, secret = site.own.store.accounts.keys.create(account, "theirs", operator=True)
    for change in (lambda: http.post(f"/v2/keys/{theirs.id}/rotate"), lambda: http.delete(f"/v2/keys/{theirs.id}")):
        refused(change(), 403, "it is an operator's")
    assert (keys(http)["theirs"]["operator"], keys(http)["theirs"]["may_change"]) == (True, False)
    plain, _ = made(http, name="plain", operator=True)
    assert not plain["operator"], "nobody is made an operator over HTTP"
    with site.http(secret) as operator:
        assert operator.delete(f"/v2/keys/{plain['id']}").is_success
        assert operator.get("/api/auth/authenticate").json()["api_key"]["operator"]
