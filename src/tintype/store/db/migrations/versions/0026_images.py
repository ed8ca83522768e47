"""What accounts say of their images, to keep or to delete them; whose request each image is of."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add table and columns. Processes of the version before leave the columns null: such images are searched for."""
    op.create_table(
        "image_marks",
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("kept", sa.Boolean, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("until", sa.Double),
        sa.PrimaryKeyConstraint("name", name="pk_image_marks"),
    )
    op.create_index("ix_image_marks_request", "image_marks", ["request_id"])
    op.create_index("ix_image_marks_kept", "image_marks", ["kept", "account_id", "size"])
    op.create_index("ix_image_marks_at", "image_marks", ["at"])
    op.create_index("ix_image_marks_until", "image_marks", ["until"])
    op.add_column("journal", sa.Column("request_id", sa.String(36)))
    op.add_column("outputs", sa.Column("request_id", sa.String(36)))


def downgrade() -> None:
    """Drop them: kept images expire as all others do."""
    op.drop_column("outputs", "request_id")
    op.drop_column("journal", "request_id")
    op.drop_table("image_marks")
