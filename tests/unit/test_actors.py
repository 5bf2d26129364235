from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import text
from sqlalchemy.orm import Session
from tests_unit_pictures import draw, write_base

from greenroom import files
from greenroom.db.models import Actor, ActorState, Workspace
from greenroom.errors import (
    AlreadyTraining,
    BadName,
    BadTrigger,
    ChangedDataset,
    Conflict,
    TooFewImages,
    TriggerTaken,
    UnknownActor,
    UnknownBase,
    WrongState,
    WrongUse,
)
from greenroom.ml.config import TrainConfig
from greenroom.studio import actors, bases, captions, images, jobs, trainings
from greenroom.studio.actors import Intake
from greenroom.studio.bases import BaseInfo

Make = Callable[..., Intake]


@pytest.fixture
def take(session: Session, store: files.Store, workspace: Workspace, base: BaseInfo, folder: Path) -> Make:
    """find_or_create_for_folder with KIA's words, unless told otherwise."""

    def call(**changes: object) -> Intake:
        asked = {
            "kind": "character",
            "name": "KIA",
            "trigger": "KIA_01",
            "base": "tiny",
            "folder": folder,
            **changes,
        }
        where = asked.pop("folder")
        return actors.find_or_create_for_folder(session, store, workspace, where, **asked)  # type: ignore[arg-type]

    return call


def test_a_new_actor_is_a_draft(session: Session, workspace: Workspace, base: BaseInfo) -> None:
    made = actors.create(session, workspace, kind="style", name="  Ink   wash ", trigger="INK_1", base="tiny")
    assert (made.name, made.state, made.kind) == ("Ink wash", ActorState.DRAFT, "style")
    assert actors.find(session, workspace, made.id) is made


@pytest.mark.parametrize(
    "name",
    ["", "   ", "../x", "a\\b", "x" * 101, "x" * 300, "a\0b", "🦊", "Kia 🦊", "K\u202eia", "\ud800", "--"],
)
def test_a_name_that_cannot_be_shown_or_read_out_is_refused(
    session: Session, workspace: Workspace, base: BaseInfo, name: str
) -> None:
    with pytest.raises(BadName):
        actors.create(session, workspace, kind="character", name=name, trigger="KIA_01", base="tiny")


@pytest.mark.parametrize("name", ["Žofie", "نازنین\u200cزهرا", "狐", "O'Neil & co.", "x" * 100])
def test_other_names_are_fine(session: Session, workspace: Workspace, base: BaseInfo, name: str) -> None:
    made = actors.create(session, workspace, kind="character", name=name, trigger="KIA_01", base="tiny")
    assert made.name == name


def test_unknown_kinds_bases_and_bad_triggers_are_refused(
    session: Session, workspace: Workspace, base: BaseInfo
) -> None:
    with pytest.raises(WrongUse, match="character or style"):
        actors.create(session, workspace, kind="dog", name="K", trigger="KIA_01", base="tiny")
    with pytest.raises(UnknownBase, match="Did you mean tiny"):
        actors.create(session, workspace, kind="style", name="K", trigger="KIA_01", base="tinyy")
    with pytest.raises(BadTrigger):
        actors.create(session, workspace, kind="style", name="K", trigger="woman", base="tiny")


def test_a_trigger_is_unique_without_regard_to_case_until_its_actor_is_deleted(
    session: Session, workspace: Workspace, base: BaseInfo
) -> None:
    def make(trigger: str) -> Actor:
        return actors.create(session, workspace, kind="character", name="A", trigger=trigger, base="tiny")

    first = make("KIA_01")
    with pytest.raises(TriggerTaken, match="taken by A"):
        make("kia_01")
    actors.delete(session, first)
    second = make("Kia_01")
    with pytest.raises(TriggerTaken):
        actors.restore(session, first)
    actors.delete(session, second)
    actors.restore(session, first)
    assert first.deleted_at is None


def test_a_race_for_one_trigger_is_refused_by_the_database(
    session: Session, workspace: Workspace, base: BaseInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    actors.create(session, workspace, kind="character", name="A", trigger="KIA_01", base="tiny")
    monkeypatch.setattr(actors, "_refuse_taken", lambda *_: None)  # as if the other had not been there yet
    with pytest.raises(TriggerTaken):
        actors.create(session, workspace, kind="character", name="B", trigger="KIA_01", base="tiny")
    assert len(actors.list_(session, workspace)) == 1


def test_find_takes_id_trigger_or_name(session: Session, workspace: Workspace, actor: Actor) -> None:
    for ref in (actor.id, "KIA_01", "@KIA_01", "kia_01", "KIA", "kia"):
        assert actors.find(session, workspace, ref) is actor
    with pytest.raises(UnknownActor, match="Did you mean KIA or KIA_01"):
        actors.find(session, workspace, "KIAA")
    with pytest.raises(UnknownActor, match="in the trash"):
        actors.find(session, workspace, "KIA", deleted=True)


def test_a_name_of_two_actors_is_a_question(session: Session, workspace: Workspace, actor: Actor) -> None:
    actors.create(session, workspace, kind="style", name="KIA", trigger="KIA_02", base="tiny")
    with pytest.raises(Conflict, match="2 actors are called"):
        actors.find(session, workspace, "KIA")
    assert actors.find(session, workspace, "KIA_01") is actor


def test_actors_of_another_workspace_are_not_found(
    session: Session, workspace: Workspace, actor: Actor
) -> None:
    other = Workspace(name="other")
    session.add(other)
    session.flush()
    for ref in (actor.id, "KIA_01", "KIA"):
        with pytest.raises(UnknownActor):
            actors.find(session, other, ref)
    assert actors.create(session, other, kind="character", name="KIA", trigger="KIA_01", base="tiny")


def test_delete_and_restore_lose_nothing_and_purge_erases_all(
    session: Session,
    store: files.Store,
    workspace: Workspace,
    actor: Actor,
    config: Callable[..., TrainConfig],
) -> None:
    trainings.cancel(session, trainings.start(session, actor, config()))
    with pytest.raises(WrongState, match="not in the trash"):
        actors.purge(session, store, actor)
    actors.delete(session, actor)
    assert actors.list_(session, workspace) == []
    assert actors.list_(session, workspace, deleted=True) == [actor]
    actors.restore(session, actors.find(session, workspace, "KIA", deleted=True))
    assert len(images.list_(session, actor)) == 6
    actors.delete(session, actor)
    assert actors.purge(session, store, actor) == 12
    assert store.list_("actors") == []
    for table in ("actors", "pictures", "captions", "trainings", "jobs", "training_events"):
        assert session.execute(text(f"SELECT count(*) FROM {table}")).scalar() == 0


def test_an_actor_in_training_is_not_deleted(
    session: Session, actor: Actor, config: Callable[..., TrainConfig]
) -> None:
    trainings.start(session, actor, config())
    with pytest.raises(AlreadyTraining, match="Cancel the training first"):
        actors.delete(session, actor)


def test_rename_keeps_the_trigger(session: Session, actor: Actor) -> None:
    actors.rename(session, actor, "Kia the Fox")
    assert (actor.name, actor.trigger) == ("Kia the Fox", "KIA_01")
    with pytest.raises(BadName):
        actors.rename(session, actor, "")


def test_the_same_folder_again_changes_nothing(session: Session, store: files.Store, take: Make) -> None:
    first = take()
    assert (first.created, first.unchanged, len(first.verdicts)) == (True, False, 6)
    keys = store.list_("actors")
    again = take()
    assert (again.created, again.unchanged) == (False, True)
    assert again.actor is first.actor
    assert [(v.name, v.caption) for v in again.verdicts] == [(v.name, v.caption) for v in first.verdicts]
    assert store.list_("actors") == keys


def test_a_bad_file_is_refused_again_and_is_no_change(take: Make, folder: Path) -> None:
    (folder / "x.png").write_text("no picture")
    take()
    again = take()
    assert again.unchanged
    assert [verdict.name for verdict in again.verdicts if not verdict.accepted] == ["x.png"]


def test_a_failed_import_leaves_no_actor(
    session: Session, workspace: Workspace, take: Make, folder: Path
) -> None:
    for file in list(folder.glob("*.jpg")):
        file.unlink()
    with pytest.raises(TooFewImages):
        take()
    assert actors.list_(session, workspace) == []


def test_words_are_judged_before_pictures(take: Make, folder: Path) -> None:
    shutil.rmtree(folder)
    for changes, error in (
        ({"trigger": "woman"}, BadTrigger),
        ({"name": "../"}, BadName),
        ({"base": "none"}, UnknownBase),
    ):
        with pytest.raises(error):
            take(**changes)


def test_a_trigger_of_another_actor_is_refused_with_the_way_out(
    session: Session, tmp_path: Path, take: Make
) -> None:
    take()
    bases.add(session, "other", write_base(tmp_path / "other"))
    for changes, said in (
        ({"name": "Zoe"}, "belongs to KIA"),
        ({"kind": "style"}, "is a character, not a style"),
        ({"trigger": "kia_01"}, "is written KIA_01"),
        ({"base": "other"}, "is made on the base tiny, not other"),
    ):
        with pytest.raises(TriggerTaken, match=said):
            take(**changes)
    assert take(base="other", new_version=True).actor.base == "other"


def test_a_draft_follows_its_folder(session: Session, take: Make, folder: Path) -> None:
    actor = take().actor
    (folder / "kia-5.jpg").unlink()
    draw(folder / "new.png", 77)
    (folder / "kia-0.txt").write_text("asleep")
    changed = take()
    assert not changed.unchanged
    assert [picture.original_name for picture in images.list_(session, actor)] == [
        "kia-0.png", "kia-1.jpg", "kia-2.png", "kia-3.jpg", "kia-4.png", "new.png",
    ]  # fmt: skip
    in_force = captions.all_(session, actor)
    assert in_force[images.list_(session, actor)[0].id].text == "KIA_01, asleep"
    assert take().unchanged


def test_a_trained_set_changes_only_on_request(
    session: Session, take: Make, folder: Path, config: Callable[..., TrainConfig], actor: Actor
) -> None:
    trainings.cancel(session, trainings.start(session, actor, config()))
    assert take().unchanged
    (folder / "kia-5.jpg").unlink()
    draw(folder / "new.png", 77)
    (folder / "kia-0.txt").write_text("asleep")
    with pytest.raises(ChangedDataset, match="1 new, 1 gone and 1 with another caption"):
        take()
    assert len(images.list_(session, actor)) == 6
    assert images.list_(session, actor)[-1].original_name == "kia-5.jpg"
    assert not take(new_version=True).unchanged
    assert images.list_(session, actor)[-1].original_name == "new.png"


def test_a_changed_folder_does_not_touch_a_set_in_training(
    session: Session, take: Make, folder: Path, config: Callable[..., TrainConfig], actor: Actor
) -> None:
    trainings.start(session, actor, config())
    draw(folder / "new.png", 77)
    with pytest.raises(AlreadyTraining):
        take(new_version=True)
    assert len(images.list_(session, actor)) == 6


def test_renaming_or_saving_a_file_anew_is_no_change(take: Make, folder: Path) -> None:
    take()
    (folder / "kia-4.png").rename(folder / "renamed.png")
    with Image.open(folder / "kia-2.png") as image:
        image.save(folder / "kia-2.png", compress_level=0)
    assert take().unchanged


def test_an_edit_in_the_studio_outlives_the_same_folder(session: Session, take: Make, actor: Actor) -> None:
    first = images.list_(session, actor)[0]
    captions.set_(session, first, "KIA_01, my words")
    assert take().unchanged
    assert captions.all_(session, actor)[first.id].text == "KIA_01, my words"


def test_a_dead_workers_training_does_not_keep_an_actor_for_ever(
    session: Session, actor: Actor, config: Callable[..., TrainConfig]
) -> None:
    trainings.start(session, actor, config())
    job = jobs.claim(session, "nowhere:1:1:dead")
    assert job is not None
    jobs.request_cancel(session, job)
    assert jobs.requeue_expired(session, is_gone=lambda _: True) == [job]
    actors.delete(session, actor)


def test_a_trigger_is_judged_before_there_is_an_actor(
    session: Session, workspace: Workspace, actor: Actor
) -> None:
    assert actors.check_trigger(session, workspace, "MIO_01") == "MIO_01"
    with pytest.raises(BadTrigger, match="ordinary word"):
        actors.check_trigger(session, workspace, "red")
    with pytest.raises(TriggerTaken, match="taken by KIA"):
        actors.check_trigger(session, workspace, "kia_01")
    actors.delete(session, actor)
    assert actors.check_trigger(session, workspace, "kia_01") == "kia_01"


def test_the_base_of_the_next_version_is_chosen(
    session: Session, actor: Actor, tmp_path: Path, config: Callable[..., TrainConfig]
) -> None:
    bases.add(session, "second", write_base(tmp_path / "second"))
    actors.set_base(session, actor, "second")
    assert actor.base == "second"
    with pytest.raises(UnknownBase):
        actors.set_base(session, actor, "third")
    trainings.start(session, actor, config())
    with pytest.raises(AlreadyTraining):
        actors.set_base(session, actor, "tiny")
    actors.set_base(session, actor, "second")  # the one that it has: nothing to refuse
    assert actor.base == "second"


def test_only_a_version_with_weights_of_its_own_is_put_in_use(
    session: Session, workspace: Workspace, actor: Actor, config: Callable[..., TrainConfig]
) -> None:
    first = trainings.start(session, actor, config())
    jobs.claim(session, "me")
    trainings.complete(session, first, lora_key=files.export_key(actor.id, first.id, "lora.safetensors"))
    second = trainings.start(session, actor, config(seed=1))
    with pytest.raises(WrongState, match="has no weights"):
        actors.use_version(session, actor, second)
    jobs.claim(session, "me")
    trainings.complete(session, second, lora_key=files.export_key(actor.id, second.id, "lora.safetensors"))
    assert actor.active_training_id == second.id
    actors.use_version(session, actor, first)
    assert actor.active_training_id == first.id
    other = actors.create(session, workspace, kind="style", name="Ink", trigger="INK_1", base="tiny")
    with pytest.raises(WrongState):
        actors.use_version(session, other, first)
