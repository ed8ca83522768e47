"""The log of images, by their files' digests and their watermarks' numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0031"
down_revision = "0030"


def upgrade() -> None:
    """Add the table. Images that processes of the version before make are not in it."""
    op.create_table(
        "image_log",
        sa.Column("made_at", sa.Double, nullable=False),
        sa.Column("id", sa.LargeBinary(16), nullable=False),
        sa.Column("number", sa.LargeBinary(6)),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("slug", sa.Text, nullable=False),
        sa.Column("request_id", sa.String(36)),
        sa.PrimaryKeyConstraint("made_at", "id", name="pk_image_log"),
    )
    op.create_index("ix_image_log_digest", "image_log", ["digest"])
    for column in ("number", "request_id"):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_image_log_{column}", "image_log", [column], sqlite_where=there, postgresql_where=there)


def downgrade() -> None:
    """Drop it: what was logged is lost."""
    op.drop_table("image_log")
