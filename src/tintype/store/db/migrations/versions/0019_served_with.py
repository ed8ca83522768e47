"""What the database is served with: its storage, and the versions and models of the processes at it."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the tables, and where workers and keepers note their versions."""
    op.create_table(
        "facts",
        sa.Column("name", sa.String(20), nullable=False),
        sa.Column("value", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_facts"),
    )
    op.create_table(
        "servers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("version", sa.Text, nullable=False),
        sa.Column("models", sa.JSON, nullable=False),
        sa.Column("started_at", sa.Double, nullable=False),
        sa.Column("seen_at", sa.Double, nullable=False),
        sa.Column("left_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_servers"),
    )
    for table in ("workers", "keepers"):
        op.add_column(table, sa.Column("version", sa.Text, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    """Drop them."""
    for table in ("workers", "keepers"):
        op.drop_column(table, "version")
    op.drop_table("servers")
    op.drop_table("facts")
