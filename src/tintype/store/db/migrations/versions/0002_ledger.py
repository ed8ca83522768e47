"""The ledger, with what the accounts have so far; limits of keys; idempotency keys and deadlines of requests."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ENDED = "kind IN ('settle', 'release')"
#: What there is becomes the first rows: a grant of what each account has, and a hold of what has not ended.
CARRY_OVER = (
    "INSERT INTO ledger (account_id, kind, balance, held, note, created_at)"
    " SELECT id, 'grant', balance, 0, 'carried over', created_at FROM accounts WHERE balance <> 0",
    "INSERT INTO ledger (account_id, key_id, request_id, kind, balance, held, created_at)"
    " SELECT account_id, key_id, id, 'hold', 0, price, submitted_at FROM requests"
    " WHERE status IN ('QUEUED', 'PROCESSING') AND price > 0 ORDER BY seq",
    "UPDATE requests SET cost = price WHERE status = 'COMPLETED'",
    "UPDATE api_keys SET spent = (SELECT coalesce(sum(held), 0) FROM ledger WHERE ledger.key_id = api_keys.id)",
)
#: A mistake is mended by another row, never by a change: the database itself insists.
APPEND_ONLY = {
    "sqlite": tuple(
        f"CREATE TRIGGER ledger_no_{change.lower()} BEFORE {change} ON ledger"
        " BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END"
        for change in ("UPDATE", "DELETE")
    ),
    "postgresql": (
        "CREATE FUNCTION ledger_append_only() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'the ledger is append-only'"
        " USING ERRCODE = 'integrity_constraint_violation'; END $$",
        "CREATE TRIGGER ledger_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON ledger"
        " FOR EACH STATEMENT EXECUTE FUNCTION ledger_append_only()",
    ),
}


def upgrade() -> None:
    """Add, carry over, and close the ledger to changes."""
    for table, columns in _added().items():
        for column in columns:
            op.add_column(table, column)
    op.create_index("ix_api_keys_old_digest", "api_keys", ["old_digest"])
    op.create_index("ix_requests_idempotency", "requests", ["key_id", "idempotency_key"], unique=True)
    _create_ledger()
    for statement in (*CARRY_OVER, *APPEND_ONLY[op.get_bind().dialect.name]):
        op.execute(statement)


def _added() -> dict[str, tuple[sa.Column[Any], ...]]:
    keys = (
        sa.Column("old_digest", sa.String(64)),
        sa.Column("old_until", sa.Double),
        sa.Column("spend_cap", sa.BigInteger),
        sa.Column("spent", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("max_pixels", sa.BigInteger),
        sa.Column("rpm", sa.Integer),
        sa.Column("concurrency", sa.Integer),
        sa.Column("max_queued", sa.Integer),
        sa.Column("bucket_full_at", sa.Double, nullable=False, server_default=sa.text("0")),
    )
    requests = (
        sa.Column("rate", sa.BigInteger),
        sa.Column("cost", sa.BigInteger),
        sa.Column("pictures", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("cancel_at", sa.Double),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("fingerprint", sa.String(64)),
        sa.Column("reply", sa.JSON),
    )
    return {"api_keys": keys, "requests": requests}


def _create_ledger() -> None:
    op.create_table(
        "ledger",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("key_id", sa.String(36)),
        sa.Column("request_id", sa.String(36)),
        sa.Column("kind", sa.String(7), nullable=False),
        sa.Column("balance", sa.BigInteger, nullable=False),
        sa.Column("held", sa.BigInteger, nullable=False),
        sa.Column("note", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_ledger_account_id"),
    )
    op.create_index("ix_ledger_account", "ledger", ["account_id", "id"])
    for name, rows in (("ix_ledger_end", ENDED), ("ix_ledger_hold", "kind = 'hold'")):
        where = sa.text(rows)
        op.create_index(name, "ledger", ["request_id"], unique=True, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop the ledger and the columns; balances stay."""
    op.drop_table("ledger")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION ledger_append_only")
    op.drop_index("ix_requests_idempotency", "requests")
    op.drop_index("ix_api_keys_old_digest", "api_keys")
    for table, columns in _added().items():
        for column in columns:
            op.drop_column(table, column.name)
