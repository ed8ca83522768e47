"""By which public API each request came, and what was sent there."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    """Add columns. Requests that processes of the version before submit came by the vendor's."""
    op.add_column("requests", sa.Column("dialect", sa.String(10), nullable=False, server_default="vendor"))
    op.add_column("requests", sa.Column("asked", sa.JSON))


def downgrade() -> None:
    """Drop them: answers of other APIs are then rendered as for requests of the vendor's."""
    op.drop_column("requests", "asked")
    op.drop_column("requests", "dialect")
