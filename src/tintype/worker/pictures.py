"""The input picture of an order: a stored file, a sample, or something to download."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import Self

from tintype.catalog.samples import sample_path
from tintype.core import OWN_FILE, STORED_INPUT, GenerationParams
from tintype.errors import BadPicture, NotFound
from tintype.media.decoder import Decoded, Decoder
from tintype.media.http import LOOKUPS, PublicClient
from tintype.media.inline import from_text
from tintype.media.network import Cancellation, Deadline
from tintype.media.samples import draw
from tintype.media.scaling import fitted_size
from tintype.media.storage import Storage, open_storage
from tintype.settings import Settings
from tintype.worker.fair import FairPool

#: Input images on their way at the same time. Most of them wait for an address, or for a decoder with at most
#: 25 MB in hand. As many lookups of names are possible at the same time: none waits for another's.
PLACES = LOOKUPS


class Pictures:
    """Reads input images; nothing else in the worker knows where they come from.

    decoders: how many are decoded at the same time.
    """

    def __init__(
        self,
        inputs: Storage,
        client: PublicClient,
        decoder: Decoder,
        decoders: int,
        max_bytes: int,
        files: Sequence[Storage] = (),
    ) -> None:
        self.inputs = inputs
        #: Uploads and outputs, which requests may name.
        self.files = files
        self.client = client
        self.decoder = decoder
        self.max_bytes = max_bytes
        self._fetching = FairPool(PLACES, "fetch")
        self._decoding = FairPool(decoders, "decode")

    @classmethod
    def from_settings(cls, settings: Settings) -> Pictures:
        """As the operator configured them; what a request was told to read is there until it ends, whatever its age."""
        folders = settings.inputs_folder, settings.outputs_folder, settings.assets_folder
        inputs, *files = (open_storage(settings, folder, math.inf) for folder in folders)
        client = PublicClient(settings.fetch_allow, settings.fetch_timeout)
        decoder = Decoder(settings.max_picture_pixels, settings.decode_timeout)
        return cls(inputs, client, decoder, settings.decoders, settings.max_picture_bytes, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._fetching.close()
        self._decoding.close()
        self.client.close()
        self.decoder.close()

    def submit(
        self,
        order: GenerationParams,
        account: str,
        limit: Callable[[], int | None],
        cancellation: Cancellation,
        run: Callable[[Callable[[], Decoded]], Decoded] = lambda work: work(),
    ) -> Future[Decoded | None]:
        """Have the order's input image fetched, decoded and fitted; the future raises BadPicture.

        limit: says how many pixels the key may ask for at the same time. cancellation: ends the download and the
        decoding. run: is given the work, in its thread.
        """

        def work(after: ExitStack) -> Decoded | None:
            download = self.client.deadline(cancellation)
            after.callback(download.settle)
            return run(lambda: self._fetch(order, account, limit, download))

        return self._fetching.submit(account, work)

    def read(self, order: GenerationParams) -> Decoded | None:
        """The order's input image, fetched and decoded here and now; None when it has none. Raises BadPicture."""
        if not order.source:
            return None
        data = self._bytes(order.source, self.client.deadline(Cancellation()))
        return self.decoder.reduced(data, order.width, order.height, Cancellation())

    def _fetch(
        self, order: GenerationParams, account: str, limit: Callable[[], int | None], download: Deadline
    ) -> Decoded:
        data = self._bytes(order.source, download)
        cancellation = download.cancellation

        def decode(_: ExitStack) -> Decoded:
            return self.decoder.reduced(data, order.width, order.height, cancellation)

        waiting = self._decoding.submit(account, decode)
        with cancellation.interrupting(waiting.cancel):
            decoded = waiting.result()
        _check_pixels(order, decoded, limit)
        return decoded

    def _bytes(self, image: str, download: Deadline) -> bytes:
        if image.startswith(STORED_INPUT):
            return _kept(image.removeprefix(STORED_INPUT), [self.inputs])
        if image.startswith(OWN_FILE):
            return _kept(image.removeprefix(OWN_FILE), self.files)
        if sample := sample_path(image):
            return draw(sample)
        inline = from_text(image, self.max_bytes)
        return self.client.get(image, self.max_bytes, download) if inline is None else inline


def _kept(name: str, places: Sequence[Storage]) -> bytes:
    for place in places:
        with suppress(NotFound):
            return place.get(name)
    raise BadPicture("image: this server keeps no such file (any more)")


def _check_pixels(order: GenerationParams, picture: Decoded, limit: Callable[[], int | None]) -> None:
    """Raise BadPicture when images of its size are more pixels than the key may ask for."""
    if order.width:
        return  # their size was known when they were asked for
    pixels, most = order.pixels(*fitted_size(*picture.size)), limit()
    if most is not None and pixels > most:
        raise BadPicture(f"image: at its size these are {pixels} pixels; this API key may ask for {most} at once")
