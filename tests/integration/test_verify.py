"""`POST /v1/verify`: images without a key, read one at a time in a child process, apart from accounts' calls."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import psutil
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.acceptance.harness import until
from tests.image_files import saved
from tests.integration.test_bodies import raw
from tests.integration.website import Website, serving
from tests.stores import a_result

from tintype.cli import tintype
from tintype.cli.options import load_settings
from tintype.cli.startup import check_marking
from tintype.core import LoggedFile
from tintype.errors import ConfigurationInvalid
from tintype.media.provenance.certificates import issue, issuer
from tintype.media.provenance.detector import Detector
from tintype.media.provenance.findings import NOTHING
from tintype.media.provenance.manifests import ManifestSigner
from tintype.media.provenance.mark import put
from tintype.media.provenance.source import Origin
from tintype.media.provenance.verify import Anchors, read, trusted
from tintype.web import verifier
from tintype.web.verifier import MAX_IMAGES, MAX_PER_CALLER

PATH, ROOTS = "/v1/verify", "/v1/verify/roots.pem"
#: Bytes of a body, and of an image.
MAX_BODY, MAX_BYTES = 400_000, 200_000
DRAWN = Origin("trainedAlgorithmicMedia", "sd1.5-txt2img")
PLAIN = saved(Image.effect_noise((64, 64), 60).convert("RGB"))
OTHERS = issue("pictures.example", b"\x56\x78", datetime.now(UTC))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Website]:
    trusted = tmp_path_factory.mktemp("trusted") / "list.pem"
    trusted.write_text(OTHERS.root)
    limits = {"max_body": MAX_BODY, "max_picture_bytes": MAX_BYTES, "mark_trust": trusted}
    with serving(tmp_path_factory.mktemp("verify"), trusted_proxies="127.0.0.1", **limits) as website:
        yield website


@pytest.fixture
def anybody(site: Website) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=site.address, timeout=120) as http:
        yield http


def signed(site: Website, data: bytes = PLAIN) -> bytes:
    """As this server signs."""
    pair = site.own.store.signers.current(issuer(site.address))
    return ManifestSigner(pair.chain, pair.key).sign(data, DRAWN)


def verified(http: httpx2.Client, data: bytes) -> Any:
    answer = http.post(PATH, files={"file": data})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_anybody_learns_who_made_an_image(site: Website, anybody: httpx2.Client) -> None:
    image = signed(site)
    found = verified(anybody, image)
    assert found == {
        "found": True,
        "verdict": "Made by this server: signed, and unchanged since; it says that it was made by AI.",
        "signature": {
            "status": "here",
            "signer": "127.0.0.1",
            "trusted": True,
            "made_at": found["signature"]["made_at"],
            "source_type": "trainedAlgorithmicMedia",
            "actions": ["c2pa.created"],
        },
        "watermark": {"status": "none", "number": None, "server": None},
        "log": {"exact": None, "number": []},
    }
    for sent in (b64encode(image).decode(), f"data:image/png;base64,{b64encode(image).decode()}"):
        # A key is not looked at: it may be wrong.
        answer = anybody.post(PATH, json={"image": sent}, headers={"x-api-key": "SG_nobody"})
        assert answer.json() == found
        assert "x-remaining-credits" not in answer.headers


def test_what_this_server_did_not_sign_is_told_apart(site: Website, anybody: httpx2.Client) -> None:
    image = bytearray(signed(site))
    image[image.rindex(b"IDAT") + 40] ^= 1
    assert verified(anybody, bytes(image))["signature"]["status"] == "tampered"
    other = ManifestSigner(OTHERS.chain, OTHERS.key).sign(PLAIN, DRAWN)
    signature = verified(anybody, other)["signature"]
    assert (signature["status"], signature["signer"], signature["trusted"]) == ("other", "pictures.example", True)
    nothing = verified(anybody, saved(Image.new("RGB", (8, 8)), "BMP"))
    assert (nothing["found"], nothing["verdict"], nothing["signature"]["status"]) == (False, NOTHING, "none")


def test_a_watermark_is_read_and_looked_up(site: Website, anybody: httpx2.Client, tmp_path: Path) -> None:
    tag = site.own.store.signers.identity().tag
    pixels = np.asarray(Image.radial_gradient("L").resize((320, 320)).convert("RGB"))
    ours, others = tag + b"1234", bytes(~one & 255 for one in tag) + b"1234"
    marked = {number: saved(Image.fromarray(put(pixels, number)), "JPEG", quality=75) for number in (ours, others)}
    found = verified(anybody, marked[ours])
    assert found["watermark"] == {"status": "here", "number": ours.hex(), "server": tag.hex()}
    assert (found["found"], found["signature"]["status"], found["log"]) == (True, "none", {"exact": None, "number": []})
    assert "marks can be forged, and nothing confirms this one" in found["verdict"]

    site.submit()
    request = site.claim()
    file = LoggedFile(hashlib.sha256(marked[ours]).digest(), ours)
    site.own.store.leases.complete(request.id, request.attempt, a_result(), 4, [file])
    found = verified(anybody, marked[ours])
    entry = found["log"]["exact"]
    assert entry["model"] == request.slug
    assert found["log"]["number"] == [entry]
    hour = datetime.fromisoformat(entry["made_at"])
    assert (hour.minute, hour.second) == (0, 0)
    assert request.id not in str(found), "nor whose it is"
    (tmp_path / "image").write_bytes(marked[ours])
    said = run(tmp_path / "image", "--json", "--data", site.own.runtime.settings.data)
    assert (said.exit_code, json.loads(said.stdout)) == (0, found)
    again = verified(anybody, saved(Image.open(BytesIO(marked[ours])), "WEBP", quality=80))["log"]
    assert again == {"exact": None, "number": [entry]}, "another file with the same mark"

    found = verified(anybody, marked[others])
    assert (found["watermark"]["status"], found["watermark"]["server"]) == ("other", others[:2].hex())
    assert found["log"] == {"exact": None, "number": []}


def test_of_damaged_pixels_the_signature_is_read(site: Website, anybody: httpx2.Client) -> None:
    """It doesn't fit any more, which is what is to be said; the pixels can't be looked at."""
    image = signed(site)
    found = verified(anybody, image[: image.rindex(b"IEND") - 50])
    assert found["signature"]["status"] in ("tampered", "unreadable")
    assert found["watermark"] is None


def test_the_roots_are_what_others_verify_with(site: Website, anybody: httpx2.Client) -> None:
    image = signed(site)
    roots = anybody.get(ROOTS)
    assert roots.headers["content-type"] == "text/plain; charset=utf-8"
    assert roots.text == site.own.store.signers.roots()
    assert read(image, Anchors(roots.text)).signature.status == "here"
    assert anybody.get(ROOTS, headers={"if-none-match": roots.headers["etag"]}).status_code == 304


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        ({"json": {"image": "https://images.example/a.png"}}, 400, "no address is fetched here; allowed: the file"),
        ({"json": {"image": "/files/a.png"}}, 400, "no address is fetched here"),
        ({"json": {"image": "!"}}, 400, "neither an http"),
        ({"json": {}}, 400, "image: required, but not sent"),
        ({"json": []}, 400, "must be a JSON object"),
        ({"files": {"file": b"text"}}, 400, "not a JPEG, PNG"),
        ({"files": {"file": saved(Image.new("1", (6000, 6000)))}}, 400, "too many pixels, 6000×6000"),
        ({"files": {"file": b"x" * (MAX_BYTES + 1)}}, 413, f"has {MAX_BYTES + 1} bytes; allowed: {MAX_BYTES}"),
        ({"files": {"file": b"x" * (MAX_BODY + 1)}}, 413, f"The body is larger than {MAX_BODY} bytes"),
        ({"content": b"x", "headers": {"content-type": "image/png"}}, 415, "content type"),
    ],
)  # fmt: skip
def test_what_can_t_be_read_is_refused(anybody: httpx2.Client, sent: Any, status: int, words: str) -> None:
    answer = anybody.post(PATH, **sent)
    assert (answer.status_code, answer.json()["status_code"]) == (status, status)
    assert "nothing was charged" not in answer.json()["error_description"]
    assert words in answer.json()["error"]


XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{}"/>'
    "</rdf:RDF></x:xmpmeta>"
)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_an_address_in_a_file_is_not_fetched(anybody: httpx2.Client, format: str) -> None:
    """c2pa would by default, wherever it leads."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/manifest"
        data = saved(Image.new("RGB", (8, 8)), format, xmp=XMP.format(address).encode())
        found = verified(anybody, data)
        assert (found["signature"]["status"], found["found"]) == ("elsewhere", False)
        assert "which is not fetched" in found["verdict"]
        assert read(data, Anchors()).signature.status == "elsewhere"
        with pytest.raises(BlockingIOError):
            listening.accept()


class Gate:
    """The signers, which nobody gets to read before it is open."""

    def __init__(self, site: Website) -> None:
        self.open = threading.Event()
        self.read = site.own.store.signers.list

    def list(self) -> Any:
        assert self.open.wait(120)
        return self.read()


@contextmanager
def one_in_hand(site: Website, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    """While the block lasts, the image that is being read takes its time."""
    gate = Gate(site)
    monkeypatch.setattr(site.own.store.signers, "list", gate.list)
    try:
        yield gate
    finally:
        gate.open.set()


def test_images_are_read_one_at_a_time_and_few_wait(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    image = signed(site)

    def ask(caller: str) -> httpx2.Response:
        headers = {"x-forwarded-for": caller}
        with httpx2.Client(base_url=site.address, timeout=120, headers=headers) as http:
            return http.post(PATH, files={"file": image})

    with ThreadPoolExecutor(MAX_IMAGES) as threads, one_in_hand(site, monkeypatch) as gate:
        asked: list[Future[httpx2.Response]] = []
        for caller in ["192.0.2.1"] * MAX_PER_CALLER + ["192.0.2.2"] * (MAX_IMAGES - MAX_PER_CALLER):
            asked.append(threads.submit(ask, caller))
        until(lambda: site.own.runtime.verifier.in_hand == MAX_IMAGES)
        mine, others = ask("192.0.2.1"), ask("192.0.2.3")
        gate.open.set()
        assert [one.result().json()["signature"]["status"] for one in asked] == ["here"] * MAX_IMAGES
    for refused, words in ((mine, f"one caller may have {MAX_PER_CALLER}"), (others, f"server may have {MAX_IMAGES}")):
        assert (refused.status_code, words in refused.json()["error"]) == (429, True), refused.text
        assert int(refused.headers["retry-after"]) > 0
    assert site.own.runtime.verifier.in_hand == 0
    assert ask("192.0.2.1").status_code == 200


def test_bodies_that_come_slowly_take_no_room(site: Website, anybody: httpx2.Client) -> None:
    """Of accounts' bodies at no time; of others to verify only what has come of them."""
    lines = ["Host: a", "x-forwarded-for: 192.0.2.9", "content-type: application/json", f"content-length: {MAX_BODY}"]
    head = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "", ""]).encode()
    with ExitStack() as slow:
        for _ in range(12):
            call = slow.enter_context(raw(site))
            call.send(head + b'{"image": "' + b"a" * 1000)
        until(lambda: held(site) >= 12_000)
        assert site.own.runtime.bodies.held == 0
        anybody.headers["x-forwarded-for"] = "192.0.2.9"
        assert verified(anybody, signed(site))["found"]
    until(lambda: held(site) == 0)


def held(site: Website) -> int:
    return site.own.runtime.verifier.bodies.held


def test_all_of_a_caller_s_bodies_have_a_limit(site: Website, anybody: httpx2.Client) -> None:
    lines = ["Host: a", "x-forwarded-for: 192.0.2.8", "content-type: application/json", f"content-length: {MAX_BODY}"]
    head = "\r\n".join([f"POST {PATH} HTTP/1.1", *lines, "", ""]).encode()
    anybody.headers["x-forwarded-for"] = "192.0.2.8"
    with raw(site) as call:
        call.send(head + b'{"image": "' + b"a" * (MAX_BODY - 1000))
        until(lambda: held(site) > MAX_BODY - 1000)
        answer = anybody.post(PATH, files={"file": PLAIN})
        assert answer.status_code == 429
        assert "this caller's have" in answer.json()["error"]
        anybody.headers["x-forwarded-for"] = "192.0.2.7"
        assert not verified(anybody, PLAIN)["found"]
    until(lambda: held(site) == 0)


def test_a_body_must_arrive_within_a_minute(site: Website, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifier, "BODY_TIMEOUT", 0.2)
    with raw(site) as call:
        call.send(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n".encode() + b"{")
        status, _, body = call.answer()
    assert (status, body["error"]) == (408, "The body did not arrive within 0.2 seconds")
    assert held(site) == 0


def test_what_is_read_stays_in_no_memory(site: Website, anybody: httpx2.Client) -> None:
    """Most of them are marked: looking for a mark that isn't there takes a quarter of a second each."""
    pixels = Image.radial_gradient("L").convert("RGB")
    plain, marked = (signed(site, saved(one)) for one in (pixels, Image.fromarray(put(np.asarray(pixels), b"number"))))
    statuses = [verified(anybody, one)["watermark"]["status"] for one in (plain, marked)]
    assert statuses == ["none", "other"]

    def resident() -> int:
        own = psutil.Process()
        return sum(one.memory_info().rss for one in (own, *own.children(recursive=True)))

    for _ in range(5):
        verified(anybody, marked)
    before = resident()
    for image in (*[plain] * 5, *[marked] * 45):
        assert verified(anybody, image)["signature"]["status"] == "here"
    assert resident() - before < 50 * 2**20


def test_pages_of_any_origin_may_ask(site: Website, anybody: httpx2.Client) -> None:
    origin = {"origin": "https://detector.example"}
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    preflight = anybody.options(PATH, headers=origin | asks)
    answers = [
        preflight,
        anybody.post(PATH, files={"file": PLAIN}, headers=origin),
        anybody.post(PATH, json={}, headers=origin),
        anybody.get(ROOTS, headers=origin),
    ]
    assert [one.status_code for one in answers] == [200, 200, 400, 200]
    assert {one.headers.get("access-control-allow-origin") for one in answers} == {"*"}
    assert "access-control-allow-origin" not in anybody.get("/health", headers=origin).headers


def test_the_operator_may_want_a_key_or_turn_it_off(tmp_path: Path) -> None:
    with (
        serving(tmp_path / "key", verify="key") as site,
        httpx2.Client(base_url=site.address) as anybody,
        site.http() as known,
    ):
        assert anybody.post(PATH, files={"file": PLAIN}).status_code == 401
        assert not verified(known, PLAIN)["found"]
        known.headers["x-api-key"] = site.accounts.keys.create(site.account_id, "reads", read_only=True)[1]
        assert not verified(known, PLAIN)["found"]
        assert anybody.get(ROOTS).status_code == 200
    with serving(tmp_path / "off", verify="off") as site, site.http() as known:
        answer = known.post(PATH, files={"file": PLAIN})
        assert (answer.status_code, "turned it off" in answer.json()["error"]) == (404, True)
        assert known.get(ROOTS).status_code == 200


def run(*arguments: object) -> Result:
    return CliRunner(env={"TINTYPE_MARK_TRUST": ""}).invoke(tintype, ["verify", *map(str, arguments)])


def test_the_command_says_the_same(site: Website, anybody: httpx2.Client, tmp_path: Path) -> None:
    data, file = site.own.runtime.settings.data, tmp_path / "image"
    image = bytearray(signed(site))
    file.write_bytes(image)
    said = run(file, "--json", "--data", data)
    assert (said.exit_code, json.loads(said.stdout)) == (0, verified(anybody, bytes(image)))
    said = run(file, "--data", data)
    assert (said.exit_code, said.stdout) == (0, f"{verified(anybody, bytes(image))['verdict']}\n")
    image[image.rindex(b"IDAT") + 40] ^= 1
    file.write_bytes(image)
    said = run(file, "--data", data)
    assert (said.exit_code, "that doesn't fit" in said.stdout) == (0, True)
    file.write_bytes(PLAIN)
    assert (run(file, "--data", data).exit_code, run(file, "--data", data).stdout) == (1, f"{NOTHING}\n")
    file.write_bytes(b"text")
    said = run(file, "--data", data)
    assert (said.exit_code, said.stdout) == (2, "")
    assert "not a JPEG, PNG" in said.stderr


def test_the_command_needs_no_server(site: Website, anybody: httpx2.Client, tmp_path: Path) -> None:
    file, roots, nowhere = tmp_path / "image", tmp_path / "roots.pem", tmp_path / "nowhere"
    file.write_bytes(signed(site))
    said = run(file, "--data", nowhere)
    assert (said.exit_code, "this server doesn't know them" in said.stdout) == (0, True)
    assert "there is no database here" in said.stderr
    assert not nowhere.exists()
    roots.write_text(anybody.get(ROOTS).text)
    assert "whom this server trusts" in run(file, "--roots", roots, "--data", nowhere).stdout
    roots.write_text("nothing")
    refused = run(file, "--roots", roots, "--data", nowhere)
    assert (refused.exit_code, refused.stdout) == (2, "")  # 1 would say that nothing was found
    assert "roots.pem: it is not a PEM file" in refused.stderr


def test_a_list_of_trusted_certificates_that_is_none_is_refused_at_the_start(site: Website, tmp_path: Path) -> None:
    wrong = tmp_path / "list.pem"
    wrong.write_text("nothing")
    with pytest.raises(ConfigurationInvalid, match=r"list\.pem \(TINTYPE_MARK_TRUST\): it is not a PEM file"):
        trusted(load_settings(mark_trust=wrong).provenance)
    with pytest.raises(ConfigurationInvalid, match="TINTYPE_MARK_TRUST"):  # before a first key is printed
        check_marking(load_settings(mark_trust=wrong), site.own.store)


def test_a_child_that_was_killed_is_replaced() -> None:
    known = {one.pid for one in psutil.Process().children()}
    detector = Detector(10_000, 10)
    try:
        assert detector.read(PLAIN, Anchors()).signature.status == "none"
        [child] = [one for one in psutil.Process().children() if one.pid not in known]
        assert {*child.environ()} == {"PYTHONPATH", "OPENBLAS_NUM_THREADS"}
        child.kill()
        assert detector.read(PLAIN, Anchors()).signature.status == "none"
    finally:
        detector.close()
