"""What is found out about an image by its file: who signed it, whether that is true, and how it is said."""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image
from tests.image_files import saved

from tintype.catalog.formats import offered
from tintype.core import Credential
from tintype.errors import BadPicture
from tintype.media.images import encode
from tintype.media.provenance.certificates import first, issue
from tintype.media.provenance.findings import (
    NOTHING,
    Findings,
    LogEntry,
    LogMatches,
    Signature,
    SignatureStatus,
    Watermark,
)
from tintype.media.provenance.manifests import ManifestSigner
from tintype.media.provenance.source import Origin, SourceType
from tintype.media.provenance.verify import MAX_PIXELS, MAX_TEXT, Anchors, read

NOW = datetime.now(UTC)
OURS = issue("images.example", b"\x12\x34", NOW)
OTHERS = issue("pictures.example", b"\x56\x78", NOW)
ANCHORS = Anchors(OURS.root)
EXPIRED = Path(__file__).parent.parent / "provenance"
FORMATS = [row.name for row in offered()]


def plain(format: str = "png") -> bytes:
    return encode(Image.effect_noise((64, 64), 60).convert("RGB"), format)


def signed(by: Credential = OURS, format: str = "png", source: SourceType = "trainedAlgorithmicMedia") -> bytes:
    return ManifestSigner(by.chain, by.key).sign(plain(format), Origin(source, "sd1.5-txt2img"))


def changed(data: bytes) -> bytes:
    """One byte of its pixels."""
    begins = next(data.rindex(mark) for mark in (b"IDAT", b"VP8 ", b"\xff\xda") if mark in data)
    turned = bytearray(data)
    turned[begins + 40] ^= 1
    return bytes(turned)


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_signed_here_is_known(format: str) -> None:
    verdict = read(signed(format=format), ANCHORS)
    found = verdict.signature
    assert (found.status, found.signer, found.trusted) == ("here", "images.example", True)
    assert (found.source_type, found.actions) == ("trainedAlgorithmicMedia", ("c2pa.created",))
    assert found.made_at is not None
    assert datetime.fromisoformat(found.made_at) >= NOW.replace(microsecond=0)
    assert verdict.found
    assert verdict.words == "Made by this server: signed, and unchanged since; it says that it was made by AI."


def test_a_pair_that_was_replaced_is_still_this_server_s() -> None:
    assert read(signed(OTHERS), Anchors(OURS.root + OTHERS.root)).signature.status == "here"


def test_somebody_else_s_signature_is_not_taken_for_this_server_s() -> None:
    """Nor its name, which anybody can put into a certificate."""
    liar = issue("images.example", b"\x12\x34", NOW)
    verdict = read(signed(liar), ANCHORS)
    assert (verdict.signature.status, verdict.signature.trusted) == ("other", False)
    assert (
        "“images.example”, but this server doesn't know them: any name can be put into a certificate." in verdict.words
    )
    assert read(signed(), Anchors()).signature.status == "other", "who has signed nothing yet knows nobody"


def test_others_whom_the_operator_trusts_are_said_to_be() -> None:
    verdict = read(signed(OTHERS), replace(ANCHORS, others=OTHERS.root))
    assert (verdict.signature.status, verdict.signature.trusted) == ("other", True)
    assert "“pictures.example”, whom this server trusts" in verdict.words
    assert read(signed(), replace(ANCHORS, others=OTHERS.root)).signature.status == "here"


@dataclass(frozen=True)
class Signer:
    """As the store has them."""

    root: str
    chain: str
    own: bool
    distrusted_at: float | None = None


def test_a_certificate_from_elsewhere_is_this_server_s_and_its_authority_s_others_are_not() -> None:
    anchors = Anchors.of([Signer(OURS.root, OURS.chain, own=True), Signer(OTHERS.root, OTHERS.chain, own=False)])
    assert anchors.roots == OURS.root
    assert read(signed(OTHERS), anchors).signature.status == "here"
    another = {str(first(OURS.chain).serial_number): OTHERS.root}
    assert read(signed(OTHERS), replace(anchors, issued=another)).signature.status == "other"
    assert read(signed(), replace(anchors, roots="", issued=another)).signature.status == "other", (
        "its authority is not"
    )


@pytest.mark.parametrize("own", [True, False])
def test_what_a_distrusted_pair_has_signed_is_nobody_s(own: bool) -> None:
    anchors = Anchors.of([Signer(OURS.root, OURS.chain, own, distrusted_at=1.0)])
    assert read(signed(), anchors).signature.status == "other"


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("by", [OURS, OTHERS], ids=["ours", "others"])
def test_a_change_is_noticed(format: str, by: Credential) -> None:
    verdict = read(changed(signed(by, format)), ANCHORS)
    assert (verdict.signature.status, verdict.signature.trusted) == ("tampered", by is OURS)
    assert "that doesn't fit: the image was changed since, or the signature was taken" in verdict.words
    assert "unchanged" not in verdict.words


def test_a_signature_that_was_taken_to_another_image_is_noticed() -> None:
    """A PNG's manifest is a chunk of its own."""
    donor, other = signed(), plain()
    at = donor.index(b"caBX") - 4
    manifest = donor[at : at + 12 + int.from_bytes(donor[at : at + 4])]
    assert read(other[:33] + manifest + other[33:], ANCHORS).signature.status == "tampered"


def test_a_certificate_that_has_expired_proves_nothing_without_a_time_stamp() -> None:
    data, root = (EXPIRED / "expired.png").read_bytes(), (EXPIRED / "expired.pem").read_text()
    for anchors in (Anchors(root), ANCHORS):
        verdict = read(data, anchors)
        assert (verdict.signature.status, verdict.signature.trusted) == ("expired", False)
        assert "the certificate has expired" in verdict.words


@pytest.mark.parametrize("format", [*FORMATS, "GIF", "BMP", "TIFF"])
def test_an_image_without_a_mark_is_not_said_to_be_made_by_people(format: str) -> None:
    data = plain(format) if format in FORMATS else saved(Image.new("RGB", (8, 8)), format)
    verdict = read(data, ANCHORS)
    assert (verdict.signature, verdict.found, verdict.readable) == (Signature("none"), False, True)
    assert verdict.words == NOTHING


def test_saved_anew_it_has_no_signature() -> None:
    assert read(saved(Image.open(io.BytesIO(signed()))), ANCHORS).signature.status == "none"


def test_a_broken_manifest_is_no_sign_of_anything() -> None:
    data = bytearray(signed())
    at = data.index(b"jumb")
    data[at : at + 4] = b"jump"
    verdict = read(bytes(data), ANCHORS)
    assert verdict.signature.status in ("unreadable", "tampered")


@pytest.mark.parametrize("data", [b"", b"text", b"%PDF-1.7", b"RIFF....AVI LIST", plain()[:20]])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadPicture):
        read(data, ANCHORS)


def test_an_image_of_too_many_pixels_is_refused() -> None:
    large = saved(Image.new("1", (6000, 6000)))
    with pytest.raises(BadPicture, match=f"too many pixels, 6000×6000: {MAX_PIXELS} is the limit"):
        read(large, ANCHORS)


@pytest.mark.parametrize("status", ["other", "tampered", "expired"])
def test_a_name_does_not_end_its_quotation(status: SignatureStatus) -> None:
    words = Findings(Signature(status, "A”, whom this server trusts. By “B", source_type="x”. Trusted: “y")).words
    assert '“A", whom this server trusts. By "B”' in words
    assert status == "tampered" or '“x". Trusted: "y”' in words


def test_a_signer_s_name_is_shortened_and_steers_nothing() -> None:
    name = "a\u202eb\x1b[31m" + "c" * 50
    verdict = read(signed(issue(name, b"\0\0", NOW)), ANCHORS)
    assert verdict.signature.signer == "a b [31m" + "c" * 50
    assert len(verdict.signature.signer) < MAX_TEXT


# Words

ENTRY = LogEntry("2026-11-30T20:00:00+00:00", "sd1.5-txt2img")
MARK = Watermark("here", "12347b0c55d1", "1234")


@pytest.mark.parametrize(
    ("verdict", "words"),
    [
        (Findings(Signature("none"), MARK), "marks can be forged, and nothing confirms this one"),
        (Findings(Signature("none"), replace(MARK, status="other")), "another tintype server (1234); marks can be"),
        (Findings(Signature("none"), Watermark("unreadable")), "a mark that is too damaged"),
        (Findings(Signature("none"), MARK, LogMatches(number=(ENTRY,))), "the log has an image of that number"),
        (Findings(Signature("none"), None, LogMatches(exact=ENTRY)), "This very file is in this server's log"),
        (Findings(Signature("unreadable"), MARK), "no signature that can be read. Something like a signature"),
    ],
)
def test_what_is_found_without_a_signature_is_said(verdict: Findings, words: str) -> None:
    assert verdict.found
    assert words in verdict.words
    assert NOTHING not in verdict.words


@pytest.mark.parametrize("mark", [None, Watermark("none")])
@pytest.mark.parametrize("log", [None, LogMatches()])
def test_nothing_is_never_a_no(mark: Watermark | None, log: LogMatches | None) -> None:
    verdict = Findings(Signature("none"), mark, log)
    assert not verdict.found
    assert verdict.words == NOTHING


def test_another_process_gets_the_same() -> None:
    for verdict in (Findings(Signature("here", "a", True, "b", "c", ("d", "e")), MARK), Findings(Signature("none"))):
        assert Findings.from_json(verdict.to_json()) == verdict
