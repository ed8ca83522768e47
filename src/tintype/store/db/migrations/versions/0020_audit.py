"""Who did what: a row for every act of operators, and of accounts about their keys and webhooks."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"

ENDS = sa.text("kind IN ('settle', 'release')")


def upgrade() -> None:
    """Add its table, and the index by which what all accounts paid in a month is summed."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("last_at", sa.Double, nullable=False),
        sa.Column("times", sa.Integer, nullable=False, server_default=sa.text("1")),
        sa.Column("act", sa.String(40), nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("account_id", sa.String(36)),
        sa.Column("via", sa.String(10), nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("address", sa.Text),
        sa.Column("by_account", sa.String(36)),
        sa.Column("by_key", sa.String(36)),
        sa.Column("details", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
    )
    op.create_index("ix_audit_last", "audit", ["last_at"])
    op.create_index("ix_audit_by", "audit", ["by_account", "at"])
    op.create_index("ix_audit_account", "audit", ["account_id"])
    op.create_index("ix_ledger_ended", "ledger", ["created_at"], sqlite_where=ENDS, postgresql_where=ENDS)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_ledger_ended", "ledger")
    op.drop_table("audit")
