"""Accounts, credits, keys and workers over both real databases; and what a database that can't be had looks like."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from tests.databases import SqliteFiles, hurried
from tests.stores import new_request, store_on

from tintype.errors import BadRequest, NotFound, StoreUnavailable, Unauthorized
from tintype.store.accounts.accounts import Accounts
from tintype.store.accounts.options import KeyOptions
from tintype.store.accounts.uploads import Upload, Uploads
from tintype.store.db.database import Database, read_clock
from tintype.store.db.tables import accounts as accounts_table
from tintype.store.db.tables import metadata
from tintype.store.ops.processes import Workers


@pytest.fixture
def accounts(db: Database) -> Accounts:
    return Accounts(db)


def test_accounts_and_credits(accounts: Accounts) -> None:
    assert not accounts.list()
    first, second = accounts.create("first", 5_000), accounts.create("second", 0)
    assert {*accounts.list()} == {first, second}  # made within a millisecond, so in either order
    assert accounts.account(first.id) == first
    assert accounts.credit(first.id, 250).balance == 5_250
    assert accounts.remaining(first.id) == 5_250
    assert accounts.remaining(second.id) == 0
    with pytest.raises(NotFound):
        accounts.account("nobody")
    with pytest.raises(NotFound):
        accounts.credit("nobody", 1)


def test_clients_set_options_for_their_key_alone(accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    (key, _), (other, _) = (accounts.keys.create(account.id, name) for name in ("key", "other"))
    assert accounts.options.of(key.id) == KeyOptions()
    accounts.options.set(key.id, KeyOptions())
    accounts.options.set(key.id, KeyOptions(checkpoint="default", jpeg_quality=80))
    accounts.options.set(key.id, KeyOptions(checkpoint="sd3", samples_format="webp"))
    assert accounts.options.of(key.id) == KeyOptions("sd3", "webp", 80)
    assert accounts.options.of(other.id) == KeyOptions()


def test_uploads_that_say_what_they_are_are_listed_by_page(db: Database, accounts: Accounts) -> None:
    uploads = Uploads(db, ttl=60, quota=2**30)
    mine, other = accounts.create("one", 0).id, accounts.create("two", 0).id
    said = {"filename": "fox.png", "sha256": "00", "metadata": {"of": "a test"}}
    uploads.add(mine, [Upload("plain", 1, 8, 8)])
    uploads.add(mine, [Upload(name, 1, 8, 8, said) for name in ("a", "c", "b")])
    uploads.add(other, [Upload("theirs", 1, 8, 8, said)])
    [first, second] = uploads.listed(mine, 2)
    assert (first.name, second.name, first.filename, first.metadata) == ("c", "b", "fox.png", {"of": "a test"})
    assert first.expires_at == first.created_at + 60
    assert [one.name for one in uploads.listed(mine, 9, (second.expires_at, second.name))] == ["a"]
    assert uploads.find("a", mine).name == "a"
    for name, whose in (("a", other), ("plain", mine), ("none", mine)):
        with pytest.raises(NotFound):
            uploads.find(name, whose)
        with pytest.raises(NotFound):
            uploads.remove(name, whose)
    uploads.remove("a", mine)
    assert [one.name for one in uploads.listed(mine, 9)] == ["c", "b"]
    db.move_clock(61)
    assert uploads.listed(mine, 9) == []


def test_what_requests_hold_cannot_be_taken(db: Database, accounts: Accounts) -> None:
    account = accounts.create("one", 1_000)
    key, _ = accounts.keys.create(account.id, "key")
    store_on(db, lease=15, retention=60).queue.submit(new_request(key, "sd3", {}, 600))
    assert accounts.remaining(account.id) == 400
    with pytest.raises(BadRequest, match=r"\$0\.0004 is available"):
        accounts.credit(account.id, -401)
    assert accounts.credit(account.id, -400).balance == 600


def test_a_key_lets_its_holder_in_and_is_stored_nowhere(db: Database, accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    key, secret = accounts.keys.create(account.id, "laptop", models=["sd3"])
    assert key.hint == secret[:7]
    assert key.models == ("sd3",)
    assert accounts.keys.authenticate(secret) == key
    assert accounts.keys.list() == (key,)
    with db.read() as view:
        stored = [repr(row) for table in metadata.sorted_tables for row in view.execute(select(table))]
    assert any(key.hint in row for row in stored)
    assert not any(secret in row for row in stored)


def test_a_given_secret(accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    key, secret = accounts.keys.create(account.id, "given", secret="sg_abcdefabcdef")
    assert accounts.keys.authenticate(secret) == key
    with pytest.raises(BadRequest, match="exists already"):
        accounts.keys.create(account.id, "again", secret=secret)
    with pytest.raises(BadRequest):
        accounts.keys.create(account.id, "wrong", secret="password")
    with pytest.raises(NotFound):
        accounts.keys.create("nobody", "key")


def refusal(accounts: Accounts, secret: str) -> str:
    with pytest.raises(Unauthorized) as refused:
        accounts.keys.authenticate(secret)
    assert len(secret) < 3 or secret not in refused.value.message
    return refused.value.message


def test_who_had_a_key_is_told_why_it_works_no_more_and_nobody_else_anything(db: Database, accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    revoked, revoked_secret = accounts.keys.create(account.id, "revoked")
    expired, expired_secret = accounts.keys.create(account.id, "expired", expires_in=60)
    assert accounts.keys.authenticate(expired_secret) == expired
    accounts.keys.revoke(revoked.id)
    db.move_clock(60)
    assert refusal(accounts, revoked_secret) == "This API key was revoked"
    assert refusal(accounts, expired_secret).startswith("This API key expired on 20")
    words = {refusal(accounts, secret) for secret in ("SG_unknown0unknown", "", "x" * 10_000)}
    assert words == {"This API key is unknown to this server"}


def test_rotation_keeps_the_key_and_two_secrets_for_a_while(db: Database, accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    key, old = accounts.keys.create(account.id, "key", models=["sd3"], rpm=7, spend_cap=9)
    rotated, new = accounts.keys.rotate(old, overlap=60)
    assert rotated == replace(key, hint=new[:7], old_until=rotated.old_until)
    assert accounts.keys.authenticate(old) == accounts.keys.authenticate(new) == rotated
    assert accounts.keys.list() == (rotated,)
    db.move_clock(60)
    assert refusal(accounts, old).startswith("This API key was replaced by a new one, and stopped working on 20")
    assert accounts.keys.authenticate(new).id == key.id


def test_a_second_rotation_ends_the_oldest_secret(accounts: Accounts) -> None:
    key, first = accounts.keys.create(accounts.create("one", 0).id, "key")
    second = accounts.keys.rotate(key.id, overlap=60)[1]
    third = accounts.keys.rotate(second, overlap=60)[1]
    refusal(accounts, first)
    assert accounts.keys.authenticate(second) == accounts.keys.authenticate(third)
    with pytest.raises(BadRequest, match="exists already"):
        accounts.keys.create(key.account_id, "old", secret=second)


def test_revoking_ends_both_secrets(accounts: Accounts) -> None:
    key, old = accounts.keys.create(accounts.create("one", 0).id, "key")
    new = accounts.keys.rotate(key.id, overlap=60)[1]
    accounts.keys.revoke(old)
    assert refusal(accounts, old) == refusal(accounts, new) == "This API key was revoked"
    with pytest.raises(NotFound):
        accounts.keys.rotate(new, overlap=60)


def test_revoking_by_id_prefix_and_hint(accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    secrets = ["SG_aaaa00000001", "SG_bbbb00000001", "SG_cccc00000001", "SG_cccc00000002"]
    by_id, by_hint, twin, other_twin = (accounts.keys.create(account.id, "key", secret=one)[0] for one in secrets)
    assert accounts.keys.revoke(by_id.id[:18]).revoked_at is not None
    assert accounts.keys.revoke("SG_bbbb").id == by_hint.id
    with pytest.raises(BadRequest, match="several"):
        accounts.keys.revoke("SG_cccc")
    accounts.keys.revoke(twin.id)
    assert accounts.keys.revoke("SG_cccc").id == other_twin.id
    for nothing in ("SG_cccc", "", "SG_", "unknown"):
        with pytest.raises(NotFound):
            accounts.keys.revoke(nothing)


def test_revoking_by_the_secret_and_by_how_it_begins(accounts: Accounts) -> None:
    account = accounts.create("one", 0)
    secrets = ["SG_aaaa00000001", "SG_aaaa00000002", "SG_bbbb00000001"]
    first, second, other = (accounts.keys.create(account.id, "key", secret=one)[0] for one in secrets)
    assert accounts.keys.revoke(secrets[0]).id == first.id, "the whole secret names one of those that begin alike"
    assert accounts.keys.revoke("SG_b").id == other.id
    for wrong in (secrets[0], "SG_aaaa00000009", "SG_aaaa0"):
        with pytest.raises(NotFound) as refused:
            accounts.keys.revoke(wrong)
        assert refused.value.message.startswith("No API key SG_aaaa… is in force; of a key only its first 7 characters")
    assert accounts.keys.revoke("SG_aa").id == second.id


def test_bootstrap_gives_an_empty_server_one_account_and_key(accounts: Accounts) -> None:
    secret = accounts.bootstrap("first", 5_000, None)
    assert secret
    [account] = accounts.list()
    assert (account.name, account.balance) == ("first", 5_000)
    assert accounts.keys.authenticate(secret).account_id == account.id
    assert accounts.bootstrap("second", 5_000, "SG_0123456789abcdef") is None
    assert len(accounts.list()) == len(accounts.keys.list()) == 1


def test_bootstrap_writes_nothing_with_a_wrong_secret(accounts: Accounts) -> None:
    with pytest.raises(BadRequest):
        accounts.bootstrap("first", 5_000, "password")
    assert not accounts.list()
    assert accounts.bootstrap("first", 5_000, "SG_0123456789abcdef") == "SG_0123456789abcdef"
    assert accounts.bootstrap("first", 5_000, "password") is None


def test_bootstrap_uses_the_account_that_has_no_key_yet(accounts: Accounts) -> None:
    account = accounts.create("studio", 7)
    secret = accounts.bootstrap("first", 5_000, None)
    assert secret
    assert accounts.keys.authenticate(secret).account_id == account.id
    assert accounts.list() == (account,)


def test_servers_that_start_together_make_one_account(accounts: Accounts) -> None:
    with ThreadPoolExecutor(4) as pool:
        secrets = list(pool.map(lambda _: accounts.bootstrap("first", 5_000, None), range(4)))
    assert len([secret for secret in secrets if secret]) == len(accounts.list()) == 1


def test_workers_come_and_go(db: Database) -> None:
    workers = Workers(db)
    workers.heartbeat("w1", "cuda:0", 1, 2)
    workers.heartbeat("w2", "cpu", 0, 0)
    workers.heartbeat("w1", "cuda:0", 3, 12)
    first, second = workers.alive(within=60)
    assert (first.id, first.device, first.forward_passes, first.rows) == ("w1", "cuda:0", 3, 12)
    assert first.started_at <= second.started_at <= first.seen_at
    workers.leave("w2")
    db.move_clock(4_000)
    assert workers.alive(within=60) == []
    assert len(workers.alive(within=5_000)) == 1
    store_on(db, lease=15, retention=60).queue.expire()
    assert workers.alive(within=5_000) == []


def test_the_databases_clock_is_unix_time_and_can_be_moved(db: Database) -> None:
    for moved, ahead in ((0, 0), (3600, 3600), (-60, 3540)):
        db.move_clock(moved)
        before = time.time()
        with db.read() as view:
            read = read_clock(view)
        assert before - 1 < read - ahead < time.time() + 1


def test_an_exception_undoes_the_transaction(db: Database, accounts: Accounts) -> None:
    account = accounts.create("one", 5)
    with pytest.raises(ZeroDivisionError), db.write() as tx:
        tx.execute(update(accounts_table).values(balance=0))
        raise ZeroDivisionError
    assert accounts.account(account.id) == account


def test_a_locked_database_is_unavailable_for_writing_only(db: Database, url: str) -> None:
    other = Database(url)
    Accounts(other).create("one", 5)
    with db.write():
        with hurried(other, 0.05), pytest.raises(StoreUnavailable):
            Accounts(other).create("two", 5)
        assert len(Accounts(other).list()) == 1
    Accounts(other).create("two", 5)
    other.close()


def test_a_mistake_in_sql_is_not_called_unavailable(db: Database) -> None:
    with pytest.raises((OperationalError, ProgrammingError)), db.read() as view:
        view.execute(text("SELECT nothing FROM nowhere"))


def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    with pytest.raises(StoreUnavailable):
        Accounts(Database(f"sqlite:///{tmp_path}/store.db")).list()


def test_a_database_in_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="file"):
        Database("sqlite://")


def test_sqlite_is_set_up_to_keep_money(sqlite_files: SqliteFiles) -> None:
    db = Database(sqlite_files.fresh())
    with db.read() as view:
        found = [view.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")]
    assert found == ["wal", 2, 1]
    db.close()


def test_the_database_itself_refuses_a_negative_hold(db: Database) -> None:
    Accounts(db).create("one", 5)
    with pytest.raises(IntegrityError, match="ck_accounts_held"), db.write() as tx:
        tx.execute(update(accounts_table).values(held=-1))
