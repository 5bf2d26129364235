from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy.orm import Session
from tests_unit_pictures import write_base

from greenroom import files
from greenroom.db.models import Actor, RunState, Workspace
from greenroom.errors import BadPrompt, Conflict, UnknownBase, UnknownGeneration, UnknownTrigger, WrongState
from greenroom.ml.config import TrainConfig
from greenroom.studio import actors, bases, generations, jobs, trainings
from greenroom.studio.generations import Plan, Request

Plans = Callable[..., Plan]


@pytest.fixture
def kia(session: Session, actor: Actor, config: Callable[..., TrainConfig]) -> Actor:
    """KIA, trained."""
    training = trainings.start(session, actor, config())
    jobs.claim(session, "me")
    trainings.complete(
        session, training, lora_key=files.export_key(actor.id, training.id, "lora.safetensors")
    )
    return actor


@pytest.fixture
def zoe(session: Session, store: files.Store, workspace: Workspace, kia: Actor, folder: Path) -> Actor:
    """A second trained actor, ZOE-2, on the same base."""
    from greenroom.studio import images, recipes

    made = actors.create(session, workspace, kind="character", name="Zoe", trigger="ZOE-2", base="tiny")
    for caption in folder.glob("*.txt"):
        caption.unlink()
    images.add_folder(session, store, made, folder)
    base = bases.find(session, "tiny")
    config = recipes.config(
        recipes.default_for("starter", "character"), name="Zoe", trigger="ZOE-2", kind="character", base=base
    )
    training = trainings.start(session, made, config)
    jobs.claim(session, "me")
    trainings.complete(session, training, lora_key=files.export_key(made.id, training.id, "lora.safetensors"))
    return made


@pytest.fixture
def plan(session: Session, workspace: Workspace) -> Plans:
    def make(prompt: str, **asked: object) -> Plan:
        return generations.resolve(session, workspace, generations.request(prompt=prompt, base=None, **asked))

    return make


@pytest.mark.parametrize(
    "prompt", ["@KIA_01 laughing, in space", "@kia_01 laughing, in space", "KIA_01 laughing, in space"]
)
def test_an_actor_is_named_with_or_without_at(plan: Plans, kia: Actor, prompt: str) -> None:
    made = plan(prompt, weight=0.8)
    assert made.prompt == "KIA_01 laughing, in space"
    [member] = made.cast
    assert (member.actor_id, member.trigger, member.version, member.weight) == (kia.id, "KIA_01", 1, 0.8)
    assert member.training_id == kia.active_training_id
    assert (made.base, made.width_px, made.height_px) == ("tiny", 128, 128)


def test_several_actors_stand_in_the_order_of_their_mention_and_once_each(
    plan: Plans, kia: Actor, zoe: Actor
) -> None:
    made = plan("ZOE-2 and @KIA_01 dance; KIA_01 sings for @ZOE-2.")
    assert [member.trigger for member in made.cast] == ["ZOE-2", "KIA_01"]
    assert made.prompt == "ZOE-2 and KIA_01 dance; KIA_01 sings for ZOE-2."


@pytest.mark.parametrize(
    "prompt", ["KIA_012", "XKIA_01", "kia_01 laughing", "KIA_01-like", "mail kia@KIA_01.org"]
)
def test_other_words_name_nobody(
    plan: Plans, kia: Actor, session: Session, prompt: str, starter: None
) -> None:
    assert [member.trigger for member in plan(prompt).cast] == (["KIA_01"] if "@KIA_01" in prompt else [])


@pytest.fixture
def starter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A starter base whose files are in place, whether or not its weights ship with this checkout."""
    from dataclasses import replace

    there = replace(bases.starter(), source=str(write_base(tmp_path / "starter")))
    monkeypatch.setattr(bases, "starter", lambda: there)


def test_a_prompt_without_actors_is_drawn_on_the_starter(plan: Plans, starter: None) -> None:
    made = plan("a fox in the snow")
    assert (made.cast, made.base) == ((), "starter")


def test_an_unknown_trigger_lists_near_ones(plan: Plans, kia: Actor) -> None:
    with pytest.raises(UnknownTrigger, match=r"No actor has the trigger @KIA_02\. Did you mean @KIA_01"):
        plan("@KIA_02 laughing")
    with pytest.raises(UnknownTrigger, match="The trigger of kia is @KIA_01"):
        plan("@kia laughing")
    with pytest.raises(UnknownTrigger, match="There is @KIA_01"):
        plan("@zzzzzz laughing")


def test_an_unknown_trigger_in_an_empty_studio(plan: Plans) -> None:
    with pytest.raises(UnknownTrigger, match="No actor is trained yet"):
        plan("@KIA_01")


@pytest.mark.parametrize("prompt", ["@KIA_01 laughing", "KIA_01 laughing"])
def test_an_actor_that_is_not_trained_is_named_with_its_state(plan: Plans, actor: Actor, prompt: str) -> None:
    with pytest.raises(WrongState, match=r"KIA \(@KIA_01\) is draft, not trained yet"):
        plan(prompt)


def test_a_trained_actor_serves_while_its_next_version_trains(
    plan: Plans, session: Session, kia: Actor, config: Callable[..., TrainConfig]
) -> None:
    trainings.start(session, kia, config())
    assert plan("@KIA_01").cast[0].version == 1


def test_a_deleted_actor_is_unknown(plan: Plans, session: Session, kia: Actor) -> None:
    actors.delete(session, kia)
    with pytest.raises(UnknownTrigger):
        plan("@KIA_01")


def test_the_base_has_to_fit_the_actor(
    session: Session, workspace: Workspace, kia: Actor, tmp_path: Path
) -> None:
    bases.add(session, "sd", write_base(tmp_path / "sd", "StableDiffusionPipeline"))
    bases.add(session, "twin", write_base(tmp_path / "twin"))

    def on(base: str) -> Plan:
        return generations.resolve(session, workspace, Request(prompt="@KIA_01", base=base))

    with pytest.raises(BadPrompt, match="does not fit sd"):
        on("sd")
    with pytest.raises(UnknownBase):
        on("none")
    assert on("twin").base == "twin"  # of the same family


def test_actors_of_different_bases_are_refused(
    plan: Plans, session: Session, kia: Actor, zoe: Actor, tmp_path: Path
) -> None:
    bases.add(session, "twin", write_base(tmp_path / "twin"))
    training = trainings.latest(session, zoe)
    assert training is not None
    training.base = "twin"
    session.flush()
    with pytest.raises(BadPrompt, match="KIA on tiny and Zoe on twin"):
        plan("@KIA_01 @ZOE-2")


def test_sizes_are_those_of_the_base(plan: Plans, kia: Actor) -> None:
    assert plan("@KIA_01", width_px=512).height_px == 512
    made = plan("@KIA_01", width_px=512, height_px=256)
    assert (made.width_px, made.height_px) == (512, 256)
    with pytest.raises(BadPrompt, match=r"multiples of \d+; 250 is none\. Use \d+ or \d+"):
        plan("@KIA_01", width_px=250)


@pytest.mark.parametrize(
    "asked",
    [
        {"count": 0}, {"count": 65}, {"seed": -1}, {"width_px": 8}, {"height_px": 9000}, {"steps": 0},
        {"guidance": 99}, {"weight": 5}, {"prompt": ""}, {"prompt": "x" * 2001}, {"colour": "red"},
    ],
)  # fmt: skip
def test_a_request_out_of_range_is_named(asked: dict[str, object]) -> None:
    with pytest.raises(BadPrompt, match=next(iter(asked))):
        generations.request(**{"prompt": "x", **asked})


def test_a_prompt_of_nothing_visible_is_refused(plan: Plans) -> None:
    with pytest.raises(BadPrompt, match="prompt is empty"):
        plan(" \0\n")


def test_a_seed_is_drawn_and_kept_unless_given(plan: Plans, kia: Actor) -> None:
    assert plan("@KIA_01", seed=7).seed == 7
    drawn = {plan("@KIA_01").seed for _ in range(4)}
    assert len(drawn) == 4
    assert max(drawn) < 2**32


def test_the_whole_way_of_a_generation(
    session: Session, workspace: Workspace, kia: Actor, tmp_path: Path
) -> None:
    request = Request(prompt="@KIA_01 laughing", count=2, seed=7, negative="hat", steps=9, guidance=2.0)
    generation = generations.start(session, workspace, request)
    assert generation.state == RunState.QUEUED
    assert generations.plan(generation).request == request
    assert kia.active_training_id is not None
    told = generations.config(session, generation, {kia.active_training_id: tmp_path / "l"}, tmp_path / "out")
    assert (told.prompt, told.negative, told.count, told.seed) == ("KIA_01 laughing", "hat", 2, 7)
    assert (told.steps, told.guidance, told.width_px, told.height_px) == (9, 2.0, 128, 128)
    assert [(use.file, use.trigger, use.weight) for use in told.loras] == [
        (str(tmp_path / "l"), "KIA_01", 1.0)
    ]
    assert told.actors == ({"id": kia.id, "name": "KIA", "trigger": "KIA_01", "version": "1"},)
    with pytest.raises(Conflict, match="not running"):
        generations.complete(session, generation)
    jobs.claim(session, "me", job_id=generations.job(session, generation).id)
    for seed in (8, 7, 7):
        generations.add_picture(
            session,
            generation,
            key=f"generations/g/{seed}.png",
            seed=seed,
            prompt="p",
            width_px=1,
            height_px=1,
        )
    generations.complete(session, generation)
    assert generations.find(session, generation.id).state == RunState.DONE
    assert [made.seed for made in generations.pictures(session, generation)] == [7, 8]


def test_find_names_the_unknown(session: Session) -> None:
    with pytest.raises(UnknownGeneration):
        generations.find(session, "gen_x")


def test_the_history_is_newest_first_without_deleted_ones(
    session: Session, workspace: Workspace, kia: Actor
) -> None:
    made = []
    for number, words in enumerate(("at the beach", "in a Forest", "50% off, at the beach")):
        generation = generations.start(
            session, workspace, generations.request(prompt=f"@KIA_01 {words}", seed=number)
        )
        made.append(
            generations.add_picture(
                session, generation, key=f"{number}", seed=number, prompt=words, width_px=64, height_px=64
            )
        )
    assert generations.recent(session, workspace) == made[::-1]
    assert generations.recent(session, workspace, limit=2) == [made[2], made[1]]
    assert generations.recent(session, workspace, before=made[1].id) == [made[0]]
    assert generations.recent(session, workspace, search="BEACH at") == [made[2], made[0]]
    assert generations.recent(session, workspace, search="a%t") == []
    assert generations.recent(session, workspace, search="50%") == [made[2]]
    generations.delete_picture(session, made[2])
    assert generations.recent(session, workspace) == [made[1], made[0]]
    generations.restore_picture(session, made[2])
    assert generations.recent(session, workspace) == made[::-1]
    other = Workspace(name="Other")
    session.add(other)
    session.flush()
    assert generations.recent(session, other) == []
    assert [row.id for row in generations.list_(session, workspace, limit=2)] == [
        made[2].generation_id, made[1].generation_id,
    ]  # fmt: skip
    assert generations.list_(session, other, before=made[2].generation_id) == []


def test_only_the_actors_of_the_words_are_cast(
    session: Session, workspace: Workspace, zoe: Actor, plan: Plans
) -> None:
    assert [member.trigger for member in plan("ZOE-2 with @KIA_01, kia_01").cast] == ["ZOE-2", "KIA_01"]
    assert plan("kia_01 and XKIA_01 and KIA_01x are nobody").cast == ()
