"""Replicate's API of what belongs to an account: its files, the secret that signs its webhooks, itself."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from hashlib import sha256
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from tintype.errors import SENT_LENGTH, BadPicture, InvalidParameter
from tintype.media.images import identify
from tintype.media.inline import from_text
from tintype.store.accounts.uploads import StoredUpload
from tintype.store.webhooks.predictions import written
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Allowed, Answer, Declared
from tintype.web.dependencies import BaseUrl, FilesDep, StoreDep
from tintype.web.dialects.replicate_words import CursorQuery, described, read_cursor, write_cursor
from tintype.web.generate.uploads import DOT, keep
from tintype.web.json_body import body_of
from tintype.web.threads import Threaded
from tintype.web.wire import Url

FILES = "/v1/files/"
#: Files of a page; bytes of the notes on one.
PAGE, MAX_METADATA = 100, 4096
#: Characters of a file's name, which is shown alone; its folders aren't noted.
MAX_NAME = 255
UNSHOWN = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")

FileId = Annotated[str, Path(description="A file's id")]


class NewFile(Declared):
    """An image to draw from: in a form a file."""

    content: Annotated[str, Field(min_length=1), Allowed("a form's file: an image")]
    filename: str = ""
    metadata: Annotated[
        dict[str, Any], Allowed(f"a JSON object of at most {MAX_METADATA} bytes"), Field(default_factory=dict)
    ]

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        named = {"filename": sent.get("filename") or sent.get("content.filename") or ""}
        notes = sent.get("metadata") or {}
        if isinstance(notes, str):
            with suppress(ValueError, RecursionError):
                notes = json.loads(notes)
        return {**sent, **named, "metadata": notes}

    @property
    def name(self) -> str:
        """What it was called, without folders."""
        return UNSHOWN.sub("", re.split(r"[/\\]", self.filename)[-1])[:MAX_NAME]


class FileLinks(Answer):
    """Where a file is asked for; the same address is an `image`."""

    get: Url


class HostedFile(Answer):
    """An uploaded image."""

    id: str
    name: str
    content_type: str
    size: int
    """Bytes."""
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, Any]
    created_at: str
    expires_at: str
    urls: FileLinks

    @classmethod
    def of(cls, upload: StoredUpload, base: str) -> Self:
        """The upload as its account sees it."""
        return cls(
            id=upload.name,
            name=upload.filename or upload.name,
            content_type=f"image/{upload.name.rpartition('.')[2]}",
            size=upload.size,
            etag=upload.sha256,
            checksums={"sha256": upload.sha256},
            metadata=dict(upload.metadata),
            created_at=written(upload.created_at),
            expires_at=written(upload.expires_at),
            urls=FileLinks(get=f"{base}{FILES}{upload.name}"),
        )


class HostedFiles(Answer):
    """Some of an account's files, the newest first, and where the next ones are."""

    previous: None
    next: Url | None
    results: list[HostedFile]


class SigningKey(Answer):
    """The secret that signs messages to the webhooks that requests name."""

    key: str


class HostedAccount(Answer):
    """The account of a key."""

    type: Literal["organization"]
    username: str
    name: str
    github_url: None


class Hardware(Answer):
    """What models run on."""

    name: str
    sku: str


router = APIRouter(prefix="/v1", route_class=Threaded)
NEW = described("files", "createFile", "Upload an image to draw from", 400, 413, 415, 422, 429, status_code=201)
GONE = described("files", "deleteFile", "Delete a file", 404, status_code=204, response_class=Response)


@router.post("/files", **NEW)
def create(
    key: Runner,
    files: FilesDep,
    base: BaseUrl,
    body: Annotated[NewFile, body_of(NewFile, {"content": DOT, "filename": "dot.png"}, images=True)],
) -> HostedFile:
    """Store an image for some days; its address can be sent as `image` by this account."""
    if not _storable(body.metadata):
        raise InvalidParameter("metadata", body.metadata, f"a JSON object of at most {MAX_METADATA} bytes")
    try:
        # An address, which is no image, counts as an empty one: `identify` refuses it.
        data = from_text(body.content, files.max_bytes) or b""
        suffix, size = identify(data, files.max_pixels)
    except BadPicture as error:
        raise InvalidParameter("content", body.content, f"an image ({error.message})") from None
    said = {"filename": body.name, "sha256": sha256(data).hexdigest(), "metadata": body.metadata}
    [name], _ = keep(files, key.account_id, [(data, suffix, size)], said)
    return HostedFile.of(files.rows.find(name, key.account_id), base)


def _storable(notes: dict[str, Any]) -> bool:
    """Whether notes are few, and JSON: no NaN, no infinite number, and no half of a surrogate pair."""
    try:
        return len(json.dumps(notes, ensure_ascii=False, allow_nan=False).encode()) <= MAX_METADATA
    except ValueError:
        return False


@router.get("/files", **described("files", "listFiles", "The account's files", 400, 422))
def page(key: Reader, files: FilesDep, base: BaseUrl, query: Annotated[CursorQuery, Query()]) -> HostedFiles:
    """The account's files that were uploaded here, and have not expired."""
    place = None
    if query.cursor is not None:
        ends, name = read_cursor(query.cursor, float, str)
        place = ends, name[:SENT_LENGTH]
    found = files.rows.listed(key.account_id, PAGE + 1, place)
    last = found[PAGE - 1] if len(found) > PAGE else None
    cursor = last and write_cursor(last.expires_at, last.name)
    return HostedFiles(
        previous=None,
        next=cursor and f"{base}/v1/files?cursor={cursor}",
        results=[HostedFile.of(one, base) for one in found[:PAGE]],
    )


@router.get("/files/{file_id}", **described("files", "getUploadedFile", "A file", 404))
def one(key: Reader, file_id: FileId, files: FilesDep, base: BaseUrl) -> HostedFile:
    """What is known of a file of the account's."""
    return HostedFile.of(files.rows.find(file_id, key.account_id), base)


@router.delete("/files/{file_id}", **GONE)
def delete(key: Runner, file_id: FileId, files: FilesDep) -> Response:
    """Delete a file of the account's; a request that has not ended may fail without it."""
    files.rows.remove(file_id, key.account_id)
    files.uploads.discard(file_id)
    return Response(status_code=204)


@router.get("/webhooks/default/secret", **described("webhooks", "getSigningKey", "The secret that signs predictions"))
def secret(key: Runner, store: StoreDep) -> SigningKey:
    """Of the account's predictions, and of what `X-Webhook-URL` asks for."""
    return SigningKey(key=store.webhooks.own(key.account_id).secret)


@router.get("/account", **described("account", "getAccount", "The key's account"))
def account(key: Reader, store: StoreDep) -> HostedAccount:
    """The account that the key belongs to."""
    found = store.accounts.account(key.account_id)
    return HostedAccount(type="organization", username=found.name, name=found.name, github_url=None)


@router.get("/hardware", **described("account", "listHardware", "What models run on"))
async def hardware(_key: Reader) -> list[Hardware]:
    """This server, whatever it is made of."""
    return [Hardware(name="Here", sku="tintype")]
