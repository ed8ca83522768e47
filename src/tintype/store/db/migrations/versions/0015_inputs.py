"""Input pictures of requests that have not ended; sizes of uploads and outputs; why a request failed, by name."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"

#: What stood before the name of a stored picture in a request's parameters.
STORED = "file:"


def upgrade() -> None:
    """Add tables and columns. What waits keeps its pictures: their sizes are not known, and count nothing."""
    for side in ("width", "height"):
        op.add_column("assets", sa.Column(side, sa.Integer))
    op.add_column("requests", sa.Column("error_kind", sa.String(40)))
    inputs = op.create_table(
        "inputs",
        sa.Column("request_id", sa.String(36), primary_key=True),
        sa.Column("account_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("width", sa.Integer),
        sa.Column("height", sa.Integer),
    )
    op.create_index("ix_inputs_account", "inputs", ["account_id", "size"])
    op.create_table(
        "outputs",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("height", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("ix_outputs_expiry", "outputs", ["expires_at"])
    waiting = op.get_bind().execute(
        sa.text("SELECT id, account_id, params FROM requests WHERE status IN ('QUEUED', 'PROCESSING')")
    )
    rows = [
        {"request_id": id, "account_id": account_id, "name": image.removeprefix(STORED), "size": 0}
        for id, account_id, params in waiting
        if (image := str(_read(params).get("image", ""))).startswith(STORED)
    ]
    if rows:
        op.bulk_insert(inputs, rows)


def downgrade() -> None:
    """Drop them."""
    op.drop_table("outputs")
    op.drop_table("inputs")
    op.drop_column("requests", "error_kind")
    for side in ("width", "height"):
        op.drop_column("assets", side)


def _read(params: object) -> dict[str, object]:
    """SQLite gives the text, PostgreSQL what is in it."""
    found: dict[str, object] = json.loads(params) if isinstance(params, str) else params  # type: ignore[assignment]
    return found
