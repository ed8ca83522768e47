"""Pictures that are uploaded once and used in many requests."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.errors import BadPicture, InvalidParameter, MissingParameter, PerhapsDone
from tintype.media.images import identify
from tintype.media.inline import from_text
from tintype.store.accounts.uploads import Upload
from tintype.store.webhooks.events import file_url
from tintype.web.auth import Runner
from tintype.web.openapi import describe_body
from tintype.web.services import Services, services
from tintype.web.threads import Threaded, in_thread
from tintype.web.urls import base_url

#: Files in one call.
MOST = 16
#: A red pixel, as an example.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ALLOWED = f"a list of 1 to {MOST} data: URIs of pictures"


def uploads_router() -> APIRouter:
    """The one route of this page."""
    router = APIRouter(route_class=Threaded)
    urls = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST}
    words = describe_body("Upload pictures to use as `image`", {"data_urls": urls}, {"data_urls": [DOT]})
    router.add_api_route("/upload-asset", upload, methods=["POST"], **words)
    return router


async def upload(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Keep pictures for some days; their addresses can be given as `image` in any request."""
    own = services(http)
    base = base_url(http, own.settings)
    async with own.bodies.read(http, key.account_id, most=own.settings.max_body) as sent:
        names, until = await in_thread(http, keep, own, key.account_id, _texts(sent.get("data_urls")))
    expires = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    urls = [file_url(name, base) for name in names]
    return {"file_urls": urls, "message": f"{len(urls)} uploaded; kept until {expires}"}


def keep(own: Services, account_id: str, texts: list[str]) -> tuple[list[str], float]:
    """Write the pictures → their names, and until when they are kept; raises BadPicture, BadRequest: all or none."""
    pictures = [_read(own, index, text) for index, text in enumerate(texts)]
    uploads: list[Upload] = []
    try:
        for data, suffix, (width, height) in pictures:
            uploads.append(Upload(own.uploads.put(data, suffix), len(data), width, height))
        return [upload.name for upload in uploads], own.store.uploads.add(account_id, uploads)
    except PerhapsDone:
        raise  # they may be the account's by now; if they aren't, a sweep removes them
    except Exception:
        for upload in uploads:
            own.uploads.discard(upload.name)
        raise


def _read(own: Services, index: int, text: str) -> tuple[bytes, str, tuple[int, int]]:
    """A picture, what its file is called after the point (what it is, not what the URI says that it is), its size."""
    try:
        # What is an address and no picture is looked at as one that is empty: `identify` refuses it.
        data = from_text(text, own.settings.max_picture_bytes) or b""
        return data, *identify(data, own.settings.max_picture_pixels)
    except BadPicture as error:
        raise BadPicture(f"data_urls[{index}]: {error.message}") from error


def _texts(sent: Any) -> list[str]:
    if not sent:
        raise MissingParameter("data_urls", ALLOWED)
    if not isinstance(sent, list):
        raise InvalidParameter("data_urls", sent, ALLOWED)
    if len(sent) > MOST:
        raise InvalidParameter("data_urls", f"{len(sent)} files", ALLOWED)
    for index, text in enumerate(sent):
        if not isinstance(text, str):
            raise InvalidParameter(f"data_urls[{index}]", text, "the data: URI of a picture")
    return sent
