"""What alembic runs around the migrations: on the connection, and in the transaction, that `migrate()` gives it."""

from alembic import context

from tintype.store.db.tables import metadata

# SQLite changes tables within transactions, but alembic only does so when told.
context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
