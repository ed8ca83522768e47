"""Indexes from which claims and submits read what they need, however long the queue."""

from alembic import op

revision = "0014"
down_revision = "0013"

CLAIM = ["status", "test", "priority", "key_id", "seq", "due_at", "pictures"]


def upgrade() -> None:
    """Widen the index of claims, which then serves the stand-in too; add the one of deadlines."""
    op.drop_index("ix_requests_claim", "requests")
    op.drop_index("ix_requests_test", "requests")
    op.create_index("ix_requests_claim", "requests", CLAIM)
    op.create_index("ix_requests_deadline", "requests", ["status", "cancel_at"])


def downgrade() -> None:
    """Put the earlier ones back."""
    op.drop_index("ix_requests_deadline", "requests")
    op.drop_index("ix_requests_claim", "requests")
    op.create_index("ix_requests_test", "requests", ["test", "status"])
    op.create_index("ix_requests_claim", "requests", ["status", "priority", "key_id", "seq"])
