"""Which picture a crop was cut from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("pictures", sa.Column("cropped_from_id", sa.String(length=20), nullable=True))


def downgrade() -> None:
    op.drop_column("pictures", "cropped_from_id")
