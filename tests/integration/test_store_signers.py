"""What signs images: one pair for all processes on a database, and all signers before it, as they are trusted."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from tests.stores import store_on

from tintype.core import Credential
from tintype.errors import ConfigurationInvalid, NotFound
from tintype.media.provenance.certificates import issuer
from tintype.store.db.database import Database
from tintype.store.db.tables import signers
from tintype.store.ops.signers import Signers

ISSUE = issuer("https://images.example/prefix")


def keys(db: Database) -> list[str | None]:
    with db.read() as view:
        return [*view.scalars(select(signers.c.key).order_by(signers.c.id))]


def current(url: str) -> Credential:
    """As another process has it."""
    with closing(Database(url)) as db:
        return Signers(db).current(ISSUE)


def test_processes_that_start_together_sign_with_one_pair(url: str, db: Database) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = [*threads.map(current, [url] * 4)]
    assert len(set(found)) == 1
    [row] = Signers(db).list()
    assert (row.root, row.chain, row.own) == (found[0].root, found[0].chain, True)
    assert Signers(db).roots() == found[0].root


def test_a_server_keeps_its_identity(db: Database) -> None:
    one, other = Signers(db).identity(), Signers(db).identity()
    assert one == other
    assert (len(one.tag), len(one.secret)) == (2, 32)
    assert one.secret.hex() not in repr(one)
    made: list[bytes] = []

    def issue(tag: bytes) -> Credential:
        made.append(tag)
        return ISSUE(tag)

    Signers(db).current(issue)
    assert made == [one.tag]


def test_a_rotation_keeps_trust_and_drops_the_key(db: Database) -> None:
    store = store_on(db)
    before = store.signers.current(ISSUE)
    store.signers.rotate(ISSUE)
    after = store.signers.current(ISSUE)
    assert after != before
    assert store.signers.roots() == before.root + after.root
    assert keys(db) == [None, after.key]
    acts, _ = store.audit.page(size=10, act="signer")
    assert [one.act for one in acts] == ["signer.create", "signer.create"]


def test_a_distrusted_signer_proves_nothing_and_signs_no_more(db: Database) -> None:
    store = store_on(db)
    leaked = store.signers.current(ISSUE)
    [row] = store.signers.list()
    assert store.signers.distrust(row.id, ISSUE).distrusted_at
    after = store.signers.current(ISSUE)
    assert store.signers.roots() == after.root != leaked.root
    again = store.signers.distrust(row.id, ISSUE)
    assert store.signers.current(ISSUE) == after, "the second time, nothing is replaced"
    assert again.retired_at
    with pytest.raises(NotFound, match="No signer 99"):
        store.signers.distrust(99, ISSUE)


def test_a_certificate_from_elsewhere_is_noted_once_and_its_authority_is_no_root_of_ours(db: Database) -> None:
    store = store_on(db)
    theirs = ISSUE(b"\0\1")
    store.signers.use(theirs.chain, theirs.root)
    store.signers.use(theirs.chain, theirs.root)
    [row] = store.signers.list()
    assert (row.own, row.chain, row.root) == (False, theirs.chain, theirs.root)
    assert store.signers.roots() == "", "it has signed for others too"
    store.signers.distrust(row.id, ISSUE)
    with pytest.raises(ConfigurationInvalid, match="distrusted"):
        store.signers.use(theirs.chain, theirs.root)
    assert len(store.signers.list()) == 1, "no own pair is made for it"


def test_times_are_the_databases(db: Database) -> None:
    Signers(db).current(ISSUE)
    [row] = Signers(db).list()
    assert abs(row.created_at - datetime.now(UTC).timestamp()) < 3600
