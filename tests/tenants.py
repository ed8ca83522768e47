"""A tenant for tests: an account with money and keys, its requests, and what workers do with them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from tests.stores import a_result, new_request
from tintype.core import WorkerReport
from tintype.store.accounts.accounts import Account
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Request
from tintype.store.queue.eta import Eta
from tintype.store.store import Store


class Tenant:
    """An account in a store.

    money: micro-dollars. asks: what its requests have unless they say otherwise, as `submit` takes it.
    """

    def __init__(
        self, store: Store, money: int = 10**9, *, name: str = "one", asks: dict[str, Any] | None = None
    ) -> None:
        self.db = store.db
        self.store = store
        self.accounts = self.store.accounts
        self.workers = self.store.ops.workers
        self.account_id = self.accounts.create(name, money).id
        #: An ordinary API key, and what is sent with it.
        self.key, self.secret = self.accounts.keys.create(self.account_id, "key")
        self._asks = {"slug": "sd3", "params": {}, "price": 10, **(asks or {})}

    @property
    def account(self) -> Account:
        """It, as it is now."""
        return self.accounts.account(self.account_id)

    @cached_property
    def test_key(self) -> Key:
        """One whose requests are test mode's."""
        return self.new_key(test=True)

    def new_key(self, name: str = "key", **limits: Any) -> Key:
        """A further API key."""
        return self.accounts.keys.create(self.account_id, name, **limits)[0]

    def submit(self, slug: str | None = None, *, key: Key | None = None, test: bool = False, **changes: Any) -> Request:
        """A queued request; what it doesn't say is as this tenant's requests are."""
        about = {**self._asks, **changes} | ({"slug": slug} if slug else {})
        return self.store.queue.submit(new_request(key or (self.test_key if test else self.key), **about))

    def claim(self, worker: str = "w1", *, idle: bool = True, test: bool = False) -> Request:
        """What a worker is given, which is something."""
        claimed = self.store.leases.claim(worker, idle=idle, test=test)
        assert claimed is not None
        return claimed

    def complete(self, request: Request | None = None, *, steps: int | None = None, **said: Any) -> Request:
        """End a claimed request, or the next one; steps: as a worker counted them; said: of its result."""
        claimed = request or self.claim()
        assert self.store.leases.complete(claimed.id, claimed.attempt, a_result(**said), steps)
        return self.find(claimed)

    def fail(self, request: Request | None = None, error: str = "why", status: int = 500) -> Request:
        """End a claimed request, or the next one, as FAILED."""
        claimed = request or self.claim()
        assert self.store.leases.fail(claimed.id, claimed.attempt, error, status)
        return self.find(claimed)

    def find(self, request: Request) -> Request:
        """The request as it is now."""
        return self.store.queue.find(request.id, request.account_id)

    def eta(self, request: Request) -> Eta:
        """Its ETA now."""
        return self.store.queue.poll_one(request.id, request.account_id).eta

    def beat(self, worker: str = "w1", passes: int = 0, rows: int = 0, **told: Any) -> bool:
        """A worker's heartbeat; whether it may go on."""
        report = told.pop("report", WorkerReport())
        return self.workers.heartbeat(worker, "cpu", passes, rows, report=report, **told)
