"""Sums over the requests that have not ended, kept instead of counted; the index of claims by key."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

UNENDED = "status IN ('QUEUED', 'PROCESSING')"
FILL = (
    "INSERT INTO unended (key_id, priority, account_id, test, requests, images)"
    " SELECT key_id, priority, account_id, test, count(*), sum(pictures) FROM requests"
    " WHERE status IN ('QUEUED', 'PROCESSING') GROUP BY key_id, priority, account_id, test"
)
ADD = (
    "INSERT INTO unended (key_id, priority, account_id, test, requests, images)"
    " VALUES (NEW.key_id, NEW.priority, NEW.account_id, NEW.test, 1, NEW.pictures)"
    " ON CONFLICT (key_id, priority) DO UPDATE SET"
    " requests = unended.requests + 1, images = unended.images + excluded.images;"
)
SUBTRACT = (
    "UPDATE unended SET requests = requests - 1, images = images - OLD.pictures"
    " WHERE key_id = OLD.key_id AND priority = OLD.priority;"
    " DELETE FROM unended WHERE key_id = OLD.key_id AND priority = OLD.priority AND requests <= 0;"
)
#: When, for which rows, and what then. By the database itself, so that processes of earlier versions keep the sums too.
TRIGGERS = {
    "unended_added": ("INSERT", f"NEW.{UNENDED}", ADD),
    "unended_ended": ("UPDATE OF status", f"OLD.{UNENDED} AND NOT NEW.{UNENDED}", SUBTRACT),
    "unended_deleted": ("DELETE", f"OLD.{UNENDED}", SUBTRACT),
}
CLAIM = ["status", "test", "key_id", "priority", "seq", "due_at", "pictures"]
CLAIM_BEFORE = ["status", "test", "priority", "key_id", "seq", "due_at", "pictures"]


def upgrade() -> None:
    """Add the table, with what there is, and the triggers that keep it."""
    # First, as it takes PostgreSQL's strongest lock: taken after a weaker one it would deadlock with heartbeats of
    # running processes, which aren't under ours.
    op.drop_index("ix_requests_claim", "requests")
    op.create_table(
        "unended",
        sa.Column("key_id", sa.String(36), primary_key=True),
        sa.Column("priority", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("test", sa.Boolean, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("images", sa.Integer, nullable=False),
    )
    op.create_index("ix_unended_account", "unended", ["account_id"])
    op.execute(FILL)
    for name, (when, which, then) in TRIGGERS.items():
        body = f"BEGIN {then} END"
        if op.get_bind().dialect.name == "postgresql":
            op.execute(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {then} RETURN NULL; END $$"
            )
            body = f"EXECUTE FUNCTION {name}()"
        op.execute(f"CREATE TRIGGER {name} AFTER {when} ON requests FOR EACH ROW WHEN ({which}) {body}")
    op.create_index("ix_requests_claim", "requests", CLAIM)


def downgrade() -> None:
    """Drop them, and put the earlier index back."""
    op.drop_index("ix_requests_claim", "requests")
    op.create_index("ix_requests_claim", "requests", CLAIM_BEFORE)
    for name in TRIGGERS:
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"DROP TRIGGER {name} ON requests")
            op.execute(f"DROP FUNCTION {name}")
        else:
            op.execute(f"DROP TRIGGER {name}")
    op.drop_table("unended")
