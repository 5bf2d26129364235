from __future__ import annotations

import pytest

from greenroom.db.models import Actor, ActorState, Job, RunState
from greenroom.errors import WrongState
from greenroom.studio import states


@pytest.mark.parametrize("start", list(ActorState))
@pytest.mark.parametrize("to", list(ActorState))
def test_an_actor_takes_only_legal_steps(start: ActorState, to: ActorState) -> None:
    actor = Actor(name="KIA", state=start)
    if to == start or to in states.ACTOR_STEPS[start]:
        states.move_actor(actor, to)
        assert actor.state == to
    else:
        with pytest.raises(WrongState, match=f"KIA is {start}"):
            states.move_actor(actor, to)
        assert actor.state == start


def test_every_actor_state_is_reachable_and_none_is_a_dead_end() -> None:
    reached = {ActorState.DRAFT}
    for _ in ActorState:
        reached |= {to for state in reached for to in states.ACTOR_STEPS[state]}
    assert reached == set(ActorState)
    assert all(states.ACTOR_STEPS.values())


def test_a_run_that_is_done_stays_done() -> None:
    job = Job(id="job_a", state=RunState.DONE)
    for to in set(RunState) - {RunState.DONE}:
        with pytest.raises(WrongState):
            states.move_run(job, to)
