"""The input images of a request: stored files, samples, or downloads; fetched and decoded in threads of their own."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from typing import Any, NamedTuple, Self, TypeVar

from tintype.catalog.samples import sample_path
from tintype.core import OWN_FILE, STORED_INPUT, GenerationParams, Role, Size
from tintype.errors import BadPicture, NotFound
from tintype.media.decoder import Decoded, Decoder
from tintype.media.http import LOOKUPS, PublicClient
from tintype.media.images import TOO_MANY, naming
from tintype.media.inline import from_text
from tintype.media.network import Cancellation, Deadline
from tintype.media.provenance.carriers import Carriers
from tintype.media.samples import draw
from tintype.media.scaling import fitted_size
from tintype.media.storage import Storage, open_storage
from tintype.settings import Settings
from tintype.settings.groups import InputSettings

#: Concurrent fetches. Most of them wait for an address, or for a decoder with at most 25 MB in hand. As many lookups of
#: names run concurrently: none waits for another's.
PLACES = LOOKUPS
#: By role.
Images = Mapping[Role, Decoded]
T = TypeVar("T")


class Inputs:
    """Reads input images; nothing else in the worker knows where they come from.

    decoders: concurrent decodes. max_bytes: of a file. files: uploads and outputs, which requests may name. carriers:
    whose manifests can be kept; None where nothing is signed.
    """

    def __init__(
        self,
        inputs: Storage,
        client: PublicClient,
        decoder: Decoder,
        decoders: int,
        max_bytes: int,
        files: Sequence[Storage] = (),
        carriers: Carriers | None = None,
    ) -> None:
        self.inputs = inputs
        self.files = files
        self.client = client
        self.decoder = decoder
        self.max_bytes = max_bytes
        self._carriers = carriers
        self._fetching = FairPool(PLACES, "fetch")
        self._decoding = FairPool(decoders, "decode")

    @classmethod
    def from_settings(cls, settings: Settings) -> Inputs:
        """As the operator configured them; the files of a running request don't expire."""
        folders = settings.inputs_folder, settings.outputs_folder, settings.assets_folder
        inputs, *files = (open_storage(settings.storage, folder, math.inf) for folder in folders)
        client = PublicClient(settings.inputs.fetch_allow, settings.inputs.fetch_timeout)
        decoder = Decoder(settings.inputs.max_pixels, settings.inputs.decode_timeout)
        carriers = Carriers() if settings.provenance.mode != "off" else None
        return cls(inputs, client, decoder, settings.inputs.decoders, settings.inputs.max_bytes, files, carriers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._fetching.close()
        self._decoding.close()
        self.client.close()
        self.decoder.close()
        if self._carriers is not None:
            self._carriers.close()

    def warm(self) -> None:
        """Have a decoder ready for the first input image; doesn't wait for it."""
        self._decoding.submit("", lambda _: self.decoder.warm())

    def submit(
        self,
        params: GenerationParams,
        account: str,
        limit: Callable[[], int | None],
        cancellation: Cancellation,
        run: Callable[[Callable[[], Images]], Images] = lambda work: work(),
    ) -> Future[Images]:
        """Fetch, decode and fit the request's input images; the future raises BadPicture.

        limit: returns how many pixels one request of the key may ask for. cancellation: ends the download and the
        decoding. run: is handed the work, in its thread.
        """

        def work(after: ExitStack) -> Images:
            download = self.client.deadline(cancellation)
            after.callback(download.settle)
            return run(lambda: self._fetch(params, account, limit, download))

        return self._fetching.submit(account, work)

    def _fetch(
        self, params: GenerationParams, account: str, limit: Callable[[], int | None], download: Deadline
    ) -> Images:
        cancellation = download.cancellation

        def decode(data: bytes, over: Size | None) -> Decoded:
            def work(_: ExitStack) -> Decoded:
                decoded = self.decoder.reduced(data, params.width, params.height, cancellation, over, params.fit)
                if over or self._carriers is None:
                    return decoded
                return decoded._replace(carrier=self._carriers.of(data, cancellation))

            waiting = self._decoding.submit(account, work)
            with cancellation.interrupting(waiting.cancel):
                return waiting.result()

        def read(source: str, max_bytes: int) -> bytes:
            return self._bytes(source, max_bytes, download)

        decoded = _read_all(params, read, decode, self.max_bytes, self.decoder.max_pixels)
        _check_pixels(params, decoded["init"], limit)
        return decoded

    def _bytes(self, source: str, max_bytes: int, download: Deadline) -> bytes:
        if source.startswith(STORED_INPUT):
            return _stored(source.removeprefix(STORED_INPUT), [self.inputs])
        if source.startswith(OWN_FILE):
            return _stored(source.removeprefix(OWN_FILE), self.files)
        return _sent(source, self.client, max_bytes, download)


def read_images(params: GenerationParams, settings: InputSettings) -> Images:
    """The input images of a request that no server took, in this thread; none for text to image. Raises BadPicture."""
    if not params.inputs:
        return {}
    with (
        closing(PublicClient(settings.fetch_allow, settings.fetch_timeout)) as client,
        closing(Decoder(settings.max_pixels, settings.decode_timeout)) as decoder,
        closing(Carriers()) as carriers,
    ):
        download = client.deadline(Cancellation())

        def read(source: str, max_bytes: int) -> bytes:
            return _sent(source, client, max_bytes, download)

        def decode(data: bytes, over: Size | None) -> Decoded:
            decoded = decoder.reduced(data, params.width, params.height, Cancellation(), over, params.fit)
            return decoded if over else decoded._replace(carrier=carriers.of(data, Cancellation()))

        return _read_all(params, read, decode, settings.max_bytes, settings.max_pixels)


def _read_all(
    params: GenerationParams,
    read: Callable[[str, int], bytes],
    decode: Callable[[bytes, Size | None], Decoded],
    max_bytes: int,
    max_pixels: int,
) -> Images:
    """A request's input images, the init image first: a mask is scaled to it. The limits are for all of them together.

    read: source and max bytes → file. decode: file and, of a mask, the size of the init image → image; of the init
    image with the file itself, where that carries manifests that can be kept.
    """
    found: dict[Role, Decoded] = {}
    for one in sorted(params.inputs, key=lambda one: one.role != "init"):
        with naming(one.role):
            data = read(one.source, max_bytes)
            max_bytes -= len(data)
            decoded = decode(data, found["init"].size if one.role == "mask" else None)
            max_pixels -= decoded.size[0] * decoded.size[1]
            if max_pixels < 0:
                raise BadPicture(TOO_MANY)
        found[one.role] = decoded
    return found


def _sent(source: str, client: PublicClient, max_bytes: int, download: Deadline) -> bytes:
    """What a caller sent: a sample's path, an inline image, or an address."""
    if sample := sample_path(source):
        return draw(sample)
    inline = from_text(source, max_bytes)
    return client.get(source, max_bytes, download) if inline is None else inline


def _stored(name: str, places: Sequence[Storage]) -> bytes:
    for place in places:
        with suppress(NotFound):
            return place.get(name)
    raise BadPicture("image: this server keeps no such file (any more)")


def _check_pixels(params: GenerationParams, decoded: Decoded, limit: Callable[[], int | None]) -> None:
    """Raise BadPicture when images of its size are more pixels than the key may ask for."""
    if params.width:
        return  # checked when the request was submitted
    pixels, allowed = params.pixels(*fitted_size(*decoded.size)), limit()
    if allowed is not None and pixels > allowed:
        raise BadPicture(f"image: at its size these are {pixels} pixels; this API key may ask for {allowed} at once")


class _Job(NamedTuple):
    account: str
    work: Callable[[ExitStack], Any]
    future: Future[Any]


class FairPool:
    """A few threads for work that callers can make long, at most half of them for one account.

    Next is a job of the account that was served least recently, of those below half. The queue is unbounded: callers
    bound what they submit.
    """

    def __init__(self, places: int, name: str) -> None:
        self._places = places
        self._share = max(1, places // 2)
        self._threads = ThreadPoolExecutor(places, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._waiting: list[_Job] = []
        self._running: Counter[str] = Counter()
        #: When accounts were last served, counted in jobs; only of those that have jobs here.
        self._served: dict[str, int] = {}
        self._jobs = 0

    def submit(self, account: str, work: Callable[[ExitStack], T]) -> Future[T]:
        """Run `work` as soon as its account's turn comes, unless its future is cancelled before.

        What the work puts on the stack runs after the future has its result, and before another job gets the place:
        waiting until nothing is left of the work, for instance.
        """
        future: Future[T] = Future()
        with self._lock:
            self._waiting.append(_Job(account, work, future))
        self._start()
        return future

    def close(self) -> None:
        """Start no more."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for job in waiting:
            job.future.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        with self._lock:
            while self._running.total() < self._places and (job := self._next()):
                self._running[job.account] += 1
                self._jobs += 1
                self._served[job.account] = self._jobs
                self._threads.submit(self._run, job)

    def _next(self) -> _Job | None:
        """The next job, removed from the queue."""
        self._waiting = [job for job in self._waiting if not job.future.cancelled()]
        ready = [job for job in self._waiting if self._running[job.account] < self._share]
        job = min(ready, key=lambda job: self._served.get(job.account, 0), default=None)
        if job is not None:
            self._waiting.remove(job)
        return job

    def _run(self, job: _Job) -> None:
        try:
            if job.future.set_running_or_notify_cancel():
                with ExitStack() as after:
                    _fulfil(job, after)
        finally:
            with self._lock:
                self._running[job.account] -= 1
                if not self._running[job.account]:
                    del self._running[job.account]
                    if all(other.account != job.account for other in self._waiting):
                        self._served.pop(job.account, None)
            self._start()


def _fulfil(job: _Job, after: ExitStack) -> None:
    try:
        result = job.work(after)
    except BaseException as error:  # noqa: BLE001 - the future raises it
        job.future.set_exception(error)
    else:
        job.future.set_result(result)
