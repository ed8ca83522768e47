"""Conditions in SQL that several rooms share, each said once; and the repair of rows after a clock was set back."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Row,
    Table,
    and_,
    bindparam,
    or_,
    select,
    update,
)

from tintype.errors import TintypeError
from tintype.store.db.records import DeliveryStatus, Status, counted_attempts
from tintype.store.db.tables import deliveries, requests, servers, workers

columns = requests.c

#: This moment, in statements that are built once: building one takes longer than running it.
MOMENT: BindParameter[float] = bindparam("moment", type_=Double())

PROCESSING = columns.status == Status.PROCESSING
QUEUED = columns.status == Status.QUEUED
UNENDED = columns.status.in_((Status.QUEUED, Status.PROCESSING))
#: Requests of live keys that have not ended; test keys' take no part in what operators and limits count.
LIVE = and_(UNENDED, ~columns.test)
ATTEMPTS: ColumnElement[int] = counted_attempts(columns.attempt, columns.hand_backs)

#: Seconds without a heartbeat after which a worker is taken for dead.
ALIVE = 15.0
#: Workers that take requests while they live: not told to leave, and with a storage that takes their images.
TAKES = and_(workers.c.drain_at.is_(None), workers.c.about["storage"].as_string().is_(None))
#: Bytes that a worker may use for weights and activations.
MEMORY_BUDGET = workers.c.about["memory", "budget"].as_float()

#: Seconds that machines' clocks may differ by, where a moment was not written by the database's own.
DIFFERENCE = 60.0
#: How many leases ahead the end of one may lie: that of a worker with another setting than ours.
LEASES = 10


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


# A clock that was set back leaves moments in the future that would block requests until the clock reaches them. Causes:
# a machine restored or resumed, a step of NTP, a standby with another clock. Moments that could honestly lie where they
# do stay as they are; what only keeps something for longer (records, files, logs) does too. Token buckets
# (`queue/submit.py`), daily limits of keys (`accounts/delegation.py`) and the autoscaler's lease (`ops/autoscaler.py`)
# are bounded where they are read.


def set_back(tx: Connection, moment: float, lease: float) -> None:
    """Move what was submitted, claimed or seen in the future to this moment; lease: seconds of a claim."""
    r, late = requests.c, moment + DIFFERENCE
    step = r.submitted_at - moment
    shifted = {"submitted_at": moment, "due_at": r.due_at - step, "cancel_at": r.cancel_at - step}
    tx.execute(update(requests).where(QUEUED, r.submitted_at > late).values(shifted))
    _end_leases(tx, requests, PROCESSING, moment, lease)
    for processes in (workers, servers):
        tx.execute(update(processes).where(processes.c.seen_at > late).values(seen_at=moment))


def set_back_deliveries(tx: Connection, moment: float, lease: float) -> None:
    """The same of deliveries: those that were written in the future are due."""
    d = deliveries.c
    pending = d.status == DeliveryStatus.PENDING
    early = update(deliveries).where(pending, d.created_at > moment + DIFFERENCE)
    tx.execute(early.values(created_at=moment, due_at=moment))
    _end_leases(tx, deliveries, pending, moment, lease)


def _end_leases(tx: Connection, table: Table, held: ColumnElement[bool], moment: float, lease: float) -> None:
    """A holder that lives renews or ends what it has; a dead one's lease then lasts as long as any other."""
    far = table.c.lease_until > moment + LEASES * lease
    tx.execute(update(table).where(held, far).values(lease_until=moment + lease))
