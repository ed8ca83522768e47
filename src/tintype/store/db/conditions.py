"""Conditions in SQL that several rooms share, each said once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Row,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
)

from tintype.errors import TintypeError
from tintype.store.db.records import Status, counted_attempts
from tintype.store.db.tables import requests, workers

columns = requests.c

#: This moment, in statements that are built once: building one takes longer than running it.
MOMENT: BindParameter[float] = bindparam("moment", type_=Double())

# In the statements' own text: PostgreSQL plans one that it has prepared without knowing the values.
_queued: ColumnElement[Any] = literal_column(f"'{Status.QUEUED}'")
_processing: ColumnElement[Any] = literal_column(f"'{Status.PROCESSING}'")
QUEUED = columns.status == _queued
PROCESSING = columns.status == _processing
UNENDED = columns.status.in_((_queued, _processing))
#: Requests of live keys that have not ended; test keys' take no part in what operators and limits count.
LIVE = and_(UNENDED, ~columns.test)
ATTEMPTS: ColumnElement[int] = counted_attempts(columns.attempt, columns.hand_backs)

#: Seconds without a heartbeat after which a worker is taken for dead.
ALIVE = 15.0
#: Workers that take requests while they live: not told to leave, and with a storage that takes their images.
TAKES = and_(workers.c.drain_at.is_(None), workers.c.about["storage"].as_string().is_(None))
#: Bytes that a worker may use for weights and activations.
MEMORY_BUDGET = workers.c.about["memory", "budget"].as_float()


def lapsed(moment: ColumnElement[float] | float) -> ColumnElement[bool]:
    """Requests whose worker has not renewed in time."""
    return and_(PROCESSING, columns.lease_until < moment)


def kept(moment: ColumnElement[float] | float) -> ColumnElement[bool]:
    """Requests whose record has not expired."""
    return or_(columns.expires_at.is_(None), columns.expires_at > moment)


def find_owned(
    view: Connection, rows: FromClause, id: str, account_id: str, unknown: TintypeError, *also: ColumnElement[bool]
) -> Row[Any]:
    """The account's row of that id; raises `unknown` where there is none, or it is another account's."""
    own = select(rows).where(rows.c.id == id, rows.c.account_id == account_id, *also)
    row = view.execute(own).one_or_none()
    if row is None:
        raise unknown
    return row
