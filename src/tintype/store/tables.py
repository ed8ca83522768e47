"""The schema. Money is in whole micro-dollars, time in unix seconds of the database's clock."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

from tintype.store.records import Status

# Named constraints: without names, a later migration could not drop them.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", Text, nullable=False),
    Column("balance", BigInteger, nullable=False),
    #: What the requests that have not ended will cost if they complete; `balance - held` is what can be spent.
    Column("held", BigInteger, CheckConstraint("held >= 0", name="held"), nullable=False),
    Column("created_at", Double, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("name", Text, nullable=False),
    #: SHA-256 of the key in hex; the key itself is nowhere. It is random, so it needs no salt.
    Column("digest", String(64), nullable=False, unique=True),
    Column("hint", String(7), nullable=False),
    #: Slugs that the key may run; null is all of them.
    Column("models", JSON(none_as_null=True)),
    Column("read_only", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    #: Number of the last claim that went to this key: the smallest is next.
    Column("last_turn", BigInteger, nullable=False),
)

requests = Table(
    "requests",
    metadata,
    Column("id", String(36), primary_key=True),
    #: Order of arrival.
    Column("seq", BigInteger, nullable=False, unique=True),
    Column("account_id", String(36), ForeignKey("accounts.id"), nullable=False),
    Column("key_id", String(36), ForeignKey("api_keys.id"), nullable=False),
    Column("slug", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("price", BigInteger, CheckConstraint("price >= 0", name="price"), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("status", Enum(Status, native_enum=False, length=10), nullable=False),
    #: Number of claims. Whoever names another attempt than the row's is late and changes nothing.
    Column("attempt", Integer, nullable=False),
    #: Claims that a stopping worker gave back: they don't count as failures.
    Column("hand_backs", Integer, nullable=False),
    Column("worker", Text),
    Column("lease_until", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("step", Integer, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("submitted_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("expires_at", Double),
    Column("result", JSON(none_as_null=True)),
    Column("error", Text),
    Column("error_status", Integer),
    Index("ix_requests_claim", "status", "priority", "key_id", "seq"),
    Index("ix_requests_expiry", "expires_at"),
    Index("ix_requests_key", "key_id", "submitted_at"),
    Index("ix_requests_account", "account_id", "submitted_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("device", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
    Column("forward_passes", BigInteger, nullable=False),
    Column("rows", BigInteger, nullable=False),
)
