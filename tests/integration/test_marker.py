"""What marks images, with the database's key, an operator's, or one elsewhere; and what happens when it fails."""

from __future__ import annotations

import io
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import c2pa
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from PIL import Image
from structlog.testing import capture_logs
from tests.acceptance.harness import until
from tests.databases import SqliteFiles
from tests.integration.test_worker_time import running
from tests.stores import store_on
from tests.unit.test_provenance import DRAWN, EDITED, OURS, active, chain_pem, file, key_pem, report, signature

from tintype.errors import ConfigurationInvalid, MarkUnavailable, StoreUnavailable
from tintype.media.images import encode
from tintype.media.provenance import marker as marker_module
from tintype.media.provenance.certificates import issue
from tintype.media.provenance.manifests import ManifestSigner, SigningFailed, context_settings
from tintype.media.provenance.marker import UNSIGNED, Marker, SigningKey
from tintype.media.storage import StorageBreaker
from tintype.settings.groups import ProvenanceSettings
from tintype.store.db.database import Database
from tintype.store.ops.signers import Signers
from tintype.store.store import Store
from tintype.worker.loop import Worker, WorkerConfig
from tintype.worker.outputs import SafetyFilter

#: A signature's limit, for tests in which none is reached.
NEVER = 300.0


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Trials that a test has caused end with it: they write into the log."""
    yield
    for thread in [one for one in threading.enumerate() if one.name == "trial"]:
        thread.join()


@pytest.fixture
def signers(sqlite_files: SqliteFiles) -> Iterator[Signers]:
    db = Database(sqlite_files.fresh())
    yield Signers(db)
    db.close()


def marker(signers: Signers, **settings: Any) -> Marker:
    return Marker.from_settings(ProvenanceSettings(**settings), "https://images.example", signers)


class Elsewhere:
    """A key elsewhere, and what becomes of it."""

    def __init__(self) -> None:
        self.answers = True
        self.calls = 0
        self.gate = threading.Event()

    def sign(self, data: bytes) -> bytes:
        self.calls += 1
        if not self.answers:
            raise ConnectionError("away")
        return signature(data)

    def hang(self, _: bytes) -> bytes:
        self.gate.wait(NEVER)
        return b""

    def load(self) -> SigningKey:
        return SigningKey(OURS.chain, self.sign)


def test_without_configuration_the_databases_own_pair_signs(signers: Signers) -> None:
    one, other = marker(signers), marker(signers)
    files = [each.sign(file(), DRAWN) for each in (one, other)]
    [row] = signers.list()
    assert [report(marked.data, row.root)["validation_state"] for marked in files] == ["Trusted", "Trusted"]
    assert active(report(files[0].data))["signature_info"]["issuer"] == "images.example"
    assert [marked.warning for marked in files] == ["", ""]
    assert one.counts() == {"marks/signed": 1}


def test_after_a_rotation_the_new_pair_signs_and_both_are_trusted(signers: Signers) -> None:
    mine = marker(signers)
    before = mine.sign(file(), DRAWN).data
    first = signers.roots()
    signers.rotate(lambda tag: issue("images.example", tag, datetime.now(UTC)))
    mine.refresh()
    after = mine.sign(file(), DRAWN).data
    for each in (before, after):
        assert report(each, signers.roots())["validation_state"] == "Trusted"
    assert report(after, first)["validation_state"] == "Valid"


def test_off_is_nothing_and_c2pa_is_not_loaded(signers: Signers) -> None:
    off, before = marker(signers, mode="off"), file()
    assert off.sign(before, DRAWN).data == before
    assert off.xmp(DRAWN) == b""
    off.check()
    off.expect()
    assert (signers.list(), off.warnings()) == ([], [])
    code = (
        "import sys; import tintype.cli, tintype.web.app, tintype.worker.main;"
        "from tintype.media.provenance.marker import NO_MARKS; NO_MARKS.check(); assert 'c2pa' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_while_the_database_is_away_the_last_key_signs(signers: Signers) -> None:
    away = threading.Event()

    def load() -> SigningKey:
        if away.is_set():
            raise StoreUnavailable
        return SigningKey(OURS.chain, OURS.key)

    mine = Marker(load)
    mine.check()
    away.set()
    mine.refresh()
    assert report(mine.sign(file(), DRAWN).data)["validation_state"] == "Trusted"
    with pytest.raises(MarkUnavailable):
        Marker(load).sign(file(), DRAWN)


@pytest.mark.parametrize("sign", [lambda _: b"", lambda _: b"x" * 64], ids=["nothing", "rubbish"])
def test_nothing_wrongly_signed_is_returned(sign: Callable[[bytes], bytes]) -> None:
    mine = Marker(lambda: SigningKey(OURS.chain, sign), limit=NEVER)
    with pytest.raises(MarkUnavailable):
        mine.sign(file(), DRAWN)
    assert mine.counts() == {"marks/failed": 1}


def test_a_signer_that_failed_is_known_before_anything_is_drawn_and_tried_again() -> None:
    key = Elsewhere()
    mine = Marker(key.load, limit=NEVER)
    mine.expect()
    key.answers = False
    with capture_logs(), pytest.raises(MarkUnavailable, match="can't be signed"):
        mine.sign(file(), DRAWN)
    with capture_logs(), pytest.raises(MarkUnavailable):
        mine.expect()
    key.answers = True

    def works() -> bool:
        try:
            mine.expect()
        except MarkUnavailable:
            return False
        return True

    until(works)
    assert report(mine.sign(file(), DRAWN).data)["validation_state"] == "Trusted"


def test_a_worker_draws_nothing_that_it_could_not_sign() -> None:
    key, failed = Elsewhere(), list[tuple[Any, ...]]()
    key.answers = False
    broken = Marker(key.load, limit=NEVER)
    with capture_logs(), pytest.raises(MarkUnavailable):
        broken.sign(file(), DRAWN)
    nothing: Any = SimpleNamespace()
    leases: Any = SimpleNamespace(fail=lambda *about: failed.append(about))
    store: Any = SimpleNamespace(leases=leases, ops=SimpleNamespace(preloads=nothing))
    outputs: Any = SimpleNamespace(safety=SafetyFilter(None), marker=broken, breaker=StorageBreaker(nothing))
    models: Any = SimpleNamespace(waited=lambda: 0.0)  # a plan would ask it for weights
    worker = Worker(store, models, nothing, outputs, WorkerConfig(id="w", max_images=4, max_rows=4, poll=1, grace=1))
    worker.running["r"] = running("r")
    with capture_logs():
        worker.start()
    assert worker.running == {}
    assert failed == [("r", 1, MarkUnavailable().message, 500, "mark_unavailable")]


def test_an_image_waits_for_its_signer(monkeypatch: pytest.MonkeyPatch) -> None:
    key, pauses = Elsewhere(), []
    key.answers = False

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        key.answers = len(pauses) == 3

    monkeypatch.setattr(marker_module.time, "sleep", sleep)
    with capture_logs():
        signed = Marker(key.load, timeout=NEVER, limit=NEVER).sign(file(), DRAWN)
    assert report(signed.data)["validation_state"] == "Trusted"
    assert pauses == [0.5, 1, 2]


def test_a_signer_that_hangs_is_left() -> None:
    key = Elsewhere()
    mine = Marker(lambda: SigningKey(OURS.chain, key.hang), limit=0.5)
    with capture_logs() as logged, pytest.raises(MarkUnavailable):
        mine.sign(file(), DRAWN)
    key.gate.set()
    assert [one["cause"] for one in logged if "cause" in one] == ["no signature within 0.5 s"]


def test_where_delivery_matters_more_an_image_goes_out_unsigned_with_a_warning() -> None:
    key, before = Elsewhere(), file()
    key.answers = False
    mine = Marker(key.load, required=False, timeout=NEVER, limit=NEVER)
    with capture_logs():
        marked = mine.sign(before, DRAWN)
    assert (marked.data, marked.warning) == (before, UNSIGNED)
    mine.expect()
    with capture_logs():
        assert mine.sign(before, DRAWN).warning == UNSIGNED
    assert mine.counts() == {"marks/unsigned": 2}


@contextmanager
def silent() -> Iterator[str]:
    """The address of an authority that takes calls and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def test_an_authority_for_time_stamps_that_never_answers_costs_one_wait_and_no_image() -> None:
    with silent() as address:
        mine = Marker(lambda: SigningKey(OURS.chain, OURS.key), stamps=address, limit=NEVER, stamp_limit=0.5)
        with capture_logs() as logged:
            files = [mine.sign(file(), DRAWN).data for _ in range(3)]
    assert [report(each)["validation_state"] for each in files] == ["Trusted"] * 3
    assert [one["event"] for one in logged] == ["no time stamp; signing without for a while"]
    assert mine.counts() == {"marks/unstamped": 3}
    mine.expect()


def test_one_that_refuses_does_not_either() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    mine = Marker(lambda: SigningKey(OURS.chain, OURS.key), stamps=address, limit=NEVER, stamp_limit=NEVER)
    with capture_logs():
        assert report(mine.sign(file(), DRAWN).data)["validation_state"] == "Trusted"
    assert mine.counts() == {"marks/unstamped": 1}


# What an operator configures


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Any]:
    """Settings of a certificate from elsewhere."""
    (certificate := tmp_path / "chain.pem").write_text(OURS.chain + OURS.root)
    (key := tmp_path / "key.pem").write_text(OURS.key)
    return {"certificate": certificate, "key": key}


def test_an_operators_certificate_signs_and_is_noted(signers: Signers, own: dict[str, Any]) -> None:
    mine = marker(signers, **own)
    assert report(mine.sign(file(), DRAWN).data)["validation_state"] == "Trusted"
    [row] = signers.list()
    assert (row.own, row.root) == (False, OURS.root)
    signers.distrust(row.id, lambda tag: issue("x", tag, datetime.now(UTC)))
    with pytest.raises(SigningFailed, match="TINTYPE_MARK_CERTIFICATE: it is distrusted"):
        marker(signers, **own).check()


def test_a_function_signs_in_place_of_a_key(signers: Signers, own: dict[str, Any]) -> None:
    own = {"certificate": own["certificate"], "signer": "tests.unit.test_provenance:signature"}
    assert report(marker(signers, **own).sign(file(), DRAWN).data)["validation_state"] == "Trusted"


def test_what_does_not_go_together_is_refused_in_words(signers: Signers, own: dict[str, Any], tmp_path: Path) -> None:
    certificate, key = own["certificate"], own["key"]
    (other := tmp_path / "other.pem").write_text(chain_pem())
    for settings, words in (
        ({"key": key}, "TINTYPE_MARK_KEY needs the certificate"),
        ({"signer": "os:getpid"}, "TINTYPE_MARK_SIGNER needs the certificate"),
        ({"certificate": certificate}, "needs either its private key"),
        ({"certificate": certificate, "key": key, "signer": "os:getpid"}, "needs either its private key"),
        ({"certificate": other, "key": key}, "TINTYPE_MARK_KEY=.*not the key of the first"),
        ({"certificate": key, "key": key}, "TINTYPE_MARK_CERTIFICATE=.*not a PEM file"),
        ({"certificate": certificate, "signer": "nothing_here:sign"}, "no such function"),
        ({"certificate": certificate, "signer": "os:nothing"}, "no such function"),
        ({"certificate": certificate, "signer": "os:name"}, "is no function"),
        ({"certificate": certificate, "signer": "os"}, "no such function"),
    ):
        with pytest.raises(ConfigurationInvalid, match=words):
            marker(signers, **settings)
    assert signers.list() == []


def test_an_operator_is_warned_of_an_end_without_time_stamps(signers: Signers, tmp_path: Path) -> None:
    secret = ec.generate_private_key(ec.SECP256R1())
    (certificate := tmp_path / "chain.pem").write_text(chain_pem(secret))
    (key := tmp_path / "key.pem").write_bytes(key_pem(secret))
    [warning] = marker(signers, certificate=certificate, key=key).warnings()
    assert "TINTYPE_MARK_TIME" in warning
    assert marker(signers, certificate=certificate, key=key, time="http://stamps.example").warnings() == []
    assert marker(signers).warnings() == [], "an own pair lasts"


# What a file names is never fetched


class Listener:
    """A listener on this machine, and the calls that it got."""

    def __init__(self) -> None:
        calls = self.calls = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                calls.append(self.path)
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def image(self) -> bytes:
        """One whose XMP says that its manifest is at the listener."""
        address = f"http://127.0.0.1:{self._server.server_port}/manifest"
        packet = (
            '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
            '<rdf:Description rdf:about="" xmlns:dcterms="http://purl.org/dc/terms/"'
            f' dcterms:provenance="{address}"/></rdf:RDF></x:xmpmeta>'
        )
        # With the word that makes it an ingredient's file.
        return encode(Image.new("RGB", (64, 64)), "jpeg", note='{"jumb": 1}', xmp=packet.encode())


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as found:
        yield found


def read(data: bytes, settings: dict[str, Any]) -> None:
    context = c2pa.Context(c2pa.Settings.from_dict(settings))
    with pytest.raises(c2pa.C2paError):
        c2pa.Reader("image/jpeg", io.BytesIO(data), context=context).close()


def test_an_address_in_a_file_is_fetched_by_no_context_of_ours(listener: Listener) -> None:
    data = listener.image()
    read(data, context_settings(OURS.root))
    signer = ManifestSigner(OURS.chain, OURS.key)
    with capture_logs():
        signed = signer.sign(file(), replace(EDITED, parent=data))
    assert report(signed)["validation_state"] == "Trusted"
    assert listener.calls == []
    read(data, {})
    assert listener.calls == ["/manifest"], "with the library's defaults it is, so this test can fail"


def test_the_stores_signers_are_those_of_a_marker(sqlite_files: SqliteFiles) -> None:
    """The façade's, which the processes are given."""
    db = Database(sqlite_files.fresh())
    store: Store = store_on(db)
    assert (
        report(marker(store.signers).sign(file(), DRAWN).data, store.signers.roots())["validation_state"] == "Trusted"
    )
    db.close()
