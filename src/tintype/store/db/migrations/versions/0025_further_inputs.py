"""The files of a request's input images in addition to the first, such as a mask's."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add the column. A process of the version before that ends such a request leaves them to the cleanup."""
    op.add_column("inputs", sa.Column("further", sa.String(120)))


def downgrade() -> None:
    """Drop it: the cleanup removes the files after their time."""
    op.drop_column("inputs", "further")
