"""What files say of their images' making: source types, XMP, manifests, and the certificates that sign them."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import c2pa
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID
from PIL import Image
from structlog.testing import capture_logs

from tintype.catalog.formats import offered
from tintype.core import Credential, GenerationParams, InputImage
from tintype.errors import ConfigurationInvalid
from tintype.media.images import encode, read_note
from tintype.media.provenance import certificates
from tintype.media.provenance.certificates import Chain, issue, organisation
from tintype.media.provenance.manifests import ManifestSigner, SigningFailed, context_settings
from tintype.media.provenance.source import Origin, carrier, content_type

NOW = datetime.now(UTC)
OURS = issue("images.example", b"\x12\x34", NOW)
FORMATS = [row.name for row in offered()]
DRAWN = Origin("trainedAlgorithmicMedia", "sd1.5-txt2img")
EDITED = Origin("compositeWithTrainedAlgorithmicMedia", "sd1.5-img2img", "parentOf")
SEEN = Origin("trainedAlgorithmicMedia", "sd1.5-img2img", "inputTo")
PLAIN = GenerationParams(prompt="a fox", steps=20, guidance=7.5, seed=1, sampler="Euler")


def image(side: int = 64) -> Image.Image:
    return Image.effect_noise((side, side), 60).convert("RGB")


def file(format: str = "png") -> bytes:
    return encode(image(), format, 95, '{"prompt": "a secret fox"}', "a secret fox")


def report(data: bytes, anchors: str = OURS.root) -> dict[str, Any]:
    context = c2pa.Context(c2pa.Settings.from_dict(context_settings(anchors)))
    with c2pa.Reader(content_type(data), io.BytesIO(data), context=context) as reader:
        said: dict[str, Any] = json.loads(reader.json())
    return said


def active(said: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = said["manifests"][said["active_manifest"]]
    return found


def actions(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    return [one for said in manifest["assertions"] for one in said["data"].get("actions", ())]


@pytest.mark.parametrize("format", FORMATS)
def test_a_signed_file_says_who_made_it_and_how_and_is_otherwise_as_it_was(format: str) -> None:
    before = file(format)
    signed = ManifestSigner(OURS.chain, OURS.key).sign(before, DRAWN)
    said = report(signed)
    assert said["validation_state"] == "Trusted"
    assert "validation_status" not in said
    [created] = actions(active(said))
    assert created["action"] == "c2pa.created"
    assert created["digitalSourceType"] == DRAWN.source_uri
    assert created["softwareAgent"]["name"] == "tintype"
    assert created["parameters"] == {"org.tintype.model": "sd1.5-txt2img"}
    assert "secret" not in json.dumps(said)
    assert read_note(signed) == read_note(before)
    assert Image.open(io.BytesIO(signed)).tobytes() == Image.open(io.BytesIO(before)).tobytes()
    assert len(signed) - len(before) < 6_000


def test_another_servers_root_makes_nothing_trusted() -> None:
    signed = ManifestSigner(OURS.chain, OURS.key).sign(file(), DRAWN)
    said = report(signed, issue("images.example", b"\x12\x34", NOW).root)
    assert said["validation_state"] == "Valid"
    assert [one["code"] for one in said["validation_status"]] == ["signingCredential.untrusted"]


def test_changed_pixels_are_noticed() -> None:
    signed = bytearray(ManifestSigner(OURS.chain, OURS.key).sign(file(), DRAWN))
    at = signed.index(b"IDAT") + 40
    signed[at] ^= 1
    assert report(bytes(signed))["validation_state"] == "Invalid"


def test_an_edited_image_has_the_input_as_its_parent_and_one_drawn_over_it_as_an_input() -> None:
    signer = ManifestSigner(OURS.chain, OURS.key)
    edited = active(report(signer.sign(file(), EDITED)))
    assert [one["action"] for one in actions(edited)] == ["c2pa.opened", "c2pa.edited"]
    assert actions(edited)[1]["digitalSourceType"].endswith("/compositeWithTrainedAlgorithmicMedia")
    assert [(one["relationship"], one["title"]) for one in edited["ingredients"]] == [("parentOf", "input image")]
    seen = active(report(signer.sign(file(), SEEN)))
    assert [one["action"] for one in actions(seen)] == ["c2pa.created"]
    assert [one["relationship"] for one in seen["ingredients"]] == ["inputTo"]


@pytest.mark.parametrize("format", FORMATS)
def test_the_manifests_of_an_input_are_kept(format: str) -> None:
    signer = ManifestSigner(OURS.chain, OURS.key)
    first = signer.sign(file(format), DRAWN)
    second = signer.sign(file(), replace(EDITED, parent=carrier(first)))
    said = report(second)
    assert said["validation_state"] == "Trusted"
    assert len(said["manifests"]) == 2
    third = signer.sign(file(format), replace(SEEN, parent=carrier(second)))
    assert len(report(third)["manifests"]) == 3


def test_a_damaged_input_is_kept_with_its_failure_and_junk_is_left_out() -> None:
    signer = ManifestSigner(OURS.chain, OURS.key)
    damaged = bytearray(signer.sign(file(), DRAWN))
    damaged[damaged.index(b"IDAT") + 40] ^= 1
    said = report(signer.sign(file(), replace(EDITED, parent=carrier(bytes(damaged)))))
    assert said["validation_state"] == "Trusted", "what the input's maker did is not this server's"
    assert len(said["manifests"]) == 2
    junk = b"\xff\xd8\xff" + b"not jumb at all" * 20
    with capture_logs() as logged:
        said = report(signer.sign(file(), replace(EDITED, parent=carrier(junk))))
    assert said["validation_state"] == "Trusted"
    assert len(said["manifests"]) == 1
    assert [one["event"] for one in logged] == ["the manifests of an input image can't be kept"]


def test_manifests_that_would_make_a_file_much_larger_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    signer = ManifestSigner(OURS.chain, OURS.key)
    first = signer.sign(file(), DRAWN)
    monkeypatch.setattr("tintype.media.provenance.manifests.MAX_GROWTH", 5_000)
    assert len(report(signer.sign(file(), replace(EDITED, parent=first)))["manifests"]) == 1


def test_only_files_that_can_carry_manifests_are_ingredients() -> None:
    assert carrier(file()) is None, "it has none"
    assert carrier(b"BM jumb") is None
    assert carrier(b"text about jumb") is None


def signature(data: bytes) -> bytes:
    """As a KMS gives it, in DER."""
    key = load_pem_private_key(OURS.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def test_a_key_may_be_elsewhere() -> None:
    signed = ManifestSigner(OURS.chain, signature).sign(file(), DRAWN)
    assert report(signed)["validation_state"] == "Trusted"


def breaking(_: bytes) -> bytes:
    raise ConnectionError("kms is away")


@pytest.mark.parametrize("sign", [breaking, lambda _: b"", lambda _: b"x" * 64], ids=["raises", "nothing", "rubbish"])
def test_what_a_broken_signer_returns_is_never_a_file(sign: Any) -> None:
    signer = ManifestSigner(OURS.chain, sign)
    with capture_logs() as logged, pytest.raises(SigningFailed):
        signer.sign(file(), DRAWN)
    assert [one["error"] for one in logged] == (["ConnectionError"] if sign is breaking else [])


def test_a_certificate_that_cannot_sign_is_refused() -> None:
    with pytest.raises(SigningFailed):
        ManifestSigner(OURS.root, OURS.key).sign(file(), DRAWN)


# Source types and XMP


def test_source_types() -> None:
    init = replace(PLAIN, inputs=(InputImage("x"),), strength=0.7)
    masked = replace(init, inputs=(InputImage("x"), InputImage("y", "mask")), strength=1.0)
    assert Origin.of("m", PLAIN).source_type == "trainedAlgorithmicMedia"
    assert Origin.of("m", PLAIN).relationship is None
    assert Origin.of("m", init, b"f") == Origin("compositeWithTrainedAlgorithmicMedia", "m", "parentOf", b"f")
    assert Origin.of("m", replace(init, strength=1.0)).relationship == "inputTo"
    assert Origin.of("m", masked).relationship == "parentOf", "what the mask spares is the input's"
    assert Origin.of("m", replace(init, canvas=True)).relationship is None, "the server made it"


def test_xmp_names_the_source_type() -> None:
    packet = EDITED.xmp().decode()
    assert "digitalsourcetype/compositeWithTrainedAlgorithmicMedia" in packet


# Certificates


def test_a_pair_is_named_after_the_server() -> None:
    leaf = certificates.first(OURS.chain)
    assert leaf.subject.rfc4514_string() == "CN=tintype 1234,O=images.example"
    assert leaf.not_valid_after_utc - NOW > timedelta(days=3_650)
    assert organisation("https://images.example:8000/x") == "images.example"
    assert organisation("") == "tintype"
    assert len(organisation(f"http://{'a' * 90}.example")) == 64
    assert OURS.key not in repr(OURS)


def chain_pem(key: Any = None, *, ttl: timedelta = timedelta(days=400), start: datetime = NOW, **changed: Any) -> str:
    """A leaf, with something about it changed, and the authority that issued it."""
    usages = changed.get("usages", [ExtendedKeyUsageOID.EMAIL_PROTECTION])
    name = certificates._name("Example", "leaf")
    issuer = name if changed.get("itself") else certificates._name("Example CA", "root")
    key = key or ec.generate_private_key(ec.SECP256R1())
    built = certificates._begun(name, issuer, key, start, ttl)
    if usages:
        built = built.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    if changed.get("usage", True):
        built = built.add_extension(certificates._key_usage(**{changed.get("usage", "digital_signature"): True}), True)
    authority = ec.generate_private_key(ec.SECP256R1())
    root = certificates._sign(
        certificates._begun(issuer, issuer, authority, NOW, certificates.ROOT_YEARS * certificates.YEAR),
        authority,
        (x509.BasicConstraints(ca=True, path_length=None), True),
        (certificates._key_usage(key_cert_sign=True), True),
    )
    of_authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key())
    leaf = built.add_extension(of_authority, critical=False).sign(authority, hashes.SHA256())
    return certificates.to_pem(leaf) + certificates.to_pem(root)


def key_pem(key: Any, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption)
    return pem


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"pem": "nothing"}, "not a PEM file"),
        ({"itself": True}, "signed by itself"),
        ({"ttl": timedelta(hours=-1)}, "expired on"),
        ({"start": NOW + timedelta(days=9)}, "valid from"),
        ({"usages": []}, "extended key usages"),
        ({"usages": [ExtendedKeyUsageOID.SERVER_AUTH]}, "extended key usages"),
        ({"usage": "crl_sign"}, "digitalSignature"),
        ({"usage": ""}, "digitalSignature"),
    ],
    ids=["junk", "itself", "expired", "early", "no extended usage", "a server's", "another usage", "no usage"],
)
def test_certificates_that_cannot_sign_are_refused_in_words(about: dict[str, Any], words: str, tmp_path: Path) -> None:
    (path := tmp_path / "chain.pem").write_text(about.get("pem") or chain_pem(**about))
    with pytest.raises(ConfigurationInvalid, match=words):
        Chain.read(path, NOW)


def test_certificates_that_lead_to_no_authority_are_refused_in_words(tmp_path: Path) -> None:
    """Their signatures would hold, and read as an unknown signer's everywhere, here too."""
    leaf, other = OURS.chain, issue("images.example", b"\x12\x34", NOW)
    for pem, words in (
        (leaf, "one certificate only; the one that issued it must follow"),
        (leaf + other.root, "its certificate 1 .* is not issued by the next one"),  # the same name, another key
        (leaf + OURS.root + other.chain, "its certificate 2 .* is not issued by the next one"),
    ):
        (path := tmp_path / "chain.pem").write_text(pem)
        with pytest.raises(ConfigurationInvalid, match=words):
            Chain.read(path, NOW)
    path.write_text(leaf + OURS.root)
    assert Chain.read(path, NOW).authority == OURS.root


@pytest.mark.parametrize("usage", certificates.USAGES)
def test_each_of_three_usages_signs(usage: x509.ObjectIdentifier, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (path := tmp_path / "chain.pem").write_text(chain_pem(key, usages=[usage]))
    (secret := tmp_path / "key.pem").write_bytes(key_pem(key))
    chain = Chain.read(path, NOW)
    signed = ManifestSigner(chain.pem, chain.read_key(secret)).sign(file(), DRAWN)
    assert report(signed)["validation_state"] in ("Valid", "Trusted")


def test_keys_that_do_not_go_with_the_certificate_are_refused_in_words(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (path := tmp_path / "chain.pem").write_text(chain_pem(key))
    chain, secret = Chain.read(path, NOW), tmp_path / "key.pem"
    for pem, words in (
        (key_pem(ec.generate_private_key(ec.SECP256R1())), "not the key of the first"),
        (key_pem(ec.generate_private_key(ec.SECP384R1())), "P-256"),
        (key_pem(rsa.generate_private_key(65537, 2048)), "P-256"),
        (key_pem(key, b"password"), "has a password"),
        (b"nothing", "not a PEM file"),
    ):
        secret.write_bytes(pem)
        with pytest.raises(ConfigurationInvalid, match=words):
            chain.read_key(secret)
    with pytest.raises(ConfigurationInvalid, match="No such file"):
        chain.read_key(tmp_path / "none.pem")
    with pytest.raises(ConfigurationInvalid, match="No such file"):
        Chain.read(tmp_path / "none.pem", NOW)


@pytest.mark.parametrize(
    ("days", "stamped", "warned"),
    [(4_000, False, 0), (400, False, 1), (400, True, 0), (20, True, 1), (20, False, 1)],
)
def test_an_operator_is_warned_of_the_end(days: int, stamped: bool, warned: int) -> None:
    leaf = certificates.first(chain_pem(ttl=timedelta(days=days)))
    assert len(certificates.expiry_warnings(leaf, NOW, stamped=stamped)) == warned


def test_an_own_pair_lasts_long_enough_without_time_stamps() -> None:
    assert certificates.expiry_warnings(certificates.first(OURS.chain), NOW, stamped=False) == []
    assert isinstance(OURS, Credential)
