"""The server's address as the owner of a webhook knows it."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    """Add the column; until an older webhook is updated, its links are what each request came in by."""
    op.add_column("webhooks", sa.Column("base_url", sa.Text))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("webhooks", "base_url")
