"""What a key may spend and submit per UTC day, and what it has."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

LIMITS = {"daily_spend": sa.BigInteger, "daily_requests": sa.Integer}
USED = {"daily_used_on": sa.Integer, "daily_spend_used": sa.BigInteger, "daily_requests_used": sa.Integer}


def upgrade() -> None:
    """Add the columns. Processes of the version before neither count nor refuse by them.

    What they submit is not counted; what they end gives nothing back; a key with such a limit may make keys there. So
    an operator gives the first key one when the last of them has been replaced.
    """
    for name, kind in LIMITS.items():
        op.add_column("api_keys", sa.Column(name, kind))
    for name, kind in USED.items():
        op.add_column("api_keys", sa.Column(name, kind, nullable=False, server_default=sa.text("0")))


def downgrade() -> None:
    """Drop them: keys with such a limit have none then."""
    for name in (*LIMITS, *USED):
        op.drop_column("api_keys", name)
