"""The gallery, the first two steps of Train New Model, an actor's page and the trash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from greenroom.db.models import Actor, ActorKind, ActorState, now
from greenroom.errors import BadInput, Conflict, UnknownActor
from greenroom.studio import actors, bases, captions, gallery, images, scores, trainings, triggers
from greenroom.web import curve
from greenroom.web.edge import Studio, is_part, page, see_other, settings_of, studio

router = APIRouter()

KINDS = {
    "character": ("Character", "One person, creature or mascot, to be recognised in any scene."),
    "style": ("Style", "A way of drawing: line, colour and mood, for any subject."),
}
NO_PROBLEMS = {"name": "", "trigger": ""}
STATES = ("draft", "queued", "training", "trained", "failed", "cancelled")
TRASH_DAYS = 30
"""How long the trash promises to keep; nothing is erased before the person empties it."""


@router.get("/")
def models(
    request: Request,
    q: Annotated[str, Query(max_length=100)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    after: Annotated[str, Query(max_length=40)] = "",
    deleted: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """The Model Gallery."""
    with studio(settings_of(request)) as open_:
        shown = gallery.page(open_.session, open_.workspace, search=q, state=state, after=after or None)
        gone = _in_trash(open_, deleted)
        is_busy = any(card.actor.state in {"queued", "training"} for card in shown.cards)
        values: dict[str, Any] = {
            "shown": shown,
            "q": q,
            "state": state,
            "states": STATES,
            "is_busy": is_busy,
        }
        if is_part(request):
            return page("actors/cards.html", request, **values)
        trash = gallery.page(open_.session, open_.workspace, deleted=True, limit=1)
        return page("actors/gallery.html", request, gone=gone, has_trash=bool(trash.cards), **values)


@router.get("/train")
def kind(request: Request) -> HTMLResponse:
    """Step one: Character or Style."""
    return page("actors/kind.html", request, kinds=KINDS)


@router.get("/train/check")
def check(
    request: Request,
    trigger: Annotated[str, Query(max_length=200)] = "",
    name: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    """Whether a trigger could be had, said while it is typed."""
    with studio(settings_of(request)) as open_:
        problem = _problem(lambda: actors.check_trigger(open_.session, open_.workspace, trigger))
    suggestion = triggers.suggest(name) if name and not trigger else ""
    if not trigger:
        problem = ""
    return page("actors/check.html", request, trigger=trigger, problem=problem, suggestion=suggestion)


@router.get("/train/{kind}")
def named(request: Request, kind: str) -> Response:
    """Step two: name and trigger."""
    if kind not in KINDS:
        return see_other("/train")
    return page(
        "actors/name.html", request, kind=kind, kinds=KINDS, name="", trigger="", problems=NO_PROBLEMS
    )


@router.post("/train/{kind}")
def create(
    request: Request, kind: str, name: Annotated[str, Form()] = "", trigger: Annotated[str, Form()] = ""
) -> Response:
    """Make the draft; every step from here on saves itself in it."""
    if kind not in KINDS:
        return see_other("/train")
    with studio(settings_of(request)) as open_:
        problems = {
            "name": _problem(lambda: actors.checked_name(name)),
            "trigger": _problem(
                lambda: actors.check_trigger(open_.session, open_.workspace, trigger.strip())
            ),
        }
        if any(problems.values()):
            values = {"kind": kind, "kinds": KINDS, "name": name, "trigger": trigger, "problems": problems}
            return page("actors/name.html", request, status=422, **values)
        present = [base for base in bases.list_(open_.session) if base.is_present]
        actor = actors.create(
            open_.session,
            open_.workspace,
            kind=ActorKind(kind),
            name=name,
            trigger=trigger.strip(),
            base=present[0].id if present else bases.STARTER,
        )
    return see_other(f"/actors/{actor.id}/pictures")


@router.get("/trash")
def trash(
    request: Request, after: Annotated[str, Query(max_length=40)] = "", erased: int = 0
) -> HTMLResponse:
    """Deleted actors, each with a way back."""
    with studio(settings_of(request)) as open_:
        shown = gallery.page(open_.session, open_.workspace, deleted=True, after=after or None)
        left = {
            card.actor.id: max(0, TRASH_DAYS - (now() - card.actor.deleted_at) // timedelta(days=1))
            for card in shown.cards
            if card.actor.deleted_at is not None
        }
        return page("actors/trash.html", request, shown=shown, left=left, erased=erased, problem="")


@router.post("/trash/empty")
def empty_trash(request: Request) -> RedirectResponse:
    """Erase everything in the trash: pictures, captions and weights."""
    erased = 0
    with studio(settings_of(request)) as open_:
        for actor in actors.list_(open_.session, open_.workspace, deleted=True):
            actors.purge(open_.session, open_.store, actor)
            erased += 1
    return see_other(f"/trash?erased={erased}")


@router.get("/actors/{actor_id}")
def actor(request: Request, actor_id: str) -> Response:
    """An actor: the step it waits at while it is a draft, its page once it was trained."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id)
        versions = trainings.list_(open_.session, found)
        if not versions:
            return see_other(resume_step(open_, found))
        return _actor_page(request, open_, found)


@router.post("/actors/{actor_id}/rename")
def rename(request: Request, actor_id: str, name: Annotated[str, Form()] = "") -> Response:
    """Give it another name; the trigger stays."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id)
        if problem := _problem(lambda: actors.rename(open_.session, found, name)):
            return _actor_page(request, open_, found, status=422, problem=problem, typed_name=name)
    return see_other(f"/actors/{actor_id}")


@router.post("/actors/{actor_id}/delete")
def delete(request: Request, actor_id: str) -> Response:
    """Move it to the trash."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id)
        if problem := _problem(lambda: actors.delete(open_.session, found)):
            return _actor_page(request, open_, found, status=409, problem=problem)
    return see_other(f"/?deleted={actor_id}")


@router.post("/actors/{actor_id}/restore")
def restore(request: Request, actor_id: str) -> Response:
    """Take it out of the trash."""
    with studio(settings_of(request)) as open_:
        actors.restore(open_.session, open_.actor(actor_id, deleted=True))
    return see_other(f"/actors/{actor_id}")


@router.post("/actors/{actor_id}/erase")
def erase(request: Request, actor_id: str) -> Response:
    """Erase one that is in the trash."""
    with studio(settings_of(request)) as open_:
        actors.purge(open_.session, open_.store, open_.actor(actor_id, deleted=True))
    return see_other("/trash?erased=1")


@router.post("/actors/{actor_id}/use/{training_id}")
def use(request: Request, actor_id: str, training_id: str) -> Response:
    """Make prompts use another version."""
    with studio(settings_of(request)) as open_:
        found = open_.actor(actor_id)
        actors.use_version(open_.session, found, open_.training(training_id)[0])
    return see_other(f"/actors/{actor_id}")


def resume_step(open_: Studio, actor: Actor) -> str:
    """The step of the wizard that an actor waits at."""
    pictures = images.list_(open_.session, actor)
    if len(pictures) < open_.settings.min_pictures:
        return f"/actors/{actor.id}/pictures"
    in_force = captions.all_(open_.session, actor)
    is_ready = all(
        picture.id in in_force and triggers.is_in(actor.trigger, in_force[picture.id].text)
        for picture in pictures
    )
    return f"/actors/{actor.id}/{'review' if is_ready else 'captions'}"


def _actor_page(
    request: Request,
    open_: Studio,
    actor: Actor,
    *,
    status: int = 200,
    problem: str = "",
    typed_name: str | None = None,
) -> HTMLResponse:
    session = open_.session
    versions: list[dict[str, Any]] = []
    for training in trainings.list_(session, actor):
        drawn = [row for row in trainings.checkpoints(session, training) if row.sample_keys]
        config = training.config
        versions.append(
            {
                "training": training,
                "samples": drawn[-1] if drawn else None,
                "curve": curve.of(trainings.losses(session, training), training.total_steps),
                "config": {
                    key: config.get(key)
                    for key in ("steps", "batch_size", "learning_rate", "rank", "resolution_px", "seed")
                },
                "pictures": len(training.manifest),
                "scores": (found := scores.used(session, training)),
                "word": scores.word(found),
            }
        )
    settings = [version["config"] for version in versions]
    return page(
        "actors/actor.html",
        request,
        status=status,
        actor=actor,
        card=gallery.cards(session, [actor])[0],
        pictures=images.list_(session, actor),
        versions=versions,
        changed={key for one in settings for key in one if one[key] != settings[0][key]},
        is_live=actor.state in {ActorState.QUEUED, ActorState.TRAINING},
        problem=problem,
        typed_name=actor.name if typed_name is None else typed_name,
        width=curve.WIDTH,
        height=curve.HEIGHT,
    )


def _in_trash(open_: Studio, actor_id: str) -> Actor | None:
    """The actor of that id when it is in the trash; None for any other word in the address."""
    try:
        found = open_.actor(actor_id, deleted=True)
    except UnknownActor:
        return None
    return found if found.deleted_at is not None else None


def _problem(attempt: Callable[[], object]) -> str:
    """What stands in the way of an attempt, in words; empty when nothing does."""
    try:
        attempt()
    except (BadInput, Conflict) as error:
        return str(error)
    return ""
