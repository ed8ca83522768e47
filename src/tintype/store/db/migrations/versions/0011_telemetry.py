"""Sums for `/metrics`, and the trace that a request and its messages belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the table and the columns; sums begin at zero."""
    op.create_table(
        "counters",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("value", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_counters"),
    )
    op.add_column("workers", sa.Column("counts", sa.JSON))
    op.add_column("requests", sa.Column("traceparent", sa.String(55)))
    op.add_column("deliveries", sa.Column("traceparent", sa.String(55)))


def downgrade() -> None:
    """Forget them."""
    op.drop_column("deliveries", "traceparent")
    op.drop_column("requests", "traceparent")
    op.drop_column("workers", "counts")
    op.drop_table("counters")
