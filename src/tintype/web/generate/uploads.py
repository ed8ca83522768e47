"""Images that are uploaded once and used in many requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter
from pydantic import Field

from tintype.core import Json, Size
from tintype.errors import BadPicture, PerhapsDone
from tintype.media.images import identify
from tintype.media.inline import from_text
from tintype.store.accounts.uploads import Upload
from tintype.store.webhooks.events import file_url
from tintype.web.auth import Runner
from tintype.web.declared import Allowed, Answer, Declared
from tintype.web.dependencies import BaseUrl, FilesDep
from tintype.web.files import Files
from tintype.web.json_body import body_of
from tintype.web.openapi import WITH_BODY, errors
from tintype.web.threads import Threaded
from tintype.web.wire import Url

#: Files in one call.
MAX_FILES = 16
#: A red pixel, as an example.
DOT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
ALLOWED = f"a list of 1 to {MAX_FILES} data: URIs of images"


router = APIRouter(route_class=Threaded, tags=["files"])


DataUrl = Annotated[str, Allowed("the data: URI of an image")]


class NewUploads(Declared):
    """Images to store, all of them or none; a form has one, as `data_urls`."""

    data_urls: Annotated[list[DataUrl], Field(min_length=1, max_length=MAX_FILES), Allowed(ALLOWED)]

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        urls = sent.get("data_urls")
        return {**sent, "data_urls": [urls]} if urls and isinstance(urls, str) else sent


class Uploaded(Answer):
    """The images' addresses, in the order in which they were sent."""

    file_urls: list[Url]
    message: str
    """How many, and until when."""


Uploads = body_of(NewUploads, {"data_urls": [DOT]}, images=True)


@router.post(
    "/upload-asset",
    operation_id="uploadAssets",
    summary="Upload images to use as `image`",
    responses=errors(401, *WITH_BODY),
)
def upload(key: Runner, files: FilesDep, base: BaseUrl, body: Annotated[NewUploads, Uploads]) -> Uploaded:
    """Store images for some days; their addresses can be sent as `image` in any request."""
    names, until = store(files, key.account_id, body.data_urls)
    expires = datetime.fromtimestamp(until, UTC).isoformat(timespec="seconds")
    urls = [file_url(name, base) for name in names]
    return Uploaded(file_urls=urls, message=f"{len(urls)} uploaded; available until {expires}")


def store(files: Files, account_id: str, texts: list[str]) -> tuple[list[str], float]:
    """Store the images, all or none → their names, and when they expire; raises BadPicture, BadRequest."""
    return keep(files, account_id, [_read(files, index, text) for index, text in enumerate(texts)])


def keep(
    files: Files, account_id: str, images: Sequence[tuple[bytes, str, Size]], about: Json | None = None
) -> tuple[list[str], float]:
    """The same of images with their suffixes and sizes. about: what their account says of them; raises BadRequest."""
    uploads: list[Upload] = []
    try:
        for data, suffix, (width, height) in images:
            uploads.append(Upload(files.uploads.put(data, suffix), len(data), width, height, about))
        return [upload.name for upload in uploads], files.rows.add(account_id, uploads)
    except PerhapsDone:
        raise  # they may be the account's now; if they aren't, the cleanup removes them
    except Exception:
        for upload in uploads:
            files.uploads.discard(upload.name)
        raise


def _read(files: Files, index: int, text: str) -> tuple[bytes, str, Size]:
    """An image, its file's suffix (by its bytes, not by the URI), its size."""
    try:
        # An address, which is no image, counts as an empty one: `identify` refuses it.
        data = from_text(text, files.max_bytes) or b""
        return data, *identify(data, files.max_pixels)
    except BadPicture as error:
        raise BadPicture(f"data_urls[{index}]: {error.message}") from error
