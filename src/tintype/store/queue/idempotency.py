"""Idempotency keys: what was sent with one before is the same request, for as long as its record lives."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, or_, select, update

from tintype.errors import IdempotencyMismatch
from tintype.store.db.database import now
from tintype.store.db.records import Request
from tintype.store.db.tables import requests

columns = requests.c


def repeated(view: Connection, key_id: str, idempotency_key: str, fingerprint: str) -> Request | None:
    """The request that the API key sent with this idempotency key, if it did; raises IdempotencyMismatch.

    fingerprint: a hash of what is sent with it now.
    """
    kept = or_(columns.expires_at.is_(None), columns.expires_at > now())
    row = view.execute(select(requests).where(*_sent_with(key_id, idempotency_key), kept)).one_or_none()
    if row is not None and row.fingerprint != fingerprint:
        raise IdempotencyMismatch(headers={"x-request-id": row.id})
    return None if row is None else Request.of(row)


def free(tx: Connection, key_id: str, idempotency_key: str) -> None:
    """Take the key from a request whose record is over, but not removed yet."""
    over = update(requests).where(*_sent_with(key_id, idempotency_key), columns.expires_at <= now())
    tx.execute(over.values(idempotency_key=None))


def _sent_with(key_id: str, idempotency_key: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return columns.key_id == key_id, columns.idempotency_key == idempotency_key
