"""Alembic's entry: runs the migrations on the connection that migrations.upgrade hands over."""

from __future__ import annotations

from alembic import context

from greenroom.db.models import Table

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Table.metadata,
    # SQLite changes columns by copying the table; its DDL is transactional, so half a step never stays.
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
