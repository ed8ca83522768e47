"""Limits that an account's keys share, and which keys were made by keys."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

#: Of the year 9999, the last that a date can be in.
LAST_SECOND = 253_402_300_799


def upgrade() -> None:
    """Add the accounts' buckets, which are full, and the mark of keys made by keys.

    Who made the keys that are there already is not known: they count as the operator's, so that none may do less.
    """
    op.add_column("accounts", sa.Column("bucket_full_at", sa.Double, nullable=False, server_default=sa.text("0")))
    op.add_column("api_keys", sa.Column("self_made", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_index("ix_api_keys_account", "api_keys", ["account_id"])
    # `keys create --expires` took any number once; a date that can't be shown kept all keys from being listed.
    late = sa.text("UPDATE api_keys SET expires_at = :last WHERE expires_at > :last")
    op.execute(late.bindparams(last=float(LAST_SECOND)))


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_api_keys_account", "api_keys")
    op.drop_column("api_keys", "self_made")
    op.drop_column("accounts", "bucket_full_at")
