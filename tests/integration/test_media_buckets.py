"""How the operator's bucket is found: every combination of settings, AWS_… in the environment, and roles."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
import obstore
import pytest
from tests.object_storage import ObjectStorage, object_storage

from tintype.cli.sources import Configuration, with_endpoint
from tintype.cli.storage import check_storage
from tintype.errors import ConfigurationInvalid, StorageUnavailable
from tintype.media.objects import Objects, bucket, open_bucket
from tintype.media.storage_id import place
from tintype.settings import Settings

ROLE = {"AccessKeyId": "of-the-role", "SecretAccessKey": "s", "Token": "of-the-role", "Code": "Success"}
ROLE |= {"Expiration": "2099-01-01T00:00:00Z", "LastUpdated": "2026-01-01T00:00:00Z", "Type": "AWS-HMAC"}


class Scripted(BaseHTTPRequestHandler):
    """Answers what the server's `answers` say for the end of the path, with 200 or the status in it, and counts."""

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append(self.path)
        status, body = next(answer for end, answer in self.server.answers.items() if self.path.endswith(end))
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT  # noqa: N815 - the names that the library calls

    def log_message(self, *_: object) -> None:
        """No lines on stderr."""


class ScriptedServer(ThreadingHTTPServer):
    """On loopback."""

    def __init__(self, answers: dict[str, tuple[int, bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), Scripted)
        self.answers = answers
        self.seen: list[str] = []
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def scripted(request: pytest.FixtureRequest) -> Iterator[ScriptedServer]:
    server = ScriptedServer(request.param)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def storage() -> Iterator[ObjectStorage]:
    with object_storage() as storage:
        yield storage


@pytest.fixture(autouse=True)
def _no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)


METADATA = {
    "/latest/api/token": (200, b"token"),
    "/security-credentials/": (200, b"role"),
    "/role": (200, json.dumps(ROLE).encode()),
    "/pod": (200, json.dumps(ROLE).encode()),
}
#: Ways to give keys: in the settings, in the environment; and whose are used then, with which session token.
KEYS: dict[str, tuple[dict[str, str], dict[str, str], tuple[str, str | None]]] = {
    "settings": ({"storage_key_id": "mine", "storage_secret": "s"}, {}, ("mine", None)),
    "environment": ({}, {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "s"}, ("theirs", None)),
    "session": (
        {},
        {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "of-theirs"},
        ("theirs", "of-theirs"),
    ),
    "settings over a session": (
        {"storage_key_id": "mine", "storage_secret": "s"},
        {"AWS_ACCESS_KEY_ID": "theirs", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SESSION_TOKEN": "of-theirs"},
        ("mine", None),
    ),
    "settings over half": (
        {"storage_key_id": "mine", "storage_secret": "s"},
        {"AWS_ACCESS_KEY_ID": "theirs"},
        ("mine", None),
    ),
    "pod": (
        {},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "METADATA/pod", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": __file__},
        ("of-the-role", "of-the-role"),
    ),
    "role": ({}, {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, ("of-the-role", "of-the-role")),
}


@pytest.mark.parametrize("scripted", [METADATA], indirect=True)
@pytest.mark.parametrize("endpoint", ["settings", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "settings over AWS"])
@pytest.mark.parametrize("keys", KEYS)
def test_every_combination_writes_and_reads(
    endpoint: str,
    keys: str,
    storage: ObjectStorage,
    scripted: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text("of-the-pod")
    given, environment, used = KEYS[keys]
    settings: dict[str, Any] = {"storage_url": "s3://pictures/team a/täglich+1=", **given}
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", scripted.address)
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("METADATA", scripted.address).replace(__file__, str(token)))
    if endpoint.startswith("settings"):
        settings["storage_endpoint"] = storage.address
    else:
        monkeypatch.setenv(endpoint, storage.address)
    if endpoint == "settings over AWS":
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    found = with_endpoint(Configuration(Settings.of(**settings), {}, None), os.environ).settings
    assert place(found) == f"s3://pictures/team a/täglich+1= at {storage.address}"
    check_storage(found)
    outputs = open_bucket(found.storage, "outputs", math.inf, 5)
    address = outputs.signed_url(outputs.put(b"picture", "png"), 60)
    assert address.startswith(storage.address)
    assert _signer(address)[:2] == used


def _signer(address: str) -> tuple[str, str | None, str]:
    """Whose key signed it, the session's token, and the region."""
    query = parse_qs(urlsplit(address).query)
    key, _, region, *_ = query["X-Amz-Credential"][0].split("/")
    return key, query.get("X-Amz-Security-Token", [None])[0], region


@pytest.mark.parametrize(
    ("given", "environment", "host", "region"),
    [
        ({}, {}, "s3.us-east-1.amazonaws.com", "us-east-1"),
        ({"storage_region": "eu-west-1"}, {"AWS_REGION": "eu-west-2"}, "s3.eu-west-1.amazonaws.com", "eu-west-1"),
        ({}, {"AWS_REGION": "eu-west-2"}, "s3.eu-west-2.amazonaws.com", "eu-west-2"),
        ({}, {"AWS_DEFAULT_REGION": "eu-west-3"}, "s3.eu-west-3.amazonaws.com", "eu-west-3"),
        ({}, {"AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true"}, "pictures.s3.us-east-1.amazonaws.com", "us-east-1"),
        ({"storage_endpoint": "https://storage.example"}, {}, "storage.example", "us-east-1"),
        ({"storage_endpoint": "https://storage.example:9000"}, {"AWS_REGION": "r"}, "storage.example:9000", "r"),
    ],
)
@pytest.mark.parametrize("keys", ["settings", "environment", "session"])
def test_amazon_itself_and_regions(
    given: dict[str, str], environment: dict[str, str], host: str, region: str, keys: str, monkeypatch: Any
) -> None:
    own, theirs, used = KEYS[keys]
    for name, value in (environment | theirs).items():
        monkeypatch.setenv(name, value)
    store = bucket(Settings.of(storage_url="s3://pictures/tintype", **given, **own).storage, "outputs", 5)
    address = obstore.sign(store, "GET", "a.png", timedelta(seconds=60))
    assert urlsplit(address).netloc == host
    assert _signer(address) == (*used, region)


REFUSED = "TINTYPE_STORAGE_URL: s3://pictures at .* can't be used: "


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"AWS_ACCESS_KEY_ID": "k"}, "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"),
        ({"AWS_SECRET_ACCESS_KEY": "k", "AWS_ACCESS_KEY_ID": ""}, "go together: set both, or neither"),
        ({"AWS_ENDPOINT_URL": "storage.example"}, "AWS_ENDPOINT_URL is no address: it is written like https://"),
        ({"AWS_ROLE_ARN": "arn:aws:iam::1:role/x", "AWS_WEB_IDENTITY_TOKEN_FILE": "/none"}, "there is no key for it"),
        ({}, REFUSED + "there is no key for it, and this machine's metadata service gives none"),
        ({"AWS_S3_EXPRESS": "perhaps"}, "the storage of pictures can't be used: .*perhaps"),
    ],
)
@pytest.mark.parametrize("scripted", [{"": (404, b"")}], indirect=True)
def test_what_ends_the_start_in_one_line(
    environment: dict[str, str],
    words: str,
    storage: ObjectStorage,
    scripted: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {} if "AWS_ENDPOINT_URL" in environment else {"storage_endpoint": storage.address}
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", scripted.address)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((click.UsageError, ConfigurationInvalid), match=words) as error:
        check_storage(
            with_endpoint(Configuration(Settings.of(storage_url="s3://pictures", **own), {}, None), os.environ).settings
        )
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("scripted", "why", "starts"),
    [
        ({"": (403, b"")}, "the key is wrong, or may not write there", False),
        ({"": (400, b"<Error><Code>ExpiredToken</Code></Error>")}, r"it answers 400 \(ExpiredToken\)", False),
        ({"": (404, b"<Error><Code>NoSuchBucket</Code></Error>")}, "there is no such bucket", False),
        ({"": (301, b"")}, "the bucket is in another region", False),
        ({"": (501, b"")}, "it answers 501", True),
    ],
    indirect=["scripted"],
)
def test_why_a_storage_can_not_be_used(
    scripted: ScriptedServer, why: str, starts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tintype.media.objects.TRIAL", 0.3)
    given = {"storage_endpoint": scripted.address, "storage_key_id": "k", "storage_secret": "s"}
    settings = Settings.of(storage_url="s3://pictures", **given)
    with pytest.raises(StorageUnavailable) as error:
        _outputs(settings, 0.3).put(b"picture", "png")
    assert error.value.why == why.replace("\\", "")
    assert error.value.message == StorageUnavailable().message, "a caller is not told whose fault it is"
    if starts:
        check_storage(settings)  # it may be itself again later
        return
    with pytest.raises(click.UsageError, match=why):
        check_storage(settings)


def _outputs(settings: Settings, patience: float) -> Objects:
    return open_bucket(settings.storage, "outputs", math.inf, patience)


def test_the_time_decides_when_a_storage_is_given_up(storage: ObjectStorage) -> None:
    """However many tries that takes; measured by hand: 60 seconds are 60 to 62, against a port that is closed too."""
    retries = bucket(Settings.of(**storage.settings).storage, "outputs", 60).retry_config
    assert retries
    assert retries["max_retries"] > 10**6


@pytest.mark.parametrize("scripted", [{"": (503, b"")}], indirect=True)
def test_a_storage_that_answers_with_errors_is_asked_again(scripted: ScriptedServer) -> None:
    given = {"storage_endpoint": scripted.address, "storage_key_id": "k", "storage_secret": "s"}
    with pytest.raises(StorageUnavailable, match="can't be used at the moment") as error:
        _outputs(Settings.of(storage_url="s3://pictures", **given), 0.8).put(b"picture", "png")
    assert error.value.why == "it answers 503"
    assert len(scripted.seen) > 2


@pytest.mark.parametrize("scripted", [{"": (503, b"")}], indirect=True)
def test_a_storage_that_is_known_to_be_away_is_asked_once_while_callers_wait(scripted: ScriptedServer) -> None:
    given = {"storage_endpoint": scripted.address, "storage_key_id": "k", "storage_secret": "s"}
    outputs = _outputs(Settings.of(storage_url="s3://pictures", **given), 0.8)
    for ask in (outputs.size, lambda name: outputs.read_range(name, 0, 1), outputs.get):
        before = len(scripted.seen)
        with pytest.raises(StorageUnavailable):
            ask("0" * 32 + ".png")
        assert (len(scripted.seen) - before == 1) == (before > 0)
