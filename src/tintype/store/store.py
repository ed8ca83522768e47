"""The store: one object per process, through which web, workers, fleet and command line reach its rooms."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self

from tintype.catalog.limits import SHARED_LIMITS
from tintype.settings import Settings
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.delegation import KeyDelegation
from tintype.store.accounts.keys import Ceilings
from tintype.store.accounts.uploads import Uploads
from tintype.store.billing.reports import BillingReports
from tintype.store.db.audit import Audit
from tintype.store.db.database import Database
from tintype.store.ops.autoscaler import LeaderLease
from tintype.store.ops.metrics import TimeSeries, completed, read_snapshot
from tintype.store.ops.preload import Preloads
from tintype.store.ops.processes import Servers, Workers
from tintype.store.ops.signers import Signers
from tintype.store.queue.history import History
from tintype.store.queue.image_log import ImageLog
from tintype.store.queue.images import Images
from tintype.store.queue.lifecycle import Rules
from tintype.store.queue.queue import Leases, Queue
from tintype.store.webhooks.outbox import Backoff, Outbox
from tintype.store.webhooks.subscriptions import Webhooks
from tintype.telemetry.exposition import MetricsSnapshot


class Store:
    """Its rooms, on one database. Callers use `queue`, workers `leases`: neither has the other's methods."""

    def __init__(self, db: Database, settings: Settings, rules: Rules) -> None:
        self.db = db
        self.audit = Audit(db, settings.retention.audit_ttl)
        self.accounts = Accounts(db)
        self.delegation = KeyDelegation(
            db,
            max_keys=settings.limits.account_keys,
            daily=settings.limits.account_keys_daily,
            ceilings=rules.ceilings,
            forget=self.accounts.keys.cache.forget,
        )
        self.uploads = Uploads(db, ttl=settings.retention.upload_ttl, quota=settings.limits.upload_quota)
        self.billing = BillingReports(db, settings.retention.history_ttl)
        # Twice the timeout of an attempt: then what a sender that died had claimed is sent again.
        outbox = Outbox(
            db, _backoff(settings), lease=2 * settings.webhooks.timeout, retention=settings.retention.delivery_ttl
        )
        self.webhooks = Webhooks(db, outbox, overlap=settings.webhooks.overlap)
        self.queue = Queue(db, rules, History(db, settings.retention.history_ttl))
        self.leases = Leases(db, rules)
        self.images = Images(db, settings.retention)
        self.signers = Signers(db)
        self.image_log = ImageLog(db, settings.provenance.log_ttl)
        self.ops = Ops(db)

    @classmethod
    def open(
        cls,
        settings: Settings,
        *,
        process: str = "command",
        quiet: bool = False,
        discard: Callable[[str], None] = lambda _name: None,
    ) -> Self:
        """Connect to what the settings name; process: what the database lists its connections as.

        quiet: whether its opener reports the database's failures, so that nothing is logged. discard: called with the
        name of an input file whose request has ended. Raises OSError, ImportError, ValueError and ArgumentError.
        """
        db = Database(settings.sqlalchemy_url, timeout=settings.database.timeout, process=process, quiet=quiet)
        return cls(db, settings, rules(settings, discard))

    def close(self) -> None:
        """Close the database's connections."""
        self.db.close()


class Ops:
    """What operators see and control."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self.workers = Workers(db)
        self.servers = Servers(db)
        self.preloads = Preloads(db)
        self.time_series = TimeSeries(db)

    def metrics(self, models: Iterable[str]) -> MetricsSnapshot:
        """The metrics at this moment, with zeros for models without requests."""
        return read_snapshot(self._db, models)

    def runs(self, slugs: Iterable[str]) -> dict[str, int]:
        """How many requests of each model have been completed, but for those of the last moment."""
        return completed(self._db, slugs)

    def leader_lease(self, holder: str, seconds: float) -> LeaderLease:
        """The autoscaler's, for this holder."""
        return LeaderLease(self._db, holder, seconds)


def rules(settings: Settings, discard: Callable[[str], None] = lambda _name: None) -> Rules:
    """How the operator has the queue run."""
    of_account = {name: getattr(settings.limits, f"key_{name}") for name in SHARED_LIMITS}
    return Rules(
        lease=settings.queue.lease,
        retention=settings.retention.record_ttl,
        # After that, no account has the request of an image that isn't kept.
        image_ttl=min(settings.retention.image_ttl, settings.retention.history_ttl),
        max_attempts=settings.queue.max_attempts,
        warm_wait=settings.queue.warm_wait,
        ceilings=Ceilings(**of_account, queue=settings.limits.queue, share=settings.limits.queue_share),
        input_quota=settings.limits.input_quota,
        logs_images=settings.provenance.log_ttl > 0,
        discard=discard,
    )


def _backoff(settings: Settings) -> Backoff:
    return Backoff(settings.webhooks.backoff, settings.webhooks.max_pause, settings.webhooks.attempts)
