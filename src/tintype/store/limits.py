"""How much may be asked at once: by one key, and by all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, func, select, true, update

from tintype.errors import Forbidden, TooManyRequests
from tintype.store import outlook
from tintype.store.records import Allowance, Request, Status
from tintype.store.tables import api_keys, requests

MINUTE = 60.0
#: Seconds after which it makes sense to look again where nothing was measured yet; no wait is told above a minute, as
#: an estimate so far ahead is none.
PATIENCE = 2.0


@dataclass(frozen=True)
class Ceilings:
    """The server's limits, 0 for none; a key's own take the place of the first three."""

    #: Requests per minute, of which as many can come at once as have been saved up.
    rpm: int = 0
    #: Requests, and pictures, of one key that have not ended.
    concurrency: int = 0
    max_queued: int = 0
    #: Pictures of all keys that have not ended.
    queue: int = 0


NO_CEILINGS = Ceilings()


def admit(tx: Connection, request: Request, ceilings: Ceilings) -> Allowance | None:
    """Let a new request in and take a token for it; raises TooManyRequests, and Forbidden for what never gets in.

    Returns what is left of the key's minute, None where that has no limit.
    """
    key = tx.execute(select(api_keys).where(api_keys.c.id == request.key_id)).one()
    concurrency, most = _own(key, "concurrency", ceilings), _own(key, "max_queued", ceilings)
    at_once, pictures, of_all = _waiting(tx, request)
    own = requests.c.key_id == request.key_id
    if ceilings.queue and of_all > ceilings.queue:
        raise _full(tx, request, true(), f"The queue is full: it holds {ceilings.queue} pictures")
    if concurrency and at_once > concurrency:
        raise _full(tx, request, own, f"This API key may have {concurrency} requests at once")
    if most and request.pictures > most:
        # No wait would help.
        raise Forbidden(
            f"This API key may have {most} pictures at once; this request alone asks for {request.pictures}"
        )
    if most and pictures > most:
        words = f"This API key may have {most} pictures at once; with this request it would have {pictures}"
        raise _full(tx, request, own, words)
    rpm = _own(key, "rpm", ceilings)
    return _take_token(tx, key, rpm, request.submitted_at) if rpm else None


def _full(tx: Connection, request: Request, whose: ColumnElement[bool], words: str) -> TooManyRequests:
    """The refusal where room comes when one of these requests ends: by this server's own paces, if they tell."""
    left = outlook.first_end(tx, and_(whose, requests.c.id != request.id))
    return TooManyRequests(words, min(MINUTE, PATIENCE if left is None else left), request.submitted_at)


def _take_token(tx: Connection, key: Row[Any], rpm: int, moment: float) -> Allowance:
    """A bucket of `rpm` tokens that fills within a minute, kept as the moment at which it will be full again."""
    full_at = max(key.bucket_full_at, moment) + MINUTE / rpm
    spare = moment + MINUTE + 1e-6 - full_at  # what rounding can add up to
    if spare < 0:
        raise TooManyRequests(f"This API key may send {rpm} requests per minute", full_at - moment - MINUTE, moment)
    tx.execute(update(api_keys).where(api_keys.c.id == key.id).values(bucket_full_at=full_at))
    return Allowance(int(spare * rpm / MINUTE), full_at)


def _waiting(tx: Connection, request: Request) -> tuple[int, int, int]:
    """Requests and pictures of the request's key, and all keys' pictures, that have not ended; itself among them."""
    own = requests.c.key_id == request.key_id
    pictures = func.coalesce(func.sum(requests.c.pictures).filter(own), 0)
    counted = select(func.count().filter(own), pictures, func.sum(requests.c.pictures))
    # Test requests take no room from live ones, nor the other way round.
    unended = (requests.c.status.in_((Status.QUEUED, Status.PROCESSING)), requests.c.test.is_(request.test))
    at_once, of_key, of_all = tx.execute(counted.where(*unended)).one()
    return int(at_once), int(of_key), int(of_all)


def _own(key: Row[Any], name: str, ceilings: Ceilings) -> int:
    own: int | None = key._mapping[name]
    default: int = getattr(ceilings, name)
    return default if own is None else own
