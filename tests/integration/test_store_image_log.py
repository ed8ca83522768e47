"""The log of images: written with the end, never without it; it forgets whose an image was, and then the image."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update
from tests.databases import moved_clock
from tests.stores import a_result, store_on
from tests.tenants import Tenant

from tintype.core import LoggedFile
from tintype.store.db.database import Database
from tintype.store.db.records import Request
from tintype.store.db.tables import history, image_log
from tintype.store.queue.image_log import HOUR, MAX_ENTRIES

DAY = 86_400
NUMBER = bytes.fromhex("12347b0c55d1")


def file(sign: int, number: bytes | None = NUMBER) -> LoggedFile:
    return LoggedFile(bytes([sign]) * 32, number)


@pytest.fixture
def tenant(db: Database) -> Tenant:
    return Tenant(store_on(db))


def completed(tenant: Tenant, *files: LoggedFile) -> Request:
    tenant.submit()
    claimed = tenant.claim()
    assert tenant.store.leases.complete(claimed.id, claimed.attempt, a_result(), 4, files)
    return tenant.find(claimed)


def rows(tenant: Tenant) -> int:
    with tenant.db.read() as view:
        return len(view.execute(select(image_log)).all())


def test_an_image_is_found_by_its_file_and_by_its_number(tenant: Tenant) -> None:
    request = completed(tenant, file(1), file(2, None))
    entry = tenant.store.image_log.of_digest(bytes([1]) * 32)
    assert entry is not None
    assert (entry.slug, entry.request_id) == (request.slug, request.id)
    assert tenant.store.image_log.of_number(NUMBER) == [entry]
    assert tenant.store.image_log.of_digest(bytes([2]) * 32) is not None
    assert tenant.store.image_log.of_digest(bytes([3]) * 32) is None
    assert tenant.store.image_log.of_number(b"others") == []


def test_it_knows_the_hour_and_no_account(tenant: Tenant) -> None:
    request = completed(tenant, file(1))
    [entry] = tenant.store.image_log.of_number(NUMBER)
    assert entry.made_at % HOUR == 0
    assert 0 <= (request.timing.ended_at or 0) - entry.made_at < HOUR
    assert {column.name for column in image_log.c} == {"made_at", "id", "number", "digest", "slug", "request_id"}


def test_no_end_no_entry(tenant: Tenant) -> None:
    """A lost attempt's files, or a cancelled request's, were never anybody's."""
    tenant.submit()
    lost = tenant.claim()
    assert tenant.store.leases.hand_back(lost.id, lost.attempt)
    again = tenant.claim()
    assert not tenant.store.leases.complete(lost.id, lost.attempt, a_result(), 4, [file(1)])
    tenant.store.queue.cancel(again.id, tenant.account_id)
    assert not tenant.store.leases.complete(again.id, again.attempt, a_result(), 4, [file(2)])
    assert rows(tenant) == 0


def test_an_operator_may_want_no_log(db: Database) -> None:
    tenant = Tenant(store_on(db, logs_images=False))
    completed(tenant, file(1))
    assert rows(tenant) == 0


def test_of_a_number_that_is_often_repeated_the_latest(tenant: Tenant) -> None:
    completed(tenant, *map(file, range(MAX_ENTRIES + 5)))
    with moved_clock(tenant.db, DAY):
        latest = completed(tenant, file(99))
        entries = tenant.store.image_log.of_number(NUMBER)
    assert len(entries) == MAX_ENTRIES
    assert entries[0].request_id == latest.id


def test_its_request_is_forgotten_with_the_history(tenant: Tenant) -> None:
    old, young = completed(tenant, file(1)), completed(tenant, file(2))
    with moved_clock(tenant.db, DAY):
        assert tenant.store.queue.expire() == 2
    with tenant.db.write() as tx:
        tx.execute(update(history).where(history.c.id == old.id).values(ended_at=0.0))
    assert tenant.store.queue.history.expire() == 1
    entries = {one.request_id for one in tenant.store.image_log.of_number(NUMBER)}
    assert entries == {None, young.id}


def test_it_expires(tenant: Tenant) -> None:
    completed(tenant, file(1))
    with moved_clock(tenant.db, 200 * DAY):
        completed(tenant, file(2))
        assert tenant.store.image_log.expire() == 0
    with moved_clock(tenant.db, 400 * DAY):
        assert tenant.store.image_log.expire() == 1
        assert tenant.store.image_log.of_digest(bytes([1]) * 32) is None
        assert tenant.store.image_log.of_digest(bytes([2]) * 32) is not None
