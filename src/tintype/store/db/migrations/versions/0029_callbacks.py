"""Where a request's prediction is to be sent, and when; what is known of an upload in addition to its image."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    """Add columns. What a process of the version before claims or ends is not sent there."""
    op.add_column("requests", sa.Column("callback", sa.JSON))
    op.add_column("assets", sa.Column("about", sa.JSON))


def downgrade() -> None:
    """Drop them: nothing is sent there any more, and such uploads are like all others."""
    op.drop_column("assets", "about")
    op.drop_column("requests", "callback")
