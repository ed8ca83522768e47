"""The stand-in: a worker without weights, in every web process, that alone claims the requests of test keys."""

from __future__ import annotations

import math
import threading
import time
from uuid import uuid4

import structlog

from tintype.catalog.spec import Catalogue
from tintype.core import Result
from tintype.errors import StorageUnavailable, StoreUnavailable, TintypeError, kind_of
from tintype.store.db.records import LeaseStatus, Request
from tintype.store.queue.queue import Leases
from tintype.testmode.act import Act
from tintype.testmode.delivery import Delivery
from tintype.testmode.outcomes import TRIED_AGAIN
from tintype.testmode.script import LONGEST

log = structlog.get_logger()

#: Leases begun in one turn: a flood of them must not keep the leases from being renewed.
AT_ONCE = 16
#: Seconds between looks for what other servers accepted, or is due only now, while there is nothing to do; how much
#: longer the pauses are once this server has accepted nothing for LATELY: what it has delayed is due by then.
LOOK, IDLE = 0.5, 8.0
LATELY = LONGEST + 60


class StandIn:
    """Plays test requests; `turn` is to be called many times a second, and `stop` at the end.

    heartbeat: seconds between renewals of the leases. woken: set when this server has accepted a request.
    """

    def __init__(
        self,
        requests: Leases,
        catalogue: Catalogue,
        delivery: Delivery,
        heartbeat: float,
        woken: threading.Event,
        look: float = LOOK,
    ) -> None:
        self._requests = requests
        self._catalogue = catalogue
        self._delivery = delivery
        self._heartbeat = heartbeat
        self._woken = woken
        self._look = look
        self._looked = -look
        self._accepted = -math.inf
        self._id = f"stand-in-{uuid4().hex[:8]}"
        self._acts: dict[str, Act] = {}
        self._renewed = time.monotonic()
        #: A turn may be under way in its thread while the server stops.
        self._lock = threading.Lock()
        self._stopped = False

    def turn(self) -> None:
        """Renew what is being played, begin what is due, end what is over."""
        if self._idle:
            return
        with self._lock:
            try:
                self._renew()
                self._take()
                for act in [act for act in self._acts.values() if act.over]:
                    self._finish(act)
                    self._renew()  # large pictures take their time
            except StoreUnavailable:
                pass  # what is in hand is tried again in the next turn, or claimed by another stand-in

    def stop(self) -> None:
        """Begin nothing more, and hand back what is not over, uncounted: another stand-in goes on where it was."""
        self._stopped = True
        self._delivery.breaker.stop()
        with self._lock:
            try:
                self._requests.hand_all_back([(act.request.id, act.request.attempt) for act in self._acts.values()])
            except StoreUnavailable:
                log.warning("what is in hand can't be handed back; leases run out", requests=len(self._acts))
            self._acts.clear()

    @property
    def _idle(self) -> bool:
        """Whether this turn can be spared: looking twenty times a second is work for nothing."""
        moment = time.monotonic()
        pause = self._look if moment < self._accepted + LATELY else IDLE * self._look
        return not (self._acts or self._woken.is_set() or moment >= self._looked + pause)

    def _renew(self) -> None:
        if time.monotonic() < self._renewed + self._heartbeat:
            return
        self._renewed = time.monotonic()
        verdicts = self._requests.renew([act.mark for act in self._acts.values()])
        for id, verdict in verdicts.items():
            self._acts[id].verdict = verdict
        # Another stand-in's by now, or ended: nothing is left to be written.
        self._acts = {id: act for id, act in self._acts.items() if act.verdict is not LeaseStatus.LOST}

    def _take(self) -> None:
        self._looked = time.monotonic()
        if self._woken.is_set():
            self._accepted = self._looked
        self._woken.clear()
        for _ in range(0 if self._stopped or self._delivery.breaker.open else AT_ONCE):
            request = self._requests.claim(self._id, idle=True, test=True)
            if request is None:
                return
            self._begin(request)

    def _begin(self, request: Request) -> None:
        try:
            self._acts[request.id] = Act.of(request, self._catalogue.find(request.slug))
        except (TintypeError, KeyError, TypeError) as error:
            # Submitted by another version, whose catalogue or prompts differ from ours.
            log.warning("request not understood", request=request.id, exc_info=error)
            self._requests.fail(request.id, request.attempt, "this server no longer runs that request", 500)

    def _finish(self, act: Act) -> None:
        if self._stopped:
            return
        own = act.request.id, act.request.attempt
        try:
            self._end(act, *own)
        except StoreUnavailable:
            raise
        except StorageUnavailable as error:  # as for a worker's: it waits for the storage, unless it alone fails
            if self._delivery.breaker.open:
                self._requests.hand_back(*own)
            else:
                self._requests.retry(*own, error.message)
        except TintypeError as error:
            self._requests.fail(*own, error.message, error.status, kind_of(error))
        except Exception as error:
            log.exception("the stand-in failed", request=act.request.id, error=type(error).__name__)
            self._requests.retry(*own, TRIED_AGAIN)
        self._acts.pop(act.request.id, None)
        self._woken.set()  # it may be to be tried again

    def _end(self, act: Act, id: str, attempt: int) -> None:
        """As a worker ends a request: every way out is the store's own."""
        failing = act.script.failing
        if act.verdict is LeaseStatus.CANCEL:
            self._requests.end_cancelled([(id, attempt)])
        elif act.request.attempts.counted <= act.script.retries:
            self._requests.retry(id, attempt, TRIED_AGAIN)
        elif failing is None:
            self._requests.complete(id, attempt, Result.from_json(self._delivery.result(act)))
        elif failing.tried:
            self._requests.retry(id, attempt, failing.error)
        else:
            self._requests.fail(id, attempt, failing.error, failing.status, failing.kind)
