"""Images that are uploaded once and used in many requests."""

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
from tintype.web.clients import base_url
from tintype.web.openapi import describe_body
from tintype.web.services import Services, services
from tintype.web.threads import Threaded, in_thread

#: Files in one call.
MAX_FILES = 16
#: A red pixel, as an example.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ALLOWED = f"a list of 1 to {MAX_FILES} data: URIs of images"


def uploads_router() -> APIRouter:
    router = APIRouter(route_class=Threaded)
    urls = {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MAX_FILES}
    words = describe_body("Upload images to use as `image`", {"data_urls": urls}, {"data_urls": [DOT]})
    router.add_api_route("/upload-asset", upload, methods=["POST"], **words)
    return router


async def upload(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Store images for some days; their addresses can be sent as `image` in any request."""
    own = services(http)
    base = base_url(http, own.settings)
    async with own.bodies.read(http, key.account_id, max_size=own.settings.limits.max_body) as sent:
        names, until = await in_thread(http, store, own, key.account_id, _texts(sent.get("data_urls")))
    expires = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    urls = [file_url(name, base) for name in names]
    return {"file_urls": urls, "message": f"{len(urls)} uploaded; available until {expires}"}


def store(own: Services, account_id: str, texts: list[str]) -> tuple[list[str], float]:
    """Store the images, all or none → their names, and when they expire; raises BadPicture, BadRequest."""
    images = [_read(own, index, text) for index, text in enumerate(texts)]
    uploads: list[Upload] = []
    try:
        for data, suffix, (width, height) in images:
            uploads.append(Upload(own.uploads.put(data, suffix), len(data), width, height))
        return [upload.name for upload in uploads], own.store.uploads.add(account_id, uploads)
    except PerhapsDone:
        raise  # they may be the account's now; if they aren't, the cleanup removes them
    except Exception:
        for upload in uploads:
            own.uploads.discard(upload.name)
        raise


def _read(own: Services, index: int, text: str) -> tuple[bytes, str, tuple[int, int]]:
    """An image, its file's suffix (by its bytes, not by the URI), its size."""
    try:
        # An address, which is no image, counts as an empty one: `identify` refuses it.
        data = from_text(text, own.settings.inputs.max_bytes) or b""
        return data, *identify(data, own.settings.inputs.max_pixels)
    except BadPicture as error:
        raise BadPicture(f"data_urls[{index}]: {error.message}") from error


def _texts(sent: Any) -> list[str]:
    if not sent:
        raise MissingParameter("data_urls", ALLOWED)
    if not isinstance(sent, list):
        raise InvalidParameter("data_urls", sent, ALLOWED)
    if len(sent) > MAX_FILES:
        raise InvalidParameter("data_urls", f"{len(sent)} files", ALLOWED)
    for index, text in enumerate(sent):
        if not isinstance(text, str):
            raise InvalidParameter(f"data_urls[{index}]", text, "the data: URI of an image")
    return sent
