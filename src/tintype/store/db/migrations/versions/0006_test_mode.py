"""Test keys, the accounts that are theirs, and what they ask for."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns; whatever there is was meant in earnest, keys that begin with SG_test too."""
    op.add_column("accounts", sa.Column("test_of", sa.String(36)))
    for table in ("api_keys", "requests"):
        op.add_column(table, sa.Column("test", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("requests", sa.Column("due_at", sa.Double))
    op.create_index("ix_requests_test", "requests", ["test", "status"])


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_requests_test", "requests")
    op.drop_column("requests", "due_at")
    for table in ("requests", "api_keys"):
        op.drop_column(table, "test")
    op.drop_column("accounts", "test_of")
