"""Turns in the queue are an account's, and only then a key's."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    """Add when an account last had one: when the last of its keys had."""
    op.add_column("accounts", sa.Column("last_turn", sa.BigInteger, nullable=False, server_default=sa.text("0")))
    op.create_index("ix_accounts_last_turn", "accounts", ["last_turn"])
    op.execute(
        "UPDATE accounts SET last_turn ="
        " coalesce((SELECT max(last_turn) FROM api_keys WHERE api_keys.account_id = accounts.id), 0)"
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_index("ix_accounts_last_turn", "accounts")
    op.drop_column("accounts", "last_turn")
