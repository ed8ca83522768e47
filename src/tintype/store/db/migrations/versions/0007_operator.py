"""Operators' keys, what workers tell of themselves, the pause of the queue, and how the server did."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add columns and tables; no key that there is becomes an operator's."""
    op.add_column("api_keys", sa.Column("operator", sa.Boolean, nullable=False, server_default=sa.false()))
    for name, kind in COUNTED.items():
        op.add_column("workers", sa.Column(name, kind, nullable=False, server_default=sa.text("0")))
    op.add_column("workers", sa.Column("about", sa.JSON))
    op.add_column("workers", sa.Column("drain_at", sa.Double))
    op.add_column("workers", sa.Column("left_at", sa.Double))
    op.create_table(
        "controls",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("since", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_controls"),
    )
    op.create_table(
        "samples",
        sa.Column("at", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, kind) for name, kind in SEEN.items()),
        *(sa.Column(name, kind, nullable=False, server_default=sa.text("0")) for name, kind in SUMMED.items()),
        sa.PrimaryKeyConstraint("at", name="pk_samples"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("samples")
    op.drop_table("controls")
    for name in ("left_at", "drain_at", "about", *COUNTED):
        op.drop_column("workers", name)
    op.drop_column("api_keys", "operator")


COUNTED = {
    "step_seconds": sa.Double,
    "cold_starts": sa.BigInteger,
    "cold_seconds": sa.Double,
    "max_rows": sa.Integer,
}
SEEN = {
    "queued": sa.Integer,
    "running": sa.Integer,
    "workers": sa.Integer,
    "memory": sa.BigInteger,
    "device_memory": sa.BigInteger,
}
SUMMED = {
    "forward_passes": sa.BigInteger,
    "rows": sa.BigInteger,
    "room": sa.BigInteger,
    "step_seconds": sa.Double,
    "cold_starts": sa.Integer,
    "cold_seconds": sa.Double,
    "completed": sa.Integer,
    "failed": sa.Integer,
    "refused": sa.Integer,
    "cancelled": sa.Integer,
}
