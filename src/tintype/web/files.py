"""The files of a server: input images, outputs and uploads, and where one of them is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Self

from tintype.errors import ImageUnknown, NotFound
from tintype.media.images import check
from tintype.media.storage import GONE, NAME, Storage, open_storage
from tintype.settings import Settings
from tintype.store.accounts.uploads import Uploads
from tintype.store.queue.images import Images
from tintype.store.store import Store

#: Seconds that a signed address of an image works: enough to follow it.
SIGNED_FOR = 300.0
#: Timeout in seconds of a call to a storage that is away: it occupies a thread meanwhile, of which there are few.
CALLERS_TIMEOUT = 5.0


@dataclass(frozen=True)
class Files:
    """One per server. Outputs and uploads share one namespace of unguessable names."""

    inputs: Storage
    outputs: Storage
    #: The same folder without an end: of images that accounts keep.
    kept: Storage
    uploads: Storage
    #: Notes of images' sizes.
    rows: Uploads
    #: What is known of outputs.
    images: Images
    #: Seconds from a request's end to its images'; perhaps infinite.
    image_ttl: float
    #: Of one image, at most.
    max_bytes: int
    max_pixels: int
    #: Whether the storage itself serves images, under signed addresses.
    redirect: bool

    @classmethod
    def open(cls, settings: Settings, inputs: Storage, store: Store) -> Self:
        def opened(folder: Path, ttl: float) -> Storage:
            return open_storage(settings.storage, folder, ttl, CALLERS_TIMEOUT)

        return cls(
            inputs=inputs,
            outputs=opened(settings.outputs_folder, settings.retention.file_ttl),
            kept=opened(settings.outputs_folder, inf),
            uploads=opened(settings.assets_folder, settings.retention.upload_ttl),
            rows=store.uploads,
            images=store.images,
            image_ttl=settings.retention.image_ttl,
            max_bytes=settings.inputs.max_bytes,
            max_pixels=settings.inputs.max_pixels,
            redirect=settings.storage.redirect,
        )

    @staticmethod
    def open_inputs(settings: Settings) -> Storage:
        """The input images alone: the store needs them first."""
        return open_storage(settings.storage, settings.inputs_folder, settings.retention.input_ttl, CALLERS_TIMEOUT)

    def find(self, name: str) -> tuple[Storage, int]:
        """Where a finished or uploaded image of that name is, and its bytes; raises NotFound, and ImageUnknown."""
        for place in (self.outputs, self.uploads):
            with suppress(NotFound):
                return place, place.size(name)
        if NAME.fullmatch(name):
            if self.images.keeps(name):
                return self.kept, self.kept.size(name)
            if fate := self.images.fate(name):
                raise ImageUnknown.of(name, fate)
        raise NotFound(GONE)

    def size(self, name: str) -> tuple[int, int]:
        """Width and height in pixels of such an image; raises NotFound, and BadPicture for what is none.

        Its file is read only where they were not noted: by an earlier version, or until its request's record expired.
        """
        size = self.rows.size_of(name)
        place, _ = self.find(name)
        return check(place.get(name), self.max_pixels) if size is None else size

    def address(self, name: str) -> str | None:
        """Where the storage serves that image itself, if the operator has enabled that; raises NotFound."""
        if not self.redirect:
            return None
        place, _ = self.find(name)
        return place.signed_url(name, SIGNED_FOR)
