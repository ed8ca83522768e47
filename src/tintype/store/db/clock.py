"""What a clock that was set back leaves in the future: moments that would block requests until the clock reaches them.

Causes: a machine restored or resumed, a step of NTP, a standby with another clock. Moments that could honestly lie
where they do stay as they are; what only keeps something for longer (records, files, logs) does too. Token buckets and
limits per day (`queue/submit.py`), new keys per day (`accounts/delegation.py`) and the autoscaler's lease
(`ops/autoscaler.py`) are bounded where they are read.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, Table, update

from tintype.store.db.conditions import PROCESSING, QUEUED
from tintype.store.db.records import DeliveryStatus
from tintype.store.db.tables import deliveries, requests, servers, workers

#: Seconds that machines' clocks may differ by, where a moment was not written by the database's own.
DIFFERENCE = 60.0
#: How many leases ahead the end of one may lie: that of a worker with another setting than ours.
LEASES = 10


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
