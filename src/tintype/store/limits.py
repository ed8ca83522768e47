"""How much may be asked at once: by one key, and by all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from tintype.errors import TooManyRequests
from tintype.store.records import Request, Status
from tintype.store.tables import api_keys, requests

MINUTE = 60.0
#: Seconds after which it makes sense to look whether something has ended: nobody knows when that will be.
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


def admit(tx: Connection, request: Request, ceilings: Ceilings) -> None:
    """Let a new request in and take a token for it; raises TooManyRequests."""
    key = tx.execute(select(api_keys).where(api_keys.c.id == request.key_id)).one()
    concurrency, most = _own(key, "concurrency", ceilings), _own(key, "max_queued", ceilings)
    at_once, pictures, of_all = _waiting(tx, request)
    moment = request.submitted_at
    if ceilings.queue and of_all > ceilings.queue:
        raise TooManyRequests(f"The queue is full: it holds {ceilings.queue} pictures", PATIENCE, moment)
    if concurrency and at_once > concurrency:
        raise TooManyRequests(f"This API key may have {concurrency} requests at once", PATIENCE, moment)
    if most and pictures > most:
        words = f"This API key may have {most} pictures at once; with this request it would have {pictures}"
        raise TooManyRequests(words, PATIENCE, moment)
    if rpm := _own(key, "rpm", ceilings):
        _take_token(tx, key, rpm, moment)


def _take_token(tx: Connection, key: Row[Any], rpm: int, moment: float) -> None:
    """A bucket of `rpm` tokens that fills within a minute, kept as the moment at which it will be full again."""
    full_at = max(key.bucket_full_at, moment) + MINUTE / rpm
    if full_at > moment + MINUTE + 1e-6:  # what rounding can add up to
        raise TooManyRequests(f"This API key may send {rpm} requests per minute", full_at - moment - MINUTE, moment)
    tx.execute(update(api_keys).where(api_keys.c.id == key.id).values(bucket_full_at=full_at))


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
