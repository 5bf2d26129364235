"""Which workers of this home are alive, and which run folders nobody needs any more. Knows no jobs."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from greenroom.db import session as db
from greenroom.db.models import Generation, RunState, Training
from greenroom.settings import Settings
from greenroom.studio import jobs


@contextmanager
def present(settings: Settings) -> Iterator[str]:
    """Make this process known as a worker of this home; gives its worker id."""
    worker_id = jobs.this_worker()
    folder = settings.make_home() / "workers"
    folder.mkdir(exist_ok=True)
    card = folder / f"{os.getpid()}-{threading.get_ident()}"
    card.write_text(worker_id)
    try:
        yield worker_id
    finally:
        card.unlink(missing_ok=True)


def working(settings: Settings) -> set[str]:
    """Ids of the workers of this home that are alive; cards of dead ones are removed."""
    alive = set()
    for card in (settings.home_folder / "workers").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            worker_id = card.read_text()
            if jobs.is_gone(worker_id):
                card.unlink(missing_ok=True)
            else:
                alive.add(worker_id)
    return alive


def sweep(settings: Settings) -> None:
    """Remove run folders that nothing needs: their run is done, or erased with its actor."""
    folders = [folder for folder in settings.runs.glob("*") if folder.is_dir()]
    if not folders:
        return
    with db.session(settings) as session:
        for folder in folders:
            run = session.get(Training, folder.name) or session.get(Generation, folder.name)
            if run is None or run.state == RunState.DONE:
                shutil.rmtree(folder, ignore_errors=True)
