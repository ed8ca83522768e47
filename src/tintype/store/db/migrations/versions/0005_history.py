"""The history of requests, and uploaded pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "history",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("params", sa.JSON, nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("cost", sa.BigInteger),
        sa.Column("submitted_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("result", sa.JSON),
        sa.Column("error", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_history"),
    )
    op.create_index("ix_history_account", "history", ["account_id", "submitted_at"])
    op.create_index("ix_history_expiry", "history", ["ended_at"])
    op.create_table(
        "assets",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_assets"),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_assets_account_id"),
    )
    op.create_index("ix_assets_account", "assets", ["account_id", "expires_at"])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("assets")
    op.drop_table("history")
