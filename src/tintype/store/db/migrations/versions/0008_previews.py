"""A preview of each of a request's pictures, in the order in which they were made."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Make the table anew: what is in it is of seconds ago, and will be made again."""
    op.drop_table("previews")
    op.create_table(
        "previews",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("picture", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("look", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("finished", sa.Boolean, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "picture", name="pk_previews"),
    )


def downgrade() -> None:
    """Make the former one."""
    op.drop_table("previews")
    op.create_table(
        "previews",
        sa.Column("request_id", sa.String(36), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("step", sa.Integer, nullable=False),
        sa.Column("jpeg", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("request_id", name="pk_previews"),
    )
