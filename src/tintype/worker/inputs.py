"""The input image of a request: a stored file, a sample, or something to download."""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any, NamedTuple, Self, TypeVar

from tintype.catalog.samples import sample_path
from tintype.core import OWN_FILE, STORED_INPUT, GenerationParams
from tintype.errors import BadPicture, NotFound
from tintype.media.cancellation import Cancellation
from tintype.media.decoder import Decoded, Decoder
from tintype.media.fetch import LOOKUPS, Fetcher
from tintype.media.inline import from_text
from tintype.media.network import Deadline
from tintype.media.samples import draw
from tintype.media.scaling import fitted_size
from tintype.media.storage import Storage, open_storage
from tintype.settings import Settings

T = TypeVar("T")


class _Job(NamedTuple):
    account: str
    work: Callable[[ExitStack], Any]
    future: Future[Any]


class FairPool:
    """Runs jobs in `places` threads: next is one of the account that was served longest ago, among those below half.

    What waits is not bounded here: whoever submits bounds that.
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
        """Run `work` as soon as it may; a future that is cancelled before is not run.

        What the work puts on the stack is done after the future has its result, and before its place is another job's:
        waiting until nothing of the work is left, say.
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
        """The job whose turn it is, taken out of those that wait."""
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
    except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
        job.future.set_exception(error)
    else:
        job.future.set_result(result)


#: Input images on their way at the same time. Most of them wait for an address, or for a decoder with at most
#: 25 MB in hand. As many lookups of names are possible at the same time: none waits for another's.
PLACES = LOOKUPS


class Inputs:
    """Reads input images; nothing else in the worker knows where they come from.

    decoders: how many are decoded at the same time.
    """

    def __init__(
        self,
        inputs: Storage,
        fetcher: Fetcher,
        decoder: Decoder,
        decoders: int,
        max_bytes: int,
        files: Sequence[Storage] = (),
    ) -> None:
        self.inputs = inputs
        #: Uploads and outputs, which requests may name.
        self.files = files
        self.fetcher = fetcher
        self.decoder = decoder
        self.max_bytes = max_bytes
        self._fetching = FairPool(PLACES, "fetch")
        self._decoding = FairPool(decoders, "decode")

    @classmethod
    def from_settings(cls, settings: Settings) -> Inputs:
        """As the operator configured them; what a request was told to read is there until it ends, whatever its age."""
        folders = settings.inputs_folder, settings.outputs_folder, settings.assets_folder
        inputs, *files = (open_storage(settings, folder, math.inf) for folder in folders)
        fetcher = Fetcher(settings.fetch_allow, settings.max_picture_bytes, settings.fetch_timeout)
        decoder = Decoder(settings.max_picture_pixels, settings.decode_timeout)
        return cls(inputs, fetcher, decoder, settings.decoders, settings.max_picture_bytes, files)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._fetching.close()
        self._decoding.close()
        self.fetcher.close()
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
            download = self.fetcher.deadline(cancellation)
            after.callback(download.settle)
            return run(lambda: self._fetch(order, account, limit, download))

        return self._fetching.submit(account, work)

    def read(self, order: GenerationParams) -> Decoded | None:
        """The order's input image, fetched and decoded here and now; None when it has none. Raises BadPicture."""
        if not order.source:
            return None
        data = self._bytes(order.source, self.fetcher.deadline(Cancellation()))
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
        return self.fetcher.get(image, download) if inline is None else inline


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
