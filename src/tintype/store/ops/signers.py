"""What signs images' manifests: one pair of certificates and key for all processes, and all that were before it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from sqlalchemy import Connection, Row, insert, select, update

from tintype.core import TAG, Credential
from tintype.errors import ConfigurationInvalid, NotFound
from tintype.store.db import facts
from tintype.store.db.audit import record
from tintype.store.db.database import Database, read_clock
from tintype.store.db.notify import Channel, notify
from tintype.store.db.tables import signers

s = signers.c

#: Makes a pair for a server with this tag.
Issue = Callable[[bytes], Credential]
#: Bytes of an identity's secret.
SECRET = 32
NEWEST = select(signers).where(s.own, s.retired_at.is_(None)).order_by(s.id.desc()).limit(1)


@dataclass(frozen=True, slots=True)
class Identity:
    """What distinguishes the servers on this database from others'."""

    #: 2 bytes, which are no secret.
    tag: bytes
    #: 32 bytes, for keyed hashes: others can't find out what was hashed.
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SignerRow:
    """One row of `signers`, without the key; times in unix seconds."""

    id: int
    root: str
    chain: str
    created_at: float
    #: When another took its place.
    retired_at: float | None
    #: From when on it proves nothing.
    distrusted_at: float | None
    #: Whether it is a pair made here; else a certificate from elsewhere.
    own: bool

    @classmethod
    def of(cls, row: Row[tuple[object, ...]]) -> SignerRow:
        return cls(**{name: row._mapping[name] for name in cls.__dataclass_fields__})


class Signers:
    """The rows of `signers`. Each method raises StoreUnavailable.

    Those that may make a pair are given `issue`, which is called under the database's lock, for a millisecond or two.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    def identity(self) -> Identity:
        """Drawn when it is first asked for."""
        with self._db.read() as view:
            found = _identity(view)
        if found is not None:
            return found
        with self._db.write() as tx:
            return _need_identity(tx)

    def tag(self) -> bytes:
        """What distinguishes watermarks of the servers on this database; empty where they have made none."""
        with self._db.read() as view:
            found = _identity(view)
        return b"" if found is None else found.tag

    def current(self, issue: Issue) -> Credential:
        """The pair that signs now; made if there is none."""
        with self._db.read() as view:
            row = view.execute(NEWEST).one_or_none()
        if row is None:
            with self._db.write() as tx:
                row = tx.execute(NEWEST).one_or_none() or _make(tx, issue)
        return Credential(row.root, row.chain, row.key)

    def rotate(self, issue: Issue) -> SignerRow:
        """Make a new pair; the old one's key is gone, and what it has signed stays trusted."""
        with self._db.write() as tx:
            _retire(tx)
            return SignerRow.of(_make(tx, issue))

    def distrust(self, id: int, issue: Issue) -> SignerRow:
        """Trust a signer no longer, whose key may be another's too; the current pair is replaced.

        Returns the signer. Raises NotFound.
        """
        with self._db.write() as tx:
            row = tx.execute(select(signers).where(s.id == id)).one_or_none()
            if row is None:
                raise NotFound(f"No signer {id} is known")
            if row.distrusted_at is None:
                moment = read_clock(tx)
                tx.execute(update(signers).where(s.id == id).values(distrusted_at=moment))
                record(tx, "signer.distrust", str(id))
            if row.own and row.retired_at is None:
                _retire(tx)
                _make(tx, issue)
            return SignerRow.of(tx.execute(select(signers).where(s.id == id)).one())

    def use(self, chain: str, authority: str) -> None:
        """Note a certificate from elsewhere that signs: what it has signed is this server's, and stays so.

        chain: in PEM, the leaf first. authority: the certificate, in PEM, whose word is taken for it.
        Raises ConfigurationInvalid where it is distrusted.
        """
        known = select(signers).where(s.chain == chain)
        with self._db.read() as view:
            row = view.execute(known).one_or_none()
        if row is None:
            with self._db.write() as tx:
                row = tx.execute(known).one_or_none()
                row = row or _insert(tx, root=authority, chain=chain, key=None, own=False)
        if row.distrusted_at is not None:
            raise ConfigurationInvalid("it is distrusted here (`tintype marks distrust`), so it proves nothing")

    def roots(self) -> str:
        """The roots, in PEM, of all pairs made here that are trusted."""
        return "".join(row.root for row in self.list() if row.own and row.distrusted_at is None)

    def list(self) -> list[SignerRow]:
        """All signers, the oldest first."""
        with self._db.read() as view:
            return [*map(SignerRow.of, view.execute(select(signers).order_by(s.id)))]


def _make(tx: Connection, issue: Issue) -> Row[tuple[object, ...]]:
    made = issue(_need_identity(tx).tag)
    return _insert(tx, root=made.root, chain=made.chain, key=made.key, own=True)


def _insert(tx: Connection, **values: object) -> Row[tuple[object, ...]]:
    fresh = insert(signers).values(**values, created_at=read_clock(tx)).returning(signers)
    row = tx.execute(fresh).one()
    record(tx, "signer.create", str(row.id), own=row.own)
    notify(tx, Channel.WORKERS)
    return row


def _retire(tx: Connection) -> None:
    """The key of the current pair is not needed any more, and can't leak then."""
    current = update(signers).where(s.own, s.retired_at.is_(None))
    tx.execute(current.values(retired_at=read_clock(tx), key=None))


def _identity(view: Connection) -> Identity | None:
    found = facts.read(view, facts.IDENTITY)
    return None if found is None else Identity(bytes.fromhex(found["tag"]), bytes.fromhex(found["secret"]))


def _need_identity(tx: Connection) -> Identity:
    found = _identity(tx)
    if found is None:
        found = Identity(secrets.token_bytes(TAG), secrets.token_bytes(SECRET))
        facts.write(tx, facts.IDENTITY, tag=found.tag.hex(), secret=found.secret.hex())
    return found
