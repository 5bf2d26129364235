"""What a killed process left goes, and nothing else."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from greenroom import files
from greenroom.db.models import Actor, new_id
from greenroom.studio import orphans


def test_only_old_files_without_a_row_go(session: Session, store: files.Store, actor: Actor) -> None:
    kept = store.list_("actors")
    assert kept
    lost = [
        files.picture_key(actor.id, new_id("pic")),
        files.thumbnail_key(new_id("act"), new_id("pic")),
        files.export_key(actor.id, new_id("trn"), "lora.safetensors"),
        files.made_key(new_id("gen"), new_id("mad")),
    ]
    for key in lost:
        store.put(key, b"x")
    assert orphans.sweep(session, store) == 0  # their rows may still be on the way
    assert orphans.sweep(session, store, age=timedelta(seconds=-5)) == len(lost)
    assert store.list_("actors") == kept
    assert not store.list_("generations")
