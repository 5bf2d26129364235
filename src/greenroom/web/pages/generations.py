"""The Generate page: one prompt box, pictures as they come, and everything that was ever drawn."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from greenroom.db.models import ActorState, Generation
from greenroom.errors import GreenroomError, UnknownPicture
from greenroom.ml.families import CARDS
from greenroom.studio import bases, gallery, generations, jobs
from greenroom.studio.bases import BaseInfo
from greenroom.studio.states import LIVE
from greenroom.web import sse
from greenroom.web.edge import Studio, page, render, see_other, settings_of, studio

router = APIRouter()

_COUNTS = (1, 2, 4, 8)
_HISTORY = 48
_EMPTY = {"prompt": "", "negative": "", "count": "4", "size": "", "seed": "", "weight": "1", "guidance": ""}


@router.get("/generate")
def generate(
    request: Request,
    g: Annotated[str, Query(max_length=40)] = "",
    of: Annotated[str, Query(max_length=40)] = "",
    recall: Annotated[str, Query(max_length=10)] = "all",
    actor: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """The prompt box; g: with the pictures of that request below it; of: with what made a picture filled in."""
    with studio(settings_of(request)) as open_:
        typed = dict(_EMPTY)
        if of:
            made = generations.find_picture(open_.session, open_.workspace, of)
            typed |= _typed(open_.generation(made.generation_id), recall, seed=made.seed)
        elif g:
            typed |= _typed(open_.generation(g), "all")
        elif actor:
            typed["prompt"] = f"@{open_.actor(actor).trigger}, "
        return _page(request, open_, typed, shown=open_.generation(g) if g else None)


@router.post("/generations")
def start(
    request: Request,
    prompt: Annotated[str, Form(max_length=20_000)] = "",
    negative: Annotated[str, Form(max_length=20_000)] = "",
    count: Annotated[str, Form(max_length=10)] = "1",
    size: Annotated[str, Form(max_length=20)] = "",
    seed: Annotated[str, Form(max_length=30)] = "",
    weight: Annotated[str, Form(max_length=20)] = "1",
    guidance: Annotated[str, Form(max_length=20)] = "",
) -> Response:
    """Queue a request."""
    typed = {
        "prompt": prompt, "negative": negative, "count": count, "size": size, "seed": seed, "weight": weight,
        "guidance": guidance,
    }  # fmt: skip
    with studio(settings_of(request)) as open_:
        width, _, height = size.partition("x")
        try:
            asked = generations.request(
                prompt=prompt,
                negative=negative,
                count=count,
                seed=seed.strip() or None,
                width_px=width or None,
                height_px=height or None,
                weight=weight.strip() or 1.0,
                guidance=guidance.strip() or None,
            )
            with open_.session.begin_nested():
                generation = generations.start(open_.session, open_.workspace, asked)
        except GreenroomError as error:
            status = error.http_status if error.http_status < 500 else 422
            return _page(request, open_, typed, status=status, problem=str(error))
    return see_other(f"/generate?g={generation.id}")


@router.get("/generations/{generation_id}/live")
def live(request: Request, generation_id: str) -> StreamingResponse:
    """The pictures of a request as they come."""
    settings = settings_of(request)
    with studio(settings) as open_:
        open_.generation(generation_id)

    def look(seen: str) -> sse.View | None:
        with studio(settings) as open_:
            values = _result(open_, open_.generation(generation_id))
            mark = f"{values['generation'].state}-{len(values['pictures'])}"
            if mark == seen and values["is_live"]:
                return None
            html = render("generations/live.html", **values)
            return sse.View(mark=mark, html=html, is_over=not values["is_live"])

    return sse.stream(request, look)


@router.post("/generations/{generation_id}/cancel")
def cancel(request: Request, generation_id: str) -> RedirectResponse:
    """Stop drawing; what was drawn is kept."""
    with studio(settings_of(request)) as open_:
        generation = open_.generation(generation_id)
        jobs.request_cancel(open_.session, generations.job(open_.session, generation))
    return see_other(f"/generate?g={generation_id}")


@router.get("/history")
def history(
    request: Request,
    q: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[str, Query(max_length=40)] = "",
    deleted: Annotated[str, Query(max_length=40)] = "",
) -> HTMLResponse:
    """Everything that was drawn, newest first."""
    with studio(settings_of(request)) as open_:
        found = generations.recent(
            open_.session, open_.workspace, search=q, before=before or None, limit=_HISTORY + 1
        )
        return page(
            "generations/history.html",
            request,
            pictures=found[:_HISTORY],
            next=found[_HISTORY - 1].id if len(found) > _HISTORY else None,
            q=q,
            is_first=not before,
            deleted=_deleted(open_, deleted),
        )


@router.get("/made/{picture_id}")
def made(request: Request, picture_id: str) -> HTMLResponse:
    """One picture and its full request."""
    with studio(settings_of(request)) as open_:
        picture = generations.find_picture(open_.session, open_.workspace, picture_id)
        plan = generations.plan(open_.generation(picture.generation_id))
        return page("generations/made.html", request, picture=picture, plan=plan)


@router.post("/made/{picture_id}/delete")
def delete(request: Request, picture_id: str) -> RedirectResponse:
    """Hide a picture."""
    with studio(settings_of(request)) as open_:
        picture = generations.find_picture(open_.session, open_.workspace, picture_id)
        generations.delete_picture(open_.session, picture)
    return see_other(f"/history?deleted={picture_id}")


@router.post("/made/{picture_id}/restore")
def restore(request: Request, picture_id: str) -> RedirectResponse:
    """Show it again."""
    with studio(settings_of(request)) as open_:
        picture = generations.find_picture(open_.session, open_.workspace, picture_id)
        generations.restore_picture(open_.session, picture)
    return see_other(f"/made/{picture_id}")


def _page(
    request: Request,
    open_: Studio,
    typed: dict[str, str],
    *,
    status: int = 200,
    problem: str = "",
    shown: Generation | None = None,
) -> HTMLResponse:
    # The newest two hundred: whoever has more types the trigger.
    everybody = gallery.page(open_.session, open_.workspace, limit=200).cards
    cast = [card for card in everybody if card.active is not None]
    known = bases.list_(open_.session)
    made_on = {card.active.base for card in cast if card.active is not None}
    base = next((info for info in known if info.id in made_on), known[0])
    is_waiting = any(card.actor.state in {ActorState.QUEUED, ActorState.TRAINING} for card in everybody)
    return page(
        "generations/generate.html",
        request,
        status=status,
        typed=typed,
        problem=problem,
        cast=cast,
        counts=_COUNTS,
        sizes=_sizes(base),
        is_waiting=is_waiting,
        latest=generations.recent(open_.session, open_.workspace, limit=12) if shown is None else [],
        result=_result(open_, shown) if shown is not None else None,
    )


def _deleted(open_: Studio, picture_id: str) -> str:
    """The id when it is that of a deleted picture. Any other word of the address never reaches a form."""
    try:
        made = generations.find_picture(open_.session, open_.workspace, picture_id)
    except UnknownPicture:
        return ""
    return made.id if made.deleted_at is not None else ""


def _result(open_: Studio, generation: Generation) -> dict[str, Any]:
    plan = generations.plan(generation)
    drawn = generations.pictures(open_.session, generation)
    is_live = generation.state in LIVE
    return {
        "generation": generation,
        "plan": plan,
        "pictures": drawn,
        "missing": max(plan.request.count - len(drawn), 0) if is_live else 0,
        "is_live": is_live,
    }


def _typed(generation: Generation, recall: str, *, seed: int | None = None) -> dict[str, str]:
    """The form as it was, the same without its seed (remix), only its prompt, or only its seed."""
    plan = generations.plan(generation)
    asked = plan.request
    chosen = str(plan.seed if seed is None else seed)
    if recall == "seed":
        return {"seed": chosen}
    if recall == "prompt":
        return {"prompt": asked.prompt}
    is_one = seed is not None and recall != "remix"
    return {
        "prompt": asked.prompt,
        "negative": asked.negative,
        "count": "1" if is_one else str(asked.count),
        "size": f"{plan.width_px}x{plan.height_px}",
        # A request that left the seed open stays open when it is looked at, and is fixed when it is recalled.
        "seed": chosen if recall != "remix" and (is_one or asked.seed is not None) else "",
        "weight": f"{asked.weight:g}",
        "guidance": "" if asked.guidance is None else f"{asked.guidance:g}",
    }


def _sizes(base: BaseInfo) -> list[tuple[str, str]]:
    """Square, portrait and landscape, in sizes that the base can draw."""
    multiple = CARDS[base.family].size_multiple_px
    long = base.native_px
    short = max(multiple, round(long * 3 / 4 / multiple) * multiple)
    return [
        (f"{long}x{long}", f"Square {long} × {long}"),
        (f"{short}x{long}", f"Portrait {short} × {long}"),
        (f"{long}x{short}", f"Landscape {long} × {short}"),
    ]
