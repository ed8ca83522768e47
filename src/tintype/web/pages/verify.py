"""Who made an image: its marks, read for all who have it, and the certificates with which others can read them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Self

from fastapi import APIRouter, Depends, Response
from fastapi import Request as HttpRequest
from pydantic import Field

from tintype.errors import BadPicture, BodyTooLarge, NotFound
from tintype.media.inline import from_text
from tintype.media.provenance.findings import (
    Findings,
    LogEntry,
    SignatureStatus,
    WatermarkStatus,
)
from tintype.web.auth import reader
from tintype.web.declared import Allowed, Answer, Declared
from tintype.web.dependencies import InThread, RuntimeDep, StoreDep
from tintype.web.json_body import DeclaredBody
from tintype.web.openapi import TEXT, WITH_BODY, errors, headers
from tintype.web.responses import Body, conditional
from tintype.web.threads import Threaded

#: Addresses that pages of any origin may call: detectors of others ask several servers.
OPEN = ("/v1/verify", "/v1/verify/roots.pem")
#: Generated clients know no type for PEM.
PEM = "text/plain"
#: A red pixel, as an example.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ADDRESS = "image: an address was sent, and no address is fetched here; allowed: the file itself"
ADVICE = "Send the file of an image, as it was saved."
LATE = "The body did not arrive in time"

router = APIRouter(route_class=Threaded, tags=["server"])


class ImageToVerify(Declared):
    """An image whose marks are to be read; a form has its file as `file`."""

    image: Annotated[str, Field(min_length=1), Allowed("a data: URI, base64, or the file of a form, as file")]

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        return {**sent, "image": sent["file"]} if "file" in sent and "image" not in sent else sent


class SignatureFound(Answer):
    """What the image's C2PA manifest says, and whether that can be believed."""

    status: SignatureStatus
    """`here`: signed by this server, and unchanged since. `other`: the same by another signer. `tampered`: signature
    and image don't fit each other. `expired`: they fit, but the certificate has expired, and nothing proves that the
    signature is older. `elsewhere`: the file names an address for its manifest, and no address is fetched.
    `unreadable`: what is there can't be read. `none`: nothing is there."""
    signer: str | None
    """The name in the certificate. Unless it is trusted, it may be made up."""
    trusted: bool
    """Whether the signature is valid and its certificate leads to a root that this server trusts."""
    made_at: str | None
    """In ISO 8601, by the signature's time stamp, else as the signer says."""
    source_type: str | None
    """IPTC's digital source type, as `trainedAlgorithmicMedia`."""
    actions: list[str]
    """What was done, in C2PA's names, as `c2pa.created`."""


class WatermarkFound(Answer):
    """The mark in the image's pixels, which proves nothing: any program can put one there."""

    status: WatermarkStatus
    number: str | None
    server: str | None
    """The part of the number that says whose it is."""


class Logged(Answer):
    """An image of this server's log."""

    made_at: str
    """The hour."""
    model: str


class LogFound(Answer):
    """What this server's log has of the image."""

    exact: Logged | None
    """The same file."""
    number: list[Logged]
    """Images with the same number in their mark."""


class Verified(Answer):
    """What was found. What was not looked for is null."""

    found: bool
    """Whether anything says how the image was made. false does not mean that it was not made by AI."""
    verdict: str
    """The same for people."""
    signature: SignatureFound
    watermark: WatermarkFound | None
    log: LogFound | None

    @classmethod
    def of(cls, found: Findings) -> Self:
        """As JSON has it."""
        mark, log = found.watermark, found.log
        return cls(
            found=found.found,
            verdict=found.words,
            signature=SignatureFound.from_record(found.signature, actions=[*found.signature.actions]),
            watermark=WatermarkFound.from_record(mark) if mark else None,
            log=LogFound(exact=_logged(log.exact), number=[*map(Logged.from_record, log.number)]) if log else None,
        )


def _logged(entry: LogEntry | None) -> Logged | None:
    return Logged.from_record(entry) if entry else None


class AnybodysBody(DeclaredBody):
    """Reads it within limits of its own; only with a key, or not at all, where the operator wants that."""

    async def __call__(self, http: HttpRequest, runtime: RuntimeDep) -> AsyncIterator[Declared]:
        if runtime.settings.provenance.verify == "off":
            raise NotFound("Nothing is at POST /v1/verify: this server's operator has turned it off")
        if runtime.settings.provenance.verify == "key":
            await reader(http)
        async with runtime.verifier.body(http) as sent:
            yield self.model.model_validate(sent)


Image = Depends(AnybodysBody(ImageToVerify, {"image": DOT}, images=True, file="file"), scope="function")


@router.post(
    "/v1/verify",
    operation_id="verifyImage",
    summary="Who made an image, and whether it has been changed since",
    responses=errors(401, 404, *WITH_BODY, words={404: "The operator has turned it off", 408: LATE}),
)
async def verify(
    http: HttpRequest, runtime: RuntimeDep, thread: InThread, body: Annotated[ImageToVerify, Image]
) -> Verified:
    """Read an image's marks: of this server, and of others. Free, and without a key unless the operator wants one.

    Nothing that is sent is stored or logged, and no address is fetched. Images are read one at a time.
    """
    try:
        data = await thread(_file, body.image, runtime.settings.inputs.max_bytes)
        return Verified.of(await runtime.verifier.read(http, data))
    except BadPicture as error:
        error.advice = ADVICE  # nothing is ever charged here
        raise


def _file(image: str, max_bytes: int) -> bytes:
    """Raises BadPicture, BodyTooLarge."""
    data = from_text(image, len(image))
    if data is None:
        raise BadPicture(ADDRESS)
    if len(data) > max_bytes:
        error = BodyTooLarge(f"The image has {len(data)} bytes; allowed: {max_bytes}")
        error.advice = "A smaller copy lacks the signature: its file must be sent as it is."
        raise error
    return data


@router.get(
    "/v1/verify/roots.pem",
    operation_id="getRoots",
    summary="This server's certificates, by which others verify its images",
    responses={
        200: {
            "description": "In PEM; empty where this server has signed nothing yet",
            "headers": headers("ETag"),
            "content": {PEM: {"schema": TEXT}},
        },
        **errors(),
    },
    response_class=Response,
)
def roots(http: HttpRequest, store: StoreDep) -> Response:
    """The roots of the certificates that sign images here, for the list of anchors of a C2PA validator."""
    return conditional(http, Body.of(store.signers.roots().encode(), PEM))
