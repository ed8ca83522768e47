"""What signs the manifests of images."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    """Make the table, empty: the first process that signs makes a pair."""
    op.create_table(
        "signers",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("root", sa.Text, nullable=False),
        sa.Column("chain", sa.Text, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("retired_at", sa.Double),
        sa.Column("distrusted_at", sa.Double),
        sa.Column("own", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_signers"),
    )


def downgrade() -> None:
    """Drop it: images signed with its keys can't be told from others' any more."""
    op.drop_table("signers")
