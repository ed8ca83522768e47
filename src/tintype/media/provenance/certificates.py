"""Certificates that sign manifests: a pair of a server's own, and an operator's, checked before anything is signed.

Both are X.509 as C2PA 2 asks for (section 14.5.1): a leaf that a certificate authority has signed, for digital
signatures, with one of three extended key usages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from tintype.core import Credential
from tintype.errors import ConfigurationInvalid

#: C2PA's own extended key usage, for certificates that sign claims.
CLAIM_SIGNING = ObjectIdentifier("1.3.6.1.4.1.62558.2.1")
DOCUMENT_SIGNING = ObjectIdentifier("1.3.6.1.5.5.7.3.36")
#: One of these a leaf must have.
USAGES = (ExtendedKeyUsageOID.EMAIL_PROTECTION, DOCUMENT_SIGNING, CLAIM_SIGNING)
ROOT_YEARS, LEAF_YEARS = 20, 10
YEAR = timedelta(days=365.25)
#: Before now, as machines that read it may be behind.
SLACK = timedelta(days=1)
#: A file signed without a time stamp reads as invalid once its certificate has expired: with less time left than this,
#: an operator without time stamps is warned. And in any case with less than this.
LONG, SHORT = 5 * YEAR, timedelta(days=30)
#: Of a name in a certificate (X.520).
MAX_NAME = 64
#: Makes a pair for a server with this tag.
Issue = Callable[[bytes], Credential]
#: What files begin with, in the words that refuse them.
PEM = "a PEM file (-----BEGIN …)"


@dataclass(frozen=True)
class Chain:
    """An operator's certificates, the leaf first, which are usable now."""

    pem: str
    leaf: x509.Certificate
    #: The last of them, in PEM: it vouches for the leaf, and for others' too.
    authority: str

    @classmethod
    def read(cls, path: Path, now: datetime) -> Chain:
        """Raises ConfigurationInvalid, in the operator's words, for what can't sign manifests now."""
        try:
            found = x509.load_pem_x509_certificates(path.read_bytes())
        except OSError as error:
            raise ConfigurationInvalid(f"it can't be read: {error.strerror}") from error
        except ValueError as error:
            raise ConfigurationInvalid(f"it is not {PEM} of certificates") from error
        leaf = found[0]
        _check_leaf(leaf, now)
        _check_order(found)
        return cls("".join(map(to_pem, found)), leaf, to_pem(found[-1]))

    def read_key(self, path: Path) -> str:
        """Its key as PKCS#8 in PEM; raises ConfigurationInvalid where it is none, or another certificate's."""
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise ConfigurationInvalid(f"it can't be read: {error.strerror}") from error
        except TypeError as error:  # what cryptography raises for one with a password
            raise ConfigurationInvalid("it has a password: `openssl pkcs8 -topk8 -nocrypt` removes it") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigurationInvalid(f"it is not {PEM} of a private key") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise ConfigurationInvalid("it is no key on the curve P-256 (`openssl ecparam -genkey -name prime256v1`)")
        if _public(key.public_key()) != _public(self.leaf.public_key()):
            raise ConfigurationInvalid("it is not the key of the first certificate")
        return _private(key)

    def warnings(self, now: datetime, *, stamped: bool) -> list[str]:
        """What the operator should know of its end. stamped: whether files have time stamps."""
        return expiry_warnings(self.leaf, now, stamped=stamped)


def expiry_warnings(leaf: x509.Certificate, now: datetime, *, stamped: bool) -> list[str]:
    """What should be known of a certificate's end. stamped: whether files have time stamps, which outlast it."""
    left = leaf.not_valid_after_utc - now
    if left >= (SHORT if stamped else LONG):
        return []
    words = f"the certificate that signs images expires in {left.days} days"
    if stamped:
        return [f"{words}: nothing can be signed with it then"]
    return [f"{words}, and images without a time stamp read as invalid from then on: set TINTYPE_MARK_TIME"]


def first(pem: str) -> x509.Certificate:
    """The first certificate of some in PEM, which signs; raises ValueError."""
    return x509.load_pem_x509_certificates(pem.encode())[0]


def to_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(Encoding.PEM).decode()


def read_trusted(path: Path) -> str:
    """A file of certificates in PEM, such as C2PA's trust list; raises ConfigurationInvalid."""
    try:
        text = path.read_bytes()
        x509.load_pem_x509_certificates(text)
        return text.decode()
    except OSError as error:
        raise ConfigurationInvalid(f"it can't be read: {error.strerror}") from error
    except ValueError as error:  # UnicodeDecodeError is one
        raise ConfigurationInvalid(f"it is not {PEM} of certificates") from error


def organisation(public_url: str) -> str:
    """Whose images a pair of a server's own says they are: the host that callers know."""
    return (urlsplit(public_url).hostname or "tintype")[:MAX_NAME]


def issue(organisation: str, tag: bytes, now: datetime) -> Credential:
    """A new root, and a leaf that it has signed; the root's key is thrown away, so that it can sign no other.

    tag: what distinguishes this server's from others'.
    """
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root_name = _name(organisation, f"tintype root {tag.hex()}")
    root_id = x509.SubjectKeyIdentifier.from_public_key(root_key.public_key())
    root = _sign(
        _begun(root_name, root_name, root_key, now, ROOT_YEARS * YEAR),
        root_key,
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(key_cert_sign=True, crl_sign=True), True),
        (root_id, False),
    )
    leaf = _sign(
        _begun(_name(organisation, f"tintype {tag.hex()}"), root_name, key, now, LEAF_YEARS * YEAR),
        root_key,
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(digital_signature=True), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION, CLAIM_SIGNING]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(root_id), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    )
    return Credential(to_pem(root), to_pem(leaf), _private(key))


def issuer(public_url: str) -> Issue:
    """What makes a pair for a server with this address, now."""
    return lambda tag: issue(organisation(public_url), tag, datetime.now(UTC))


def _check_leaf(leaf: x509.Certificate, now: datetime) -> None:
    if leaf.issuer == leaf.subject:
        raise ConfigurationInvalid(
            "its first certificate is signed by itself; one that an authority has signed is needed"
        )
    if now > leaf.not_valid_after_utc:
        raise ConfigurationInvalid(f"its first certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}")
    if now < leaf.not_valid_before_utc:
        raise ConfigurationInvalid(f"its first certificate is valid from {leaf.not_valid_before_utc:%Y-%m-%d} on")
    if not _has_usage(leaf):
        raise ConfigurationInvalid(
            "its first certificate lacks the key usage digitalSignature: it was issued for something else"
        )
    if not any(usage in USAGES for usage in _extended_usages(leaf)):
        raise ConfigurationInvalid(
            "its first certificate has none of the extended key usages emailProtection, documentSigning and"
            f" C2PA claim signing ({CLAIM_SIGNING.dotted_string}): it was issued for something else"
        )


def _check_order(chain: Sequence[x509.Certificate]) -> None:
    """Raise ConfigurationInvalid unless each but the last is issued by the next: else none trusts the leaf."""
    if len(chain) == 1:
        raise ConfigurationInvalid(
            "it has one certificate only; the one that issued it must follow, and the one that issued that, …"
        )
    for number, (one, issuer) in enumerate(pairwise(chain), 1):
        try:
            one.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ConfigurationInvalid(
                f"its certificate {number} ({one.subject.rfc4514_string()}) is not issued by the next one"
                f" ({issuer.subject.rfc4514_string()}); allowed: the leaf, then the one that issued it, and so on"
            ) from error


def _has_usage(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    except x509.ExtensionNotFound:
        return False


def _extended_usages(leaf: x509.Certificate) -> Iterable[ObjectIdentifier]:
    try:
        return leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()


def _name(organisation: str, common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _begun(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, now: datetime, ttl: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + ttl)
    )


def _sign(
    begun: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, *extensions: tuple[x509.ExtensionType, bool]
) -> x509.Certificate:
    """extensions: each with whether it is critical."""
    for extension, critical in extensions:
        begun = begun.add_extension(extension, critical)
    return begun.sign(key, hashes.SHA256())


def _key_usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _private(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public(key: object) -> bytes:
    assert hasattr(key, "public_bytes")  # noqa: S101 - every public key has
    found: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found
