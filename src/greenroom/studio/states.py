"""Which step may follow which, for actors and for runs. Knows no database."""

from __future__ import annotations

from greenroom.db.models import Actor, ActorState, Generation, Job, RunState, Training
from greenroom.errors import WrongState

ACTOR_STEPS: dict[ActorState, frozenset[ActorState]] = {
    ActorState.DRAFT: frozenset({ActorState.QUEUED}),
    ActorState.QUEUED: frozenset(
        # Trained again: a new version was called off or broke, and the older one still serves.
        {ActorState.TRAINING, ActorState.TRAINED, ActorState.FAILED, ActorState.CANCELLED}
    ),
    ActorState.TRAINING: frozenset(
        # Queued again: its worker died, and the run goes on in the next one.
        {ActorState.QUEUED, ActorState.TRAINED, ActorState.FAILED, ActorState.CANCELLED}
    ),
    ActorState.TRAINED: frozenset({ActorState.QUEUED}),
    ActorState.FAILED: frozenset({ActorState.QUEUED}),
    ActorState.CANCELLED: frozenset({ActorState.QUEUED}),
}

RUN_STEPS: dict[RunState, frozenset[RunState]] = {
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.QUEUED, RunState.DONE, RunState.FAILED, RunState.CANCELLED}),
    RunState.DONE: frozenset(),
    # Resumed by the person.
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.QUEUED}),
}

LIVE = (RunState.QUEUED, RunState.RUNNING)
"""States in which something waits for a worker or is at work."""


def move_actor(actor: Actor, to: ActorState) -> None:
    """Change an actor's state; staying is fine. Raises WrongState for a step that is not allowed."""
    if to != actor.state and to not in ACTOR_STEPS[actor.state]:
        raise WrongState(
            f"{actor.name} is {actor.state} and cannot become {to}. Look at its state and try again."
        )
    actor.state = to


def move_run(run: Training | Generation | Job, to: RunState) -> None:
    """Change the state of a run; staying is fine. Raises WrongState for a step that is not allowed."""
    if to != run.state and to not in RUN_STEPS[run.state]:
        raise WrongState(f"{run.id} is {run.state} and cannot become {to}. Look at its state and try again.")
    run.state = to
