"""Who leads a fleet that several keepers look after, and which workers it has let go."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    """Add the table and the column; nobody has been let go yet."""
    op.add_column("workers", sa.Column("released", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "keepers",
        sa.Column("fleet", sa.String(20), nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("fleet", name="pk_keepers"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("keepers")
    op.drop_column("workers", "released")
