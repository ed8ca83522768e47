"""Reading what an image's file says of its origin, and whether that is true.

Its bytes are a stranger's: web processes call this in a child process, by `detector.py`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

import numpy as np
from PIL import Image

from tintype.core import TAG
from tintype.errors import BadPicture, ConfigurationInvalid
from tintype.media.images import decode, identify
from tintype.media.provenance.certificates import first, read_trusted
from tintype.media.provenance.findings import Findings, Signature, SignatureStatus, Watermark
from tintype.media.provenance.manifests import context_settings
from tintype.settings.groups import ProvenanceSettings

#: Pixels of an image that is looked at, at most: what a mark is searched in is decoded.
MAX_PIXELS = 25_000_000
#: Characters of a text of a stranger's manifest that are shown, and how many actions of it are.
MAX_TEXT, MAX_ACTIONS = 100, 20
#: What is wrong with a signature whose certificate is unknown, or has expired, and with nothing else of it.
UNTRUSTED, EXPIRED = "signingCredential.untrusted", "signingCredential.expired"
TRUSTED, SIGNED = "signingCredential.trusted", "claimSignature.validated"

Manifest = Mapping[str, Any]


class Known(Protocol):
    """A signer of this server, as the store has it."""

    @property
    def own(self) -> bool:
        """Whether its pair was made here."""

    @property
    def root(self) -> str:
        """The certificate, in PEM, whose word is taken for it."""

    @property
    def chain(self) -> str:
        """Its certificates, in PEM, the leaf first."""

    @property
    def distrusted_at(self) -> float | None:
        """From when on it proves nothing."""


@dataclass(frozen=True)
class Anchors:
    """Whose word is taken for signers; certificates in PEM."""

    #: Roots of pairs made here: what they vouch for was signed here.
    roots: str = ""
    #: Of certificates from elsewhere that sign here, the authority by the serial number of the leaf: it vouches for
    #: others' too.
    issued: Mapping[str, str] = field(default_factory=dict)
    #: Of others whom this server trusts.
    others: str = ""

    @classmethod
    def of(cls, signers: Iterable[Known], others: str = "") -> Self:
        """Of a server with these signers."""
        trusted = [one for one in signers if one.distrusted_at is None]
        return cls(
            "".join(one.root for one in trusted if one.own),
            {str(first(one.chain).serial_number): one.root for one in trusted if not one.own},
            others,
        )


def trusted(settings: ProvenanceSettings) -> str:
    """The certificates, in PEM, of others whom the operator trusts; raises ConfigurationInvalid."""
    try:
        return read_trusted(settings.trust) if settings.trust else ""
    except ConfigurationInvalid as error:
        raise ConfigurationInvalid(f"{settings.trust} (TINTYPE_MARK_TRUST): {error.message}") from error


def read(data: bytes, anchors: Anchors, tag: bytes = b"", max_pixels: int = MAX_PIXELS) -> Findings:
    """What an image's file, and its pixels, say of its origin. Nothing is fetched.

    tag: what the numbers of this server's watermarks begin with. Raises BadPicture for what is no image, as `identify`
    does; of one that is damaged, the pixels are not looked at.
    """
    kind, _ = identify(data, max_pixels)
    signature = _signature(data, f"image/{kind}", anchors)
    try:
        image = decode(data, max_pixels)
    except BadPicture:
        return Findings(signature)
    return Findings(signature, _watermark(image, tag))


def prepare() -> None:
    """Import what the first image would wait for."""
    import c2pa  # noqa: F401, PLC0415 - takes a fifth of a second

    from tintype.media.provenance import mark  # noqa: F401, PLC0415 - the same, for SciPy


def _watermark(image: Image.Image, tag: bytes) -> Watermark:
    from tintype.media.provenance.mark import find  # noqa: PLC0415 - see above

    found = find(np.asarray(image))
    if found is None:
        return Watermark("none")
    if found.number is None:
        return Watermark("unreadable")
    server = found.number[:TAG]
    return Watermark("here" if server == tag else "other", found.number.hex(), server.hex())


def _signature(data: bytes, kind: str, anchors: Anchors) -> Signature:
    from c2pa import C2paError, Reader  # noqa: PLC0415 - see above

    if kind not in Reader.get_supported_mime_types():
        return Signature("none")
    try:
        said = _read(data, kind, anchors.roots)
        if said is None:
            return Signature("none")
        authority = anchors.issued.get(str(_signed(said).get("cert_serial_number")), "")
        if authority and not _sound(said):
            said = _read(data, kind, authority) or said
        if _sound(said):
            return _described(said, "here")
        if anchors.others:
            said = _read(data, kind, anchors.others) or said
    except C2paError as error:
        return Signature("elsewhere" if "remote manifest" in str(error).lower() else "unreadable")
    return _described(said, _status(said))


def _read(data: bytes, kind: str, anchors: str) -> Manifest | None:
    """What c2pa says of the file's manifests; None where there is none. Raises C2paError."""
    from c2pa import Context, Reader  # noqa: PLC0415 - see above

    with Context.from_dict(context_settings(anchors)) as context:
        reader = Reader.try_create(kind, io.BytesIO(data), context=context)
        if reader is None:
            return None
        with reader:
            said: Manifest = json.loads(reader.json())
            return said


def _valid(said: Manifest) -> bool:
    return said.get("validation_state") in ("Valid", "Trusted")


def _trusted(said: Manifest) -> bool:
    """Whether a signer who is trusted has signed it: c2pa's "Trusted" asks that of all that it was made from, too."""
    return {TRUSTED, SIGNED} <= {*_codes(said, "success")}


def _sound(said: Manifest) -> bool:
    """Whether such a signature fits the image, too."""
    return _valid(said) and _trusted(said)


def _status(said: Manifest) -> SignatureStatus:
    """Of a signature that isn't this server's."""
    if _valid(said):
        return "other"
    wrong = {*_codes(said, "failure")}
    return "expired" if EXPIRED in wrong and wrong <= {UNTRUSTED, EXPIRED} else "tampered"


def _codes(said: Manifest, outcome: str) -> Iterator[str]:
    """The checks of the active manifest that came out so."""
    active = (said.get("validation_results") or {}).get("activeManifest") or {}
    return (str(check.get("code")) for check in active.get(outcome, []))


def _active(said: Manifest) -> Manifest:
    found: Manifest = said.get("manifests", {}).get(said.get("active_manifest"), {})
    return found


def _signed(said: Manifest) -> Manifest:
    return _active(said).get("signature_info") or {}


def _described(said: Manifest, status: SignatureStatus) -> Signature:
    signed = _signed(said)
    actions = [*_actions(_active(said))][:MAX_ACTIONS]
    moments = (signed.get("time"), *(one.get("when") for one in actions))
    sources = [one.get("digitalSourceType") for one in actions]
    source = next((_text(one) for one in sources if one), None)
    return Signature(
        status,
        signer=_text(signed.get("issuer")) or _text(signed.get("common_name")),
        trusted=_trusted(said),
        made_at=next((_text(one) for one in moments if one), None),
        source_type=source.rpartition("/")[2] if source else None,
        actions=tuple(filter(None, (_text(one.get("action")) for one in actions))),
    )


def _actions(manifest: Manifest) -> Iterator[Mapping[str, Any]]:
    for assertion in manifest.get("assertions", []):
        if str(assertion.get("label")).startswith("c2pa.actions"):
            yield from (one for one in assertion.get("data", {}).get("actions", []) if isinstance(one, Mapping))


def _text(said: object) -> str | None:
    """A stranger's words: short, on one line, and without what steers a terminal or turns the direction of text."""
    words = "".join(one if one.isprintable() else " " for one in str(said)) if isinstance(said, str) else ""
    return " ".join(words[: 2 * MAX_TEXT].split())[:MAX_TEXT] or None
