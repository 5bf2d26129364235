"""The last step of Train New Model, and the page of a training while it runs and after."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from greenroom.db.models import Actor, RunState, Training
from greenroom.errors import BadInput, Conflict, GreenroomError, RunFailed
from greenroom.ml.config import TrainConfig
from greenroom.studio import (
    actors,
    bases,
    captions,
    checks,
    estimates,
    images,
    jobs,
    recipes,
    scores,
    trainings,
)
from greenroom.studio.states import LIVE
from greenroom.web import curve, sse
from greenroom.web.edge import Studio, page, render, see_other, settings_of, studio

router = APIRouter()

ADVANCED: dict[str, tuple[str, type, str]] = {
    "steps": ("Steps", int, "How long it learns. Too few: not alike. Too many: stiff."),
    "batch_size": ("Pictures a step", int, "More is smoother and needs more memory."),
    "learning_rate": ("Learning rate", float, "How far each step goes."),
    "rank": ("Rank", int, "How much the LoRA can hold; its file grows with it."),
    "resolution_px": ("Resolution (px)", int, "Side of the square that is trained."),
    "seed": ("Seed", int, "The same seed and set give the same model."),
}
_LOG_LINES = 40


@router.get("/actors/{actor_id}/review")
def review(request: Request, actor_id: str) -> HTMLResponse:
    """What will be trained, what stands in the way, and the one button."""
    with studio(settings_of(request)) as open_:
        return _review(request, open_, open_.actor(actor_id))


@router.post("/actors/{actor_id}/train")
async def train(request: Request, actor_id: str) -> Response:
    """Freeze the set and start."""
    async with request.form(max_files=0, max_fields=30, max_part_size=20_000) as form:
        typed = {key: value for key, value in form.items() if isinstance(value, str)}
    return await run_in_threadpool(_train, request, actor_id, typed)


@router.get("/trainings/{training_id}")
def training(request: Request, training_id: str) -> HTMLResponse:
    """How far it is."""
    with studio(settings_of(request)) as open_:
        return _training_page(request, open_, training_id)


@router.get("/trainings/{training_id}/live")
def live(request: Request, training_id: str) -> StreamingResponse:
    """The same part again whenever something has changed."""
    settings = settings_of(request)
    with studio(settings) as open_:
        open_.training(training_id)

    def look(seen: str) -> sse.View | None:
        with studio(settings) as open_:
            row, actor = open_.training(training_id)
            mark = _mark(open_, row)
            is_over = row.state not in LIVE
            if mark == seen and not is_over:
                return None
            return sse.View(
                mark=mark, html=render("trainings/live.html", **_progress(open_, row, actor)), is_over=is_over
            )

    return sse.stream(request, look)


@router.post("/trainings/{training_id}/cancel")
def cancel(request: Request, training_id: str) -> RedirectResponse:
    """Ask for its end; what it saved is kept."""
    with studio(settings_of(request)) as open_:
        trainings.cancel(open_.session, open_.training(training_id)[0])
    return see_other(f"/trainings/{training_id}")


@router.post("/trainings/{training_id}/choose/{step}")
def choose(request: Request, training_id: str, step: int) -> Response:
    """Use another checkpoint than the one that the measures speak for."""
    with studio(settings_of(request)) as open_:
        row, _ = open_.training(training_id)
        try:
            scores.choose(open_.session, row, step)
        except Conflict as error:
            return _training_page(request, open_, training_id, status=error.http_status, problem=str(error))
    return see_other(f"/trainings/{training_id}#scores")


@router.post("/trainings/{training_id}/resume")
def resume(request: Request, training_id: str) -> Response:
    """Go on where it was stopped or broke."""
    with studio(settings_of(request)) as open_:
        _, actor = open_.training(training_id)
        try:
            started = trainings.resume(open_.session, actor)
        except (BadInput, Conflict, RunFailed) as error:
            return _training_page(request, open_, training_id, status=error.http_status, problem=str(error))
    return see_other(f"/trainings/{started.training.id}")


def _train(request: Request, actor_id: str, typed: dict[str, str]) -> Response:
    with studio(settings_of(request)) as open_:
        actor = open_.actor(actor_id)
        try:
            # Nothing of what was tried may stay when it is refused: the form shows it and sends it again.
            with open_.session.begin_nested():
                if typed.get("base"):
                    actors.set_base(open_.session, actor, typed["base"])
                config, recipe = _config(open_, actor, typed)
                started = trainings.start(open_.session, actor, config, recipe=recipe.name)
        except GreenroomError as error:
            if error.http_status == 404:
                raise
            status = error.http_status if error.http_status < 500 else 422
            return _review(request, open_, actor, status=status, problem=str(error), typed=typed)
    return see_other(f"/trainings/{started.id}")


def _config(open_: Studio, actor: Actor, typed: dict[str, str]) -> tuple[TrainConfig, recipes.Recipe]:
    base = bases.find(open_.session, actor.base)
    recipe = recipes.default_for(base.family, actor.kind)
    overrides: dict[str, Any] = {}
    for key, (label, kind, _) in ADVANCED.items():
        if text := typed.get(key, "").strip():
            try:
                overrides[key] = kind(text)
            except ValueError as error:
                raise BadInput(
                    f"{label}: {text[:40]!r} is not a number. Correct it under Advanced."
                ) from error
    prompts = [line.strip() for line in typed.get("sample_prompts", "").splitlines() if line.strip()]
    if prompts:
        overrides["sample_prompts"] = tuple(prompts[: recipes.MOST_SAMPLES])
    in_force = captions.all_(open_.session, actor)
    config = recipes.config(
        recipe,
        name=actor.name,
        trigger=actor.trigger,
        kind=actor.kind,
        base=base,
        captions=[
            in_force[picture.id].text
            for picture in images.list_(open_.session, actor)
            if picture.id in in_force
        ],
        pictures=len(images.list_(open_.session, actor)),
        **overrides,
    )
    return config, recipe


def _review(
    request: Request,
    open_: Studio,
    actor: Actor,
    *,
    status: int = 200,
    problem: str = "",
    typed: dict[str, str] | None = None,
) -> HTMLResponse:
    session = open_.session
    findings = checks.review(session, open_.store, actor)
    config, config_problem = None, ""
    try:
        config, _ = _config(open_, actor, {})
    except GreenroomError as error:
        config_problem = str(error)
    latest = trainings.latest(session, actor)
    chosen = (typed or {}).get("base") or actor.base
    known = {one.id: one for one in bases.list_(session)}
    expected = None
    if config is not None and chosen in known:
        expected = estimates.training(session, known[chosen], config)
    return page(
        "trainings/review.html",
        request,
        status=status,
        actor=actor,
        pictures=images.list_(session, actor),
        blocking=[finding for finding in findings if finding.level == checks.Level.BLOCKS],
        warnings=[finding for finding in findings if finding.level == checks.Level.WARNS],
        bases=list(known.values()),
        chosen=chosen,
        config=config,
        problem=problem or config_problem,
        can_start=config is not None and not checks.blocking(findings),
        typed=typed or {},
        advanced=ADVANCED,
        expected=expected,
        version=latest.version + 1 if latest is not None else 1,
    )


def _training_page(
    request: Request, open_: Studio, training_id: str, *, status: int = 200, problem: str = ""
) -> HTMLResponse:
    row, actor = open_.training(training_id)
    return page(
        "trainings/training.html",
        request,
        status=status,
        problem=problem,
        log=_log(open_, row),
        **_progress(open_, row, actor),
    )


def _progress(open_: Studio, row: Training, actor: Actor) -> dict[str, Any]:
    job = jobs.newest(open_.session, row.id)
    is_newest = row.version == max(one.version for one in trainings.list_(open_.session, actor))
    is_measuring = row.phase == "train" and row.total_steps
    return {
        "training": row,
        "actor": actor,
        "is_live": row.state in LIVE,
        "is_stopping": bool(job and job.cancel_requested and row.state in LIVE),
        "can_resume": is_newest and row.state in {RunState.FAILED, RunState.CANCELLED},
        "share": row.step / row.total_steps if is_measuring else (1 if row.state == RunState.DONE else 0),
        "strips": [one for one in trainings.checkpoints(open_.session, row) if one.sample_keys],
        "prompts": row.config.get("sample_prompts") or [],
        "curve": curve.of(trainings.losses(open_.session, row), row.total_steps),
        "scores": (measured := scores.of(open_.session, row)),
        "score_lines": curve.of_scores(measured, row.total_steps),
        "word": scores.word(scores.used(open_.session, row)),
        "best": scores.best(open_.session, row),
        "choices": scores.choices(open_.session, row),
        "width": curve.WIDTH,
        "height": curve.HEIGHT,
    }


def _mark(open_: Studio, row: Training) -> str:
    """What the live part depends on: the newest event, the state and whether its end was asked for."""
    newest = trainings.newest_event(open_.session, row)
    job = jobs.newest(open_.session, row.id)
    return f"{newest}-{row.state}-{int(bool(job and job.cancel_requested))}"


def _log(open_: Studio, row: Training) -> list[str]:
    """The last lines that the run told, in words."""
    said = []
    for event in trainings.events(open_.session, row.id)[-_LOG_LINES:]:
        told = event.json
        kind = told.get("event")
        clock = f"{event.created_at:%H:%M:%S}"
        if kind == "progress":
            loss = f", loss {told['loss']:.4f}" if told.get("loss") is not None else ""
            said.append(f"{clock}  {told['phase']} {told['step']}/{told['total_steps']}{loss}")
        elif kind == "note":
            said.append(f"{clock}  {told['text']}")
        elif kind == "saved":
            said.append(f"{clock}  saved step {told['step']}")
        elif kind == "measured":
            found = told["scores"]
            said.append(f"{clock}  measured step {told['step']}: likeness {found['likeness']:.2f}")
        elif kind == "sample":
            said.append(f"{clock}  drew a sample at step {told['step']}")
        else:
            said.append(f"{clock}  {kind}")
    return said
