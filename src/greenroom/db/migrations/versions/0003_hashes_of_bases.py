"""What a base's files were when it was added, and where they came from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("bases", sa.Column("sha256", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("bases", sa.Column("origin", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("bases", "origin")
    op.drop_column("bases", "sha256")
