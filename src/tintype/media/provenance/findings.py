"""What is found out about an image's origin, as records, and in words for people.

They never say that an image is not AI's: any program that saves an image again removes its signature.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, Self

#: `here`: signed by this server, and unchanged since. `other`: the same by another signer. `tampered`: signature and
#: image don't fit each other. `expired`: they fit, but the certificate has expired, and nothing proves that the
#: signature is older. `elsewhere`: the file names an address that has its manifest, and no address is fetched.
#: `unreadable`: there is a manifest, or a part of one, that can't be read.
SignatureStatus = Literal["here", "other", "tampered", "expired", "elsewhere", "unreadable", "none"]
#: `unreadable`: there is a mark, but its number can't be read.
WatermarkStatus = Literal["here", "other", "unreadable", "none"]

NOTHING = "No mark of this server was found. That does not mean that the image was not made by AI."
UNKNOWN = "unknown"
QUOTES = str.maketrans("“”„‟", '""""')
#: IPTC's words for how an image was made, in ours; others are shown as they are.
SOURCES = {
    "trainedAlgorithmicMedia": "made by AI",
    "compositeWithTrainedAlgorithmicMedia": "changed by AI",
    "compositeSynthetic": "put together with parts made by AI",
    "algorithmicMedia": "made by a program, without AI",
    "digitalCapture": "taken by a camera",
    "computationalCapture": "taken by a camera that computes",
    "digitalCreation": "made by a person, with software",
}


@dataclass(frozen=True)
class Signature:
    """What an image's C2PA manifest says, and whether that can be believed."""

    status: SignatureStatus
    #: The organisation of its certificate, or the name; None where there is none to be read.
    signer: str | None = None
    #: Whether the signature is valid and its certificate leads to a root that this server, or its operator, trusts.
    trusted: bool = False
    #: When it was made, in ISO 8601, as its time stamp or else the file itself says.
    made_at: str | None = None
    #: The last part of IPTC's address for it: `trainedAlgorithmicMedia`.
    source_type: str | None = None
    #: C2PA's names of what was done, in their order: `c2pa.created`.
    actions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Watermark:
    """The mark in an image's pixels, which any program can put there or remove: it proves nothing."""

    status: WatermarkStatus
    #: 12 hex digits, and the 4 of them that say whose they are.
    number: str | None = None
    server: str | None = None


class Logged(Protocol):
    """An image of this server's log, as the store has it."""

    @property
    def made_at(self) -> float:
        """The hour in which it was made, in unix seconds."""

    @property
    def slug(self) -> str:
        """The model's."""


class Log(Protocol):
    """What of the store's `ImageLog` is needed here. Both raise StoreUnavailable."""

    def of_digest(self, digest: bytes) -> Logged | None:
        """The image whose file has this SHA-256."""

    def of_number(self, number: bytes) -> Sequence[Logged]:
        """The images whose watermark has this number."""


@dataclass(frozen=True)
class LogEntry:
    """An image of this server's log."""

    #: The hour in which it was made, in ISO 8601.
    made_at: str
    #: The model's slug.
    model: str

    @classmethod
    def of(cls, row: Logged) -> Self:
        """As the store has it."""
        return cls(datetime.fromtimestamp(row.made_at, UTC).isoformat().replace("+00:00", "Z"), row.slug)


@dataclass(frozen=True)
class LogMatches:
    """What this server's log has of an image."""

    #: The same file.
    exact: LogEntry | None = None
    #: Images with the same number in their mark.
    number: tuple[LogEntry, ...] = ()


@dataclass(frozen=True)
class Findings:
    """All of it; what was not looked for is None."""

    signature: Signature
    watermark: Watermark | None = None
    log: LogMatches | None = None

    def with_log(self, data: bytes, log: Log) -> Self:
        """With what the log has of the image's file and of its watermark's number; raises StoreUnavailable."""
        exact, mark = log.of_digest(hashlib.sha256(data).digest()), self.watermark
        alike = log.of_number(bytes.fromhex(mark.number)) if mark and mark.number and mark.status == "here" else ()
        return replace(self, log=LogMatches(LogEntry.of(exact) if exact else None, tuple(map(LogEntry.of, alike))))

    @property
    def found(self) -> bool:
        """Whether anything says how the image was made, by this server or another."""
        signed = self.signature.status in ("here", "other", "tampered", "expired")
        marked = self.watermark is not None and self.watermark.status != "none"
        return signed or marked or self._logged

    @property
    def readable(self) -> bool:
        """Whether what is in the file could be read."""
        return self.signature.status != "unreadable"

    @property
    def words(self) -> str:
        """A few sentences, for people."""
        said = self._signed or (self._unsigned if self.found else NOTHING)
        return " ".join(filter(None, (said, *self._hints, *self._also)))

    @property
    def _signed(self) -> str:
        """What the signature says; empty where there is none that can be read."""
        signer = _quoted(self.signature.signer or UNKNOWN)
        match self.signature.status:
            case "here":
                return f"Made by this server: signed, and unchanged since{self._source}."
            case "other" if self.signature.trusted:
                return f"Signed by {signer}, whom this server trusts, and unchanged since{self._source}."
            case "other":
                return (
                    f"Signed, and unchanged since{self._source}. The signer's name is {signer}, but this server doesn't"
                    " know them: any name can be put into a certificate."
                )
            case "tampered":
                return (
                    f"It carries a signature by the name of {signer} that doesn't fit: the image was changed since, or"
                    " the signature was taken from another one."
                )
            case "expired":
                return (
                    f"Signed by the name of {signer}, and unchanged since{self._source}. But the certificate has"
                    " expired, and nothing proves that the signature is older."
                )
        return ""

    @property
    def _unsigned(self) -> str:
        return "It has no signature that can be read."

    @property
    def _hints(self) -> Iterator[str]:
        if self.signature.status == "elsewhere":
            yield "The file names an address for its signature, which is not fetched."
        if self.signature.status == "unreadable":
            yield "Something like a signature is in it, but can't be read."

    @property
    def _also(self) -> Iterator[str]:
        """What log and watermark say in addition."""
        if self.log and self.log.exact:
            yield f"This very file is in this server's log, made by the model {self.log.exact.model}."
        if self.watermark is None or self.watermark.status == "none":
            return
        if self.watermark.status == "unreadable":
            yield "Its pixels carry a mark that is too damaged to say whose."
            return
        here = self.watermark.status == "here"
        whose = "this server" if here else f"another tintype server ({self.watermark.server})"
        if self.log and self.log.number:
            yield (
                f"Its pixels carry the mark of {whose}, and the log has an image of that number, by the model"
                f" {self.log.number[0].model}."
            )
        elif self.signature.status == "here":
            yield f"Its pixels carry the mark of {whose}, too."
        else:
            yield f"Its pixels carry the mark of {whose}; marks can be forged, and nothing confirms this one."

    @property
    def _source(self) -> str:
        source = self.signature.source_type
        return f"; it says that it was {SOURCES.get(source) or f'made as {_quoted(source)}'}" if source else ""

    @property
    def _logged(self) -> bool:
        return self.log is not None and (self.log.exact is not None or bool(self.log.number))

    def to_json(self) -> dict[str, Any]:
        """Its parts, for another process."""
        return asdict(self)

    @classmethod
    def from_json(cls, sent: dict[str, Any]) -> Self:
        """What `to_json` returned, without a log."""
        signature, mark = sent["signature"], sent["watermark"]
        signed = Signature(**{**signature, "actions": tuple(signature["actions"])})
        return cls(signed, Watermark(**mark) if mark else None)


def _quoted(text: str) -> str:
    """A stranger's text; it can't end its quotation, and go on in our words."""
    return f"“{text.translate(QUOTES)}”"
