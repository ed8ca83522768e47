"""Paces and previews."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables."""
    op.add_column("requests", sa.Column("pace", sa.Text))
    op.add_column("requests", sa.Column("watched_until", sa.Double))
    op.create_table(
        "paces",
        sa.Column("pace", sa.Text, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("measured", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("pace", name="pk_paces"),
    )
    op.create_table(
        "previews",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_previews"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("previews")
    op.drop_table("paces")
    with op.batch_alter_table("requests") as requests:
        requests.drop_column("watched_until")
        requests.drop_column("pace")
