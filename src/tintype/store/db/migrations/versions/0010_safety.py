"""How strict the safety check is with a key, and with each of its requests."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns; what is queued already came when nothing was checked."""
    op.add_column("api_keys", sa.Column("safety", sa.String(5)))
    op.add_column("requests", sa.Column("safety", sa.String(5), nullable=False, server_default="off"))


def downgrade() -> None:
    """Drop them."""
    for table in ("requests", "api_keys"):
        op.drop_column(table, "safety")
