"""Marks finished images: XMP when they are encoded, a signed manifest after that; and knows whether it can."""

from __future__ import annotations

import hmac
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Protocol, Self, TypeVar

import structlog
from PIL import Image

from tintype.catalog.recipe import as_text
from tintype.core import Credential, Recipe
from tintype.errors import ConfigurationInvalid, MarkUnavailable, StoreUnavailable
from tintype.media.images import encode
from tintype.media.provenance import certificates
from tintype.media.provenance.certificates import Chain, issuer
from tintype.media.provenance.manifests import ManifestSigner, Sign, SigningFailed
from tintype.media.provenance.source import Origin
from tintype.settings.groups import ProvenanceSettings
from tintype.telemetry.metrics import MARKS

log = structlog.get_logger()
T = TypeVar("T")

#: Seconds between two questions which key signs: after a rotation, the old one may be used for as long.
REFRESH = 60.0
#: Seconds that one signature may take, and concurrent ones. A key or an authority elsewhere may never answer, and the
#: library has no limit of its own.
LIMIT, PLACES = 10.0, 4
#: Seconds without time stamps after the authority for them has failed.
WITHOUT_STAMPS = 60.0
#: Seconds between two tries of a signature, doubled each time up to the max; and between two trials while it fails.
MIN_PAUSE, MAX_PAUSE, RETRIAL = 0.5, 8.0, 2.0
#: Bytes of a watermark's number that its recipe determines.
HASHED = 4
UNSIGNED = "the file says nothing signed of its making: this server could not sign it"


class SignerStore(Protocol):
    """What of the store's `Signers` is needed here."""

    def current(self, issue: Callable[[bytes], Credential]) -> Credential:
        """The pair that signs now."""

    def identity(self) -> Identity:
        """What the watermarks of the servers on this database have in common."""

    def use(self, chain: str, authority: str) -> None:
        """Note a certificate from elsewhere that signs; raises ConfigurationInvalid where it is distrusted."""


class Identity(Protocol):
    """What the store knows this server by."""

    @property
    def tag(self) -> bytes:
        """2 bytes, by which its watermarks are recognised."""

    @property
    def secret(self) -> bytes:
        """For keyed hashes."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What signs: the certificates in PEM, the leaf first, and its key in PEM, or what signs in its place."""

    chain: str
    key: str | Sign


@dataclass(frozen=True, slots=True)
class Marked:
    """A finished file."""

    data: bytes
    #: For the caller; empty where the file carries what it should.
    warning: str = ""


class Marker:
    """Shared by a process's threads.

    load: which key signs now; None where nothing is marked. It may raise StoreUnavailable and ConfigurationInvalid.
    required: whether what can't be signed fails. timeout: seconds for which that is tried. stamps: the address of an
    authority for time stamps, or an empty text. limit, stamp_limit: seconds for one signature, and for one with a
    stamp. identity: what watermarks' numbers are made from; None where there are none. It may raise StoreUnavailable.
    """

    def __init__(
        self,
        load: Callable[[], SigningKey] | None = None,
        *,
        required: bool = True,
        timeout: float = 0.0,
        stamps: str = "",
        limit: float = LIMIT,
        stamp_limit: float = LIMIT,
        identity: Callable[[], Identity] | None = None,
    ) -> None:
        self._load = load
        self._required = required
        self._timeout = timeout
        self._stamps = stamps
        self._identity = identity
        self._known: Identity | None = None
        self._signing, self._stamping = LimitedCalls(PLACES, limit), LimitedCalls(PLACES, stamp_limit)
        #: Of the key, for which the store may be asked; and of what is counted, for which no thread waits that long.
        self._lock, self._counting = threading.Lock(), threading.Lock()
        self._signers: _Signers | None = None
        #: By the monotonic clock: when the key is asked for again, stamps are, and a trial may be made.
        self._refresh_at = self._stamp_at = self._trial_at = 0.0
        #: Why the last signature failed; None where it did not.
        self._failure: Exception | None = None
        self._counts: Counter[str] = Counter()

    @classmethod
    def from_settings(
        cls, settings: ProvenanceSettings, public_url: str, signers: SignerStore, timeout: float | None = None
    ) -> Self:
        """As the operator configured it. timeout: in place of the configured one.

        Raises ConfigurationInvalid, in the operator's words, for certificates and keys that can't sign.
        """
        if settings.mode == "off":
            return cls()
        given = settings.timeout if timeout is None else timeout
        load = _own(public_url, signers) if settings.certificate is None else _configured(settings, signers)
        if settings.certificate is None and (settings.key or settings.signer):
            name = "TINTYPE_MARK_KEY" if settings.key else "TINTYPE_MARK_SIGNER"
            raise ConfigurationInvalid(f"{name} needs the certificate that it signs for: set TINTYPE_MARK_CERTIFICATE")
        identity = signers.identity if settings.mode == "full" else None
        return cls(load, required=settings.required, timeout=given, stamps=settings.time, identity=identity)

    @property
    def marks(self) -> bool:
        """Whether images are marked."""
        return self._load is not None

    def counts(self) -> dict[str, float]:
        """Images since the start by what became of them, by `Sum.key`."""
        with self._counting:
            return {MARKS.key(result): count for result, count in self._counts.items()}

    def refresh(self) -> None:
        """Ask for the key before the next signature: it may be another one by now."""
        self._refresh_at = 0.0

    def expect(self) -> None:
        """Raise MarkUnavailable where what is drawn now could not be signed, as far as is known; never waits.

        Meanwhile it is found out whether it can be again.
        """
        if self._failure is not None and self._required:
            self._try_again()
            raise MarkUnavailable from self._failure

    def check(self) -> None:
        """Sign a trial image, without a time stamp; raises SigningFailed."""
        if self._load is not None:
            self._attempt(encode(Image.new("RGB", (8, 8)), "png"), Origin("algorithmicMedia", "trial"))

    def warnings(self) -> list[str]:
        """What the operator should know of the end of the certificate that signs; raises SigningFailed."""
        if self._load is None:
            return []
        leaf = certificates.first(self._current().key.chain)
        return certificates.expiry_warnings(leaf, datetime.now(UTC), stamped=bool(self._stamps))

    def numbered(self, recipe: Recipe) -> Recipe:
        """The recipe of an image with the number of the watermark that it gets; itself where it gets none.

        Raises StoreUnavailable if the database can't be asked, the first time, whose number it is.
        """
        if self._identity is None:
            return recipe
        self._known = self._known or self._identity()
        return replace(recipe, mark=_number(self._known, recipe).hex())

    def xmp(self, origin: Origin) -> bytes:
        """The packet for a file that is to be encoded; none where nothing is marked."""
        return origin.xmp() if self.marks else b""

    def sign(self, data: bytes, origin: Origin) -> Marked:
        """The file with a manifest, which nothing may change any more.

        Raises MarkUnavailable where it can't be signed and must be.
        """
        if not self.marks:
            return Marked(data)
        try:
            signed, stamped = self._signed(data, origin)
        except SigningFailed as error:
            self._count("failed" if self._required else "unsigned")
            if self._required:
                raise MarkUnavailable from error
            log.warning("delivered without a signature", cause=str(error))
            return Marked(data, UNSIGNED)
        self._count("unstamped" if self._stamps and not stamped else "signed")
        return Marked(signed)

    def _signed(self, data: bytes, origin: Origin) -> tuple[bytes, bool]:
        """The signed file, and whether it has a time stamp; raises SigningFailed once its time is over."""
        if self._failure is not None and not self._required:  # what is delivered in any case doesn't wait
            self._try_again()
            raise SigningFailed(str(self._failure))
        until, pause = time.monotonic() + (self._timeout if self._required else 0.0), MIN_PAUSE
        while True:
            try:
                return self._attempt(data, origin, stamp=bool(self._stamps) and time.monotonic() >= self._stamp_at)
            except SigningFailed:
                if time.monotonic() + pause > until:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE)

    def _attempt(self, data: bytes, origin: Origin, *, stamp: bool = False) -> tuple[bytes, bool]:
        """The same, once; without a stamp where none is available: such a file is good, too."""
        try:
            signers, stampless = self._current(), ""
            if stamp:
                try:
                    return self._signing_succeeded(
                        self._stamping.run(partial(signers.stamped.sign, data, origin))
                    ), True
                except (SigningFailed, TimeoutError) as error:
                    stampless = str(error)
            signed = self._signing.run(partial(signers.plain.sign, data, origin))
        except (SigningFailed, TimeoutError) as error:
            if self._failure is None:
                log.warning("images can't be signed", cause=str(error))
            self._failure = error
            raise SigningFailed(str(error)) from error
        if stampless:
            self._stamp_at = time.monotonic() + WITHOUT_STAMPS
            log.warning("no time stamp; signing without for a while", seconds=WITHOUT_STAMPS, cause=stampless)
        return self._signing_succeeded(signed), False

    def _signing_succeeded(self, signed: bytes) -> bytes:
        if self._failure is not None:
            log.info("images can be signed again")
        self._failure = None
        return signed

    def _current(self) -> _Signers:
        """For the key that signs now; while the store is away, for the last one. Raises SigningFailed."""
        with self._lock:
            assert self._load is not None  # noqa: S101 - nothing is signed where nothing is marked
            if time.monotonic() < self._refresh_at and self._signers:
                return self._signers
            try:
                found = self._load()
            except (StoreUnavailable, ConfigurationInvalid) as error:
                if self._signers is None or isinstance(error, ConfigurationInvalid):
                    raise SigningFailed(error.message) from error
            else:
                if self._signers is None or self._signers.key != found:
                    self._signers = _Signers(found, self._stamps)
            self._refresh_at = time.monotonic() + REFRESH
            return self._signers

    def _try_again(self) -> None:
        """Sign a trial image on a thread of its own, unless one is under way, or was just made."""
        with self._counting:
            if time.monotonic() < self._trial_at:
                return
            self._trial_at = time.monotonic() + RETRIAL

        def trial() -> None:
            with suppress(SigningFailed):  # `_failure` says it
                self.check()

        threading.Thread(target=trial, name="trial", daemon=True).start()

    def _count(self, result: str) -> None:
        with self._counting:
            self._counts[result] += 1


def _number(identity: Identity, recipe: Recipe) -> bytes:
    """Of a watermark, six bytes: whose it is, and a keyed hash, so that the same recipe has the same image.

    Without the secret, nothing that was asked for can be tried against it, but by making the same request here.
    """
    text = as_text(replace(recipe, mark="")).encode()
    return identity.tag + hmac.digest(identity.secret, text, "sha256")[:HASHED]


class _Signers:
    """Of one key: with time stamps, where there are any, and without."""

    def __init__(self, key: SigningKey, stamps: str) -> None:
        self.key = key
        self.plain = ManifestSigner(key.chain, key.key)
        self.stamped = ManifestSigner(key.chain, key.key, stamps) if stamps else self.plain


class LimitedCalls:
    """Calls that may never return, each in a thread of its own, which is left to itself after `limit` seconds.

    places: concurrent calls, those that were left to themselves included. Threads of a pool would keep the process from
    ending until each of them returns.
    """

    def __init__(self, places: int, limit: float) -> None:
        self._places = threading.Semaphore(places)
        self._limit = limit

    def run(self, work: Callable[[], T]) -> T:
        """What the work returns or raises; TimeoutError where it does neither in time."""
        if not self._places.acquire(timeout=self._limit):
            raise TimeoutError(f"{PLACES} signatures have been under way for {self._limit:g} s")
        future: Future[T] = Future()

        def call() -> None:
            try:
                future.set_result(work())
            except BaseException as error:  # noqa: BLE001 - the caller's
                future.set_exception(error)
            finally:
                self._places.release()

        threading.Thread(target=call, name="sign", daemon=True).start()
        try:
            return future.result(self._limit)
        except TimeoutError as error:
            raise TimeoutError(f"no signature within {self._limit:g} s") from error


def _own(public_url: str, signers: SignerStore) -> Callable[[], SigningKey]:
    issue = issuer(public_url)

    def load() -> SigningKey:
        credential = signers.current(issue)
        return SigningKey(credential.chain, credential.key)

    return load


def _configured(settings: ProvenanceSettings, signers: SignerStore) -> Callable[[], SigningKey]:
    chain, key = read_configured(settings)

    def load() -> SigningKey:
        try:
            signers.use(chain.pem, chain.authority)
        except ConfigurationInvalid as error:
            raise ConfigurationInvalid(f"TINTYPE_MARK_CERTIFICATE: {error.message}") from error
        return SigningKey(chain.pem, key)

    return load


def read_configured(settings: ProvenanceSettings) -> tuple[Chain, str | Sign]:
    """The operator's own certificates and what signs for them; raises ConfigurationInvalid."""
    assert settings.certificate is not None  # noqa: S101 - its caller asked
    if bool(settings.key) == bool(settings.signer):
        raise ConfigurationInvalid(
            "TINTYPE_MARK_CERTIFICATE needs either its private key (TINTYPE_MARK_KEY), or what signs in its place"
            " (TINTYPE_MARK_SIGNER)"
        )
    chain = _named("TINTYPE_MARK_CERTIFICATE", settings.certificate, partial(Chain.read, now=datetime.now(UTC)))
    if settings.key:
        return chain, _named("TINTYPE_MARK_KEY", settings.key, chain.read_key)
    return chain, _function(settings.signer)


def _named(name: str, path: Path, read: Callable[[Path], T]) -> T:
    """What is read from a file; errors say which setting names it."""
    try:
        return read(path)
    except ConfigurationInvalid as error:
        raise ConfigurationInvalid(f"{name}={path}: {error.message}") from error


def _function(name: str) -> Sign:
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationInvalid(
            f"TINTYPE_MARK_SIGNER={name}: no such function: {error}; it is written module:function, and the module must"
            " be importable where servers and workers run"
        ) from error
    if not callable(found):
        raise ConfigurationInvalid(f"TINTYPE_MARK_SIGNER={name} is no function")
    return found  # type: ignore[no-any-return]  # what it returns is checked at each signature


#: Marks nothing.
NO_MARKS = Marker()
