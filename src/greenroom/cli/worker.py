"""`greenroom worker`: does queued trainings and drawings until it is stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

from greenroom.cli import terminal

if TYPE_CHECKING:
    from greenroom.db.models import Job


def worker() -> None:
    """Do queued trainings and drawings until stopped.

    Keeps the base model loaded between drawings, so they start at once.
    Ctrl-C saves a running training and returns it to the queue, where the next worker goes on with it.

    \b
    greenroom worker
    """
    from greenroom import settings
    from greenroom import worker as workers
    from greenroom.cli import edge
    from greenroom.cli.progress import Bar
    from greenroom.db import session as db
    from greenroom.studio import jobs

    current = settings.current()

    def tell(job: Job, is_over: bool) -> None:
        if not is_over:
            terminal.say(f"{job.kind} {job.target_id}: begins")
            return
        with db.session(current) as session:
            now = jobs.find(session, job.id)
        reason = f": {now.error_text}" if now.error_text else ""
        terminal.say(f"{job.kind} {job.target_id}: {now.state}{reason}")

    with edge.stopping("a running training saves first and returns to the queue.") as asked, Bar() as bar:
        watch = workers.Watch(on_event=bar.show, stop=asked.stop, now=asked.now, on_stop="requeue")
        terminal.say(f"Waiting for work in {current.home_folder}. Stop with Ctrl-C.")
        workers.loop(current, watch, tell)
