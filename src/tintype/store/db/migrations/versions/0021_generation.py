"""What a request asks for in the one vocabulary for all models, next to the parameters as they were sent."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    """Add the column: null in the rows of earlier versions, and of processes of those that still run."""
    op.add_column("requests", sa.Column("generation", sa.JSON))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("requests", "generation")
