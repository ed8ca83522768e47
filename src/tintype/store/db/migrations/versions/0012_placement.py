"""Which models workers have loaded, so that claims can leave requests to them."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the column; workers of this version tell at once."""
    op.add_column("warmups", sa.Column("loaded", sa.Boolean, nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("warmups", "loaded")
