"""What vision measured on an actor's pictures, kept beside them in the store so that each is looked at once.

Knows pictures and their files; gives no advice. It lies below the actor's own keys, so that erasing the actor
erases what was measured of a face, too.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from greenroom import files
from greenroom.db.models import Picture
from greenroom.errors import GreenroomError

if TYPE_CHECKING:
    from greenroom.vision.look import Look

_FORMAT = 1  # raise it whenever a measure changes its meaning


def of(store: files.Store, picture: Picture) -> Look | None:
    """What the picture shows; None when its file cannot be read."""
    from greenroom.vision import look, models

    # Named by the weights that looked, too: fetching a missing model measures anew.
    key = f"{files.actor_prefix(picture.actor_id)}/looks/{picture.id}-{_FORMAT}-{models.fingerprint()}.json"
    with contextlib.suppress(GreenroomError, ValueError, KeyError, TypeError):
        return look.Look.from_json(json.loads(store.get(key)))
    try:
        with store.scratch() as scratch:
            clean = store.path(picture.key) or store.local_copy(picture.key, scratch / "picture.png")
            found = look.at(look.read(clean))
    except (OSError, GreenroomError):
        return None
    # A store that cannot be written costs time here, nothing else.
    with contextlib.suppress(GreenroomError):
        store.put(key, json.dumps(found.as_json()).encode())
    return found
