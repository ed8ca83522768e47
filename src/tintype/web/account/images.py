"""An account's images that are there: listed, kept, deleted, downloaded together."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Self

from fastapi import APIRouter, Query, Response
from fastapi import Request as HttpRequest
from pydantic import Field

from tintype.catalog.samples import find_sample
from tintype.core import OWN_FILE
from tintype.errors import InvalidParameter
from tintype.store.billing.reports import DAY, beginning
from tintype.store.queue.images import ImageFilter, OwnImage, Place
from tintype.store.store import Store
from tintype.store.webhooks.events import file_url
from tintype.web.account.history import sent_params
from tintype.web.account.keys import BodyFlag
from tintype.web.archive import Archive, Entry
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Allowed, Answer, Declared, SentQuery
from tintype.web.dependencies import BaseUrl, FilesDep, RuntimeDep, StoreDep
from tintype.web.json_body import body_of
from tintype.web.openapi import BINARY, WITH_BODY, errors
from tintype.web.query import DIGITS, Absent, Day, QueryFlag
from tintype.web.threads import Threaded, holder
from tintype.web.wire import Dollars, Id, Moment, Url, exact

#: Images of a page, by default and at most; characters and words of a search.
ROWS, MAX_IMAGES, MAX_SEARCH, MAX_WORDS = 60, 200, 200, 10

router = APIRouter(prefix="/v2/images", route_class=Threaded, responses=errors(400, 401, 403), tags=["files"])


class ImagesQuery(SentQuery):
    """Which images, and after which ones."""

    limit: Annotated[int, Field(ge=1, le=MAX_IMAGES, description="Images of a page"), DIGITS] = ROWS
    cursor: Annotated[str | Absent, Field(max_length=200, description="The `next_cursor` of the page before")] = None
    model: Annotated[str | Absent, Field(max_length=200, description="A model's slug")] = None
    from_: Annotated[Day, Field(alias="from")] = None
    to: Day = None
    kept: Annotated[QueryFlag | Absent, Field(description="Only those that are to be kept, or that are not")] = None
    q: Annotated[
        str | Absent, Field(max_length=MAX_SEARCH, description=f"Words of the prompt, up to {MAX_WORDS}, in any order")
    ] = None
    request: Annotated[str | Absent, Field(max_length=80, description="A request's id")] = None
    name: Annotated[str | Absent, Field(max_length=80, description="An image's file name: that one alone")] = None

    def filter(self, account_id: str) -> ImageFilter:
        """In the store's words."""
        return ImageFilter(
            account_id=account_id,
            since=None if self.from_ is None else beginning(self.from_),
            before=None if self.to is None else beginning(self.to) + DAY,
            slug=self.model or "",
            request_id=self.request or "",
            words=tuple((self.q or "").split()[:MAX_WORDS]),
            kept=self.kept,
        )


class OwnImageRow(Answer):
    """A finished image with what it was made of."""

    name: str
    """Of its file."""
    url: Url
    request_id: Id
    model: str
    prompt: str | None
    seed: str
    width: int = Field(description="Pixels; 0 where an earlier version did not note them")
    height: int
    bytes: int
    created_at: Moment
    """When its request was submitted."""
    kept: bool
    """Whether it is to be kept: then it doesn't expire."""
    kept_until: Moment | None
    """When it expires, or earlier if the server needs the room; null for no end."""
    parameters: dict[str, Any]
    """Its request's, as they were sent, with the seed of the request's first image."""
    input_url: str | None
    """The path of the image that it was made from, while that is on this server."""
    cost: Dollars
    """Its share of its request's cost."""
    inference_time: float
    queue_time: float

    @classmethod
    def of(cls, image: OwnImage, base: str, input_url: str | None) -> Self:
        past, output = image.request, image.output
        started = past.submitted_at if past.started_at is None else past.started_at
        params = sent_params(past)
        return cls(
            name=output.name,
            url=file_url(output.name, base),
            request_id=past.id,
            model=past.slug,
            prompt=params.get("prompt"),
            seed=str(output.seed),
            width=output.width,
            height=output.height,
            bytes=output.size,
            created_at=past.submitted_at,
            kept=image.kept,
            kept_until=image.until,
            parameters=params | {"seed": exact(image.result.seed)},
            input_url=input_url,
            cost=round((past.cost or 0) / len(image.result.outputs)),
            inference_time=image.result.inference_time,
            queue_time=round(max(0.0, started - past.submitted_at), 4),
        )


class ImageList(Answer):
    """Images."""

    images: list[OwnImageRow]

    @classmethod
    def rows(cls, images: list[OwnImage], store: Store, base: str) -> list[OwnImageRow]:
        """The images as their account sees them."""
        sources = [str(one.request.params.get("image") or "") for one in images]
        files = {source.removeprefix(OWN_FILE) for source in sources if source.startswith(OWN_FILE)}
        inputs = {OWN_FILE + name: OWN_FILE + name for name in store.images.present(files)}
        inputs |= {source: sample.path for source in sources if (sample := find_sample(source))}
        return [OwnImageRow.of(one, base, inputs.get(source)) for one, source in zip(images, sources, strict=True)]


class ImagePage(ImageList):
    """Images, the newest first."""

    next_cursor: str | None
    """For the next page; null where this is the last one."""


FileName = Annotated[str, Field(max_length=80), Allowed("an image's file name")]
#: An image's name, as an example.
EXAMPLE = "0123456789abcdef0123456789abcdef.jpeg"


class Names(Declared):
    """Images by their file names."""

    names: Annotated[
        list[FileName],
        Field(min_length=1, max_length=MAX_IMAGES),
        Allowed(f"a list of 1 to {MAX_IMAGES} file names of images"),
    ]


class Keeping(Names):
    """Images to keep, or to keep no longer."""

    kept: BodyFlag = Field(description="true or false")


class Deleted(Answer):
    """The names of the images that are gone."""

    deleted: list[str]


NAMES = {"names": [EXAMPLE]}


@router.get("", operation_id="listImages", summary="The account's images", responses=errors(404))
def listed(key: Reader, store: StoreDep, base: BaseUrl, query: Annotated[ImagesQuery, Query()]) -> ImagePage:
    """The images of this account that are there, the newest first; deleted and expired ones are not."""
    if query.name:
        found, end = store.images.find(key.account_id, [query.name]), None
    else:
        found, end = store.images.page(query.filter(key.account_id), query.limit, _place(query.cursor))
    return ImagePage(images=ImagePage.rows(found, store, base), next_cursor=end and _cursor(end))


@router.post("/keep", operation_id="keepImages", summary="Keep images for good", responses=errors(404, *WITH_BODY))
def keep(
    key: Runner,
    store: StoreDep,
    base: BaseUrl,
    wanted: Annotated[Keeping, body_of(Keeping, {**NAMES, "kept": True})],
) -> ImageList:
    """Keep images until they are deleted, and their requests in the history as long; or no longer.

    An image that is kept no longer expires when it would have, but not within a day. An account may keep images of half
    of `images_budget` bytes (`/about.json`), and all accounts together of all of it. Where one image can't be
    kept, none is.
    """
    images = store.images.keep(key.account_id, wanted.names, kept=wanted.kept)
    return ImageList(images=ImageList.rows(images, store, base))


@router.post(
    "/zip",
    operation_id="downloadImages",
    summary="Download several images",
    response_class=Response,
    responses={
        200: {"description": "A zip of the images", "content": {"application/zip": BINARY}},
        **errors(404, *WITH_BODY),
    },
)
def download(
    http: HttpRequest,
    key: Reader,
    store: StoreDep,
    files: FilesDep,
    runtime: RuntimeDep,
    wanted: Annotated[Names, body_of(Names, NAMES, changes=False)],
) -> Response:
    """The images as a zip, named by date, model and seed. An account may have two such downloads at a time."""
    entries = [_entry(one) for one in store.images.find(key.account_id, wanted.names)]
    return Archive(
        files,
        entries,
        f"tintype-{len(entries)}-images.zip",
        run=partial(runtime.threads.run, holder(http)),
        open_calls=runtime.downloads,
        account=key.account_id,
    )


@router.post("/delete", operation_id="deleteImages", summary="Delete images now", responses=errors(404, *WITH_BODY))
def delete(key: Runner, store: StoreDep, files: FilesDep, wanted: Annotated[Names, body_of(Names, NAMES)]) -> Deleted:
    """Delete images now, kept ones too, with their previews; what they cost and their requests stay.

    Where a name is none of this account's images, none is deleted. Images that are gone already are no error.
    """
    names = store.images.own(key.account_id, wanted.names)
    files.outputs.remove_all(names)  # first: where that fails, the images are still listed, and can be deleted again
    store.images.deleted(key.account_id, names)
    return Deleted(deleted=names)


def _entry(image: OwnImage) -> Entry:
    """`2026-11-30-sd1.5-img2img-7-0123ab.jpeg`; the digits tell images of one seed apart."""
    name, moment = image.output.name, image.request.ended_at or image.request.submitted_at
    begins, _, suffix = name.partition(".")
    day = datetime.fromtimestamp(moment, UTC).date().isoformat()
    return Entry(name, f"{day}-{image.request.slug}-{image.output.seed}-{begins[:6]}.{suffix}", moment)


def _cursor(place: Place) -> str:
    return urlsafe_b64encode(f"{place.submitted_at!r} {place.images} {place.id}".encode()).decode()


def _place(cursor: str | None) -> Place | None:
    """Raises InvalidParameter."""
    if cursor is None:
        return None
    try:
        submitted_at, images, id = urlsafe_b64decode(cursor).decode().split(" ")
        return Place(float(submitted_at), id, int(images))
    except ValueError:  # base64's and Unicode's are, too
        raise InvalidParameter("cursor", cursor, "the next_cursor of the page before") from None
