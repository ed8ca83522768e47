"""What each end adds to counters, time series, speeds and outputs, until it is folded into them."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add the table. Processes of the version before write no rows: they add to the sums themselves."""
    op.create_table(
        "journal",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("outcome", sa.String(9)),
        sa.Column("charged", sa.BigInteger),
        sa.Column("speed_key", sa.Text),
        sa.Column("step_seconds", sa.Double),
        sa.Column("outputs", sa.JSON),
        sa.PrimaryKeyConstraint("id", name="pk_journal"),
    )


def downgrade() -> None:
    """Drop it: what was not folded is in no sum."""
    op.drop_table("journal")
