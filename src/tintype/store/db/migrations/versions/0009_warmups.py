"""Which models each worker has loaded, is to load, or could not load."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "warmups",
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("state", sa.Enum("WARMING", "WARM", "COLD", "FAILED", native_enum=False, length=10), nullable=False),
        sa.Column("seconds", sa.Double),
        sa.Column("error", sa.Text),
        sa.Column("changed_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("slug", "worker", name="pk_warmups"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("warmups")
