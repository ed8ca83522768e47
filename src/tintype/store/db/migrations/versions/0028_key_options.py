"""What clients of A1111's API set for their key."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "key_options",
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("checkpoint", sa.Text),
        sa.Column("samples_format", sa.String(10)),
        sa.Column("jpeg_quality", sa.Integer),
        sa.PrimaryKeyConstraint("key_id", name="pk_key_options"),
        sa.ForeignKeyConstraint(["key_id"], ["api_keys.id"], name="fk_key_options_key_id"),
    )


def downgrade() -> None:
    """Drop it: every key has the defaults again."""
    op.drop_table("key_options")
