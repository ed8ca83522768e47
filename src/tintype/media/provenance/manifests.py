"""C2PA manifests: signed into a file, the last thing that happens to it. Only this module and `verify.py` import c2pa.

c2pa is imported when the first file is signed: it takes a fifth of a second, and commands that sign nothing do without.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from tintype import __version__
from tintype.media.provenance.certificates import USAGES
from tintype.media.provenance.source import Origin, content_type

if TYPE_CHECKING:
    from c2pa import Context, Signer

log = structlog.get_logger()

SOFTWARE = {"name": "tintype", "version": __version__}
#: The name of the input image within a manifest.
INPUT = "in"
#: Bytes that a file may grow by for the manifests of its input image, which may be a chain without end.
MAX_GROWTH = 2**20
#: Bytes → signature, as r and s or in DER: a key that is elsewhere.
Sign = Callable[[bytes], bytes]


class SigningFailed(Exception):
    """Nothing was signed; its text, and its cause, are for the operator."""


def context_settings(anchors: str = "") -> dict[str, Any]:
    """Of every context, whether it reads or signs; nothing else may make one.

    Nothing is ever fetched: by default, a file whose XMP names an address has it fetched, past all limits of
    `media/network.py`. anchors: of a context that reads, the certificates, in PEM, whose word is taken for signers.
    """
    usages = "\n".join(usage.dotted_string for usage in USAGES)
    return {
        "builder": {"thumbnail": {"enabled": False}},
        "verify": {
            "verify_after_sign": True,  # else what a broken signer answers is written into the file
            "verify_trust": bool(anchors),
            "remote_manifest_fetch": False,
            "ocsp_fetch": False,
        },
        "trust": {"trust_config": usages, **({"trust_anchors": anchors} if anchors else {})},
    }


class ManifestSigner:
    """Signs manifests with one certificate; safe to share between threads, not between processes.

    chain: certificates in PEM, the leaf first. key: its private key, PKCS#8 in PEM, or what signs in its place.
    time: the address of an authority for time stamps (RFC 3161); empty for none. Raises SigningFailed.
    """

    def __init__(self, chain: str, key: str | Sign, time: str = "") -> None:
        import c2pa  # noqa: PLC0415 - see above

        try:
            settings = c2pa.Settings.from_dict(context_settings())
            self._context: Context = c2pa.Context(settings, _signer(chain, key, time))
        except c2pa.C2paError as error:
            raise SigningFailed(str(error)) from error

    def sign(self, data: bytes, origin: Origin) -> bytes:
        """The image's file with a manifest; its own pixels, XMP and texts stay as they are.

        An init image whose manifests can't be kept is named without them. Raises SigningFailed.
        """
        if origin.parent is not None:
            with suppress(SigningFailed):
                return self._kept(data, origin, origin.parent)
            log.warning("the manifests of an input image can't be kept")
        return self._signed(data, origin, None)

    def keeps(self, data: bytes, origin: Origin) -> bool:
        """Whether `sign` keeps the manifests of the init image."""
        try:
            self._kept(data, origin, origin.parent)
        except SigningFailed:
            return False
        return True

    def _kept(self, data: bytes, origin: Origin, parent: bytes | None) -> bytes:
        """The signed file, if it doesn't grow too much; raises SigningFailed."""
        signed = self._signed(data, origin, parent)
        if len(signed) > len(data) + MAX_GROWTH:
            raise SigningFailed(f"its manifests take more than {MAX_GROWTH} bytes")
        return signed

    def _signed(self, data: bytes, origin: Origin, parent: bytes | None) -> bytes:
        from c2pa import Builder, C2paError  # noqa: PLC0415 - see above

        file, ingredient = io.BytesIO(), _ingredient(origin)
        named = [ingredient] if ingredient and parent is None else []
        try:
            with Builder(_manifest(origin, named), self._context) as builder:
                if ingredient and parent is not None:
                    builder.add_ingredient(ingredient, content_type(parent), io.BytesIO(parent))
                builder.sign(content_type(data), io.BytesIO(data), file)
        except C2paError as error:
            raise SigningFailed(str(error)) from error
        return file.getvalue()


def _signer(chain: str, key: str | Sign, time: str) -> Signer:
    import c2pa  # noqa: PLC0415 - see above

    # An empty address is an error; None is no time stamp.
    if isinstance(key, str):
        return c2pa.Signer.from_info(c2pa.C2paSignerInfo(b"es256", chain.encode(), key.encode(), time or None))
    return c2pa.Signer.from_callback(_logged(key), c2pa.C2paSigningAlg.ES256, chain, time or None)


def _logged(sign: Sign) -> Sign:
    """The same, its errors logged: the library says only that the signature is invalid, and writes a log of its own."""

    def signed(data: bytes) -> bytes:
        try:
            return sign(data)
        except Exception as error:
            log.exception("the signer (TINTYPE_MARK_SIGNER) failed", error=type(error).__name__)
            return b""

    return signed


def _ingredient(origin: Origin) -> dict[str, Any] | None:
    """Of the init image, nothing but that there was one: its name or address may be private."""
    if origin.relationship is None:
        return None
    kind = content_type(origin.parent) if origin.parent else ""
    about = {"title": "input image", "relationship": origin.relationship, "label": INPUT}
    return {**about, **({"format": kind} if kind else {})}


def _manifest(origin: Origin, ingredients: list[dict[str, Any]]) -> dict[str, Any]:
    """No label of its own: with one, an output that is used as an input reads as an ingredient of itself."""
    return {
        "claim_generator_info": [SOFTWARE],
        "ingredients": ingredients,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": _actions(origin), "allActionsIncluded": True}},
        ],
    }


def _actions(origin: Origin) -> list[dict[str, Any]]:
    """Created, or opened and edited: C2PA wants one of them first. Then watermarked, where it was."""
    when = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    of_input = {"ingredientIds": [INPUT]} if origin.relationship else {}
    model = {"org.tintype.model": origin.model}
    made = {"softwareAgent": SOFTWARE, "when": when}
    # Unbound: a bound one would need an algorithm of C2PA's list, which ours is not on.
    marked = [{"action": "c2pa.watermarked.unbound", **made}] if origin.watermarked else []
    if origin.relationship == "parentOf":
        edited = {"action": "c2pa.edited", "digitalSourceType": origin.source_uri, "parameters": model}
        return [{"action": "c2pa.opened", "when": when, "parameters": of_input}, {**edited, **made}, *marked]
    parameters = {**model, **of_input}
    created = {"action": "c2pa.created", "digitalSourceType": origin.source_uri, "parameters": parameters}
    return [{**created, **made}, *marked]
