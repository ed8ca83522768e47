"""SQLite and pictures on a full disk: calls get a 503, nothing half-written stays, all goes on when there is room."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from tests.acceptance.test_http_helpers import gradient
from tests.databases import ended_of
from tests.integration.website import serving
from tests.small_disk import small_disk

from tintype.catalog.models import SD15_IMG2IMG, SD35_TURBO_TXT2IMG
from tintype.errors import StorageUnavailable, StoreUnavailable
from tintype.store.db.records import LeaseStatus, Progress, Status


def test_nothing_is_lost_for_lack_of_room(tmp_path: Path) -> None:
    address, body = f"/v2/{SD35_TURBO_TXT2IMG.slug}", {"prompt": "a fox " * 500}
    with (
        small_disk(tmp_path / "disk", megabytes=4) as disk,
        serving(tmp_path, database_url=f"sqlite:///{disk.folder}/store.db") as site,
        site.http() as http,
    ):
        taken = [http.post(address, json=body).json()["request_id"]]
        running = site.claim()
        with disk.full(site.own.store.db):
            while (refused := http.post(address, json=body)).is_success:
                taken.append(refused.json()["request_id"])
            assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true")
            assert int(refused.headers["retry-after"]) > 0
            for late in (site.complete, lambda one: site.own.store.leases.renew([Progress(one.id, one.attempt, 1, 4)])):
                with pytest.raises(StoreUnavailable):
                    late(running)
            assert http.get(f"/v2/requests/{running.id}/status").json()["status"] == Status.PROCESSING
        assert site.own.store.leases.renew([Progress(running.id, running.attempt, 2, 4)]) == {
            running.id: LeaseStatus.KEEP
        }
        site.complete(running)
        for _ in taken[1:]:
            site.complete(site.claim())
        assert ended_of(site.own.store.db, taken) == set(taken)
        assert site.own.store.queue.depth()[:2] == (0, 0)
        assert site.own.store.accounts.imbalances() == []
        account = site.own.store.accounts.account(site.account_id)
        assert (account.balance, account.held) == (1_000_000 - SD35_TURBO_TXT2IMG.price * len(taken), 0)


def test_a_picture_that_finds_no_room_is_a_503_that_leaves_nothing(tmp_path: Path) -> None:
    picture = base64.b64encode(gradient(64, 128)).decode()
    with (
        small_disk(tmp_path / "disk", megabytes=2) as disk,
        serving(disk.folder / "data", database_url=f"sqlite:///{tmp_path}/store.db") as site,
        site.http() as http,
    ):
        calls = (
            (f"/v2/{SD15_IMG2IMG.slug}", {"prompt": "a fox", "image": picture}),
            ("/upload-asset", {"data_urls": [f"data:image/png;base64,{picture}"]}),
        )
        disk.fill()
        for address, body in calls:
            refused = http.post(address, json=body)
            assert (refused.status_code, refused.headers["x-should-retry"]) == (503, "true"), refused.text
            assert int(refused.headers["retry-after"]) > 0
        assert [path for path in disk.folder.rglob("data/*/*") if path.is_file()] == []
        # Some room is not enough: as much as what was refused takes is.
        site.own.files.uploads.put(b"", "png")
        with pytest.raises(StorageUnavailable) as error:
            site.own.files.uploads.self_test()
        assert error.value.why == "the disk is full"
        disk.free()
        site.own.files.uploads.self_test()
        assert [http.post(address, json=body).status_code for address, body in calls] == [200, 200]
