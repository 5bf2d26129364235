"""Advice on what a set of pictures shows, from what vision measured: each picture, and the set as a whole.

Knows numbers and sentences; opens no picture. Everything here warns or informs and never blocks: a person may
have reasons. The thresholds stand in one table; benchmarks/calibrate_checks.py measures how well they hold.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenroom.studio.findings import Finding, Level

if TYPE_CHECKING:
    from greenroom.vision.faces import Face
    from greenroom.vision.look import Look


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Where a measure becomes a finding. Lightness runs from 0 to 100."""

    blurred_edge_px: float = 2.7
    """A picture whose sharper edges are wider is blurred, or was enlarged."""
    dark_brightest: float = 45.0
    """A head whose brightest twentieth is darker is too dark."""
    bright_darkest: float = 38.0
    """A picture whose darkest twentieth is lighter may be too bright …"""
    bright_rise: float = 12.0
    """… and is, when that is this much lighter than is usual in the set …"""
    bright_face_rise: float = 6.0
    """… and so is the face (or the middle, without one) as a whole."""
    flat_contrast: float = 8.0
    """A picture whose light and dark ends are nearer is flat."""
    clipped_share: float = 0.25
    """A photo with more pixels at the very end of the range has lost detail there."""
    twin_difference: float = 6.6
    """Two pictures that differ less, in Lab units at 24 × 24, are one picture twice."""
    odd_colour: float = 13.5
    """A face whose colour lies further from the set's, in Lab units, has other light or a tint."""
    one_hue: float = 0.975
    """A picture whose colours are this much of one hue is filtered …"""
    usual_hue: float = 0.93
    """… unless the whole set is that way …"""
    filtered_colour: float = 6.0
    """… or its face has the set's colour all the same."""
    stranger_spreads: float = 4.0
    """A picture that stands this many times further from the others than is usual in its set is of another."""
    stranger_drop: float = 0.14
    """And at least this far in likeness, so that a very even set has no strangers."""
    cohesion: float = 1.85
    """A set whose pictures are usually less alike, of 3, is of several characters."""
    second_face_share: float = 0.5
    """A second face of at least this height against the first counts as a second person."""
    second_face_score: float = 0.5
    most_have_faces: float = 0.6
    """From this share of pictures with a face on, a picture without one is worth a word."""
    same_ground: float = 8.0
    """Grounds nearer than this, in Lab units, are one ground."""
    close_up_share: float = 0.42
    half_share: float = 0.16
    """A face of this height against the picture makes it a close-up; below the second, a full figure."""


THRESHOLDS = Thresholds()
_MIN_SET = 5


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A picture with what was measured on it."""

    name: str
    look: Look
    picture_id: str | None = None


def on(seen: Sequence[Seen], *, kind: str, native_px: int) -> list[Finding]:
    """Everything worth saying about these pictures, for an actor of this kind and a base of this size."""
    found: list[Finding] = []
    if not seen:
        return found
    usual_darkest = _median([item.look.light.darkest for item in seen])
    usual_face = _median([item.look.figure.colour[0] for item in seen])
    for item in seen:
        found += _sharpness(item, native_px)
        found += _light(item, usual_darkest, usual_face)
    found += _twins(seen)
    found += _colours(seen, {finding.picture for finding in found if finding.code in _EXPLAINS_COLOUR})
    if kind == "character":
        found += _faces(seen)
        found += _strangers(
            seen, {finding.picture for finding in found if finding.code in _EXPLAINS_STRANGER}
        )
    return [*found, *_coverage(seen, kind)]


# What changes the colours of a picture also makes it unlike the others; it is told once, by its cause.
_EXPLAINS_COLOUR = ("too_dark", "too_bright", "flat")
_EXPLAINS_STRANGER = (*_EXPLAINS_COLOUR, "filtered")


def not_measured(missing: Sequence[str], remedy: str) -> list[Finding]:
    """That something could not be looked at, as silence would read as praise."""
    if not missing:
        return []
    return [
        Finding(
            code="not_measured",
            level=Level.INFORMS,
            value=", ".join(missing),
            message="Not measured, as models are missing or damaged: " + ", ".join(missing) + ".",
            remedy=f"Fetch them once: {remedy}",
        )
    ]


def _finding(
    item: Seen,
    code: str,
    value: float | str,
    threshold: float | str,
    message: str,
    remedy: str,
    action: str,
    level: Level = Level.WARNS,
) -> Finding:
    return Finding(
        code=code,
        level=level,
        picture=item.name,
        picture_id=item.picture_id,
        value=round(value, 2) if isinstance(value, float) else value,
        threshold=threshold,
        message=message,
        remedy=remedy,
        action=action,
    )


def _sharpness(item: Seen, native_px: int) -> Iterator[Finding]:
    width = item.look.edge_px(native_px)
    if width is not None and width > THRESHOLDS.blurred_edge_px:
        yield _finding(
            item,
            "blurred",
            width,
            THRESHOLDS.blurred_edge_px,
            f"{item.name} is blurred or was enlarged: its edges are {width:.1f} pixels wide.",
            "Replace it by a sharper one; the actor learns the blur, too.",
            "replace",
        )


def _light(item: Seen, usual_darkest: float, usual_face: float) -> Iterator[Finding]:
    whole, figure = item.look.light, item.look.figure
    brightest, darkest = max(figure.brightest, whole.brightest), min(figure.darkest, whole.darkest)
    rise, face_rise = whole.darkest - usual_darkest, figure.colour[0] - usual_face
    if brightest < THRESHOLDS.dark_brightest:
        yield _finding(
            item,
            "too_dark",
            brightest,
            THRESHOLDS.dark_brightest,
            f"{item.name} is too dark: its brightest parts reach a lightness of {brightest:.0f} of 100.",
            "Brighten it, or replace it by one in better light.",
            "replace",
        )
    elif (
        darkest > THRESHOLDS.bright_darkest
        and rise > THRESHOLDS.bright_rise
        and face_rise > THRESHOLDS.bright_face_rise
    ):
        yield _finding(
            item,
            "too_bright",
            darkest,
            THRESHOLDS.bright_darkest,
            f"{item.name} is too bright or hazy: its darkest parts have a lightness of {darkest:.0f} of 100, "
            f"{rise:.0f} more than is usual in this set.",
            "Replace it by one with less light, or without the haze.",
            "replace",
        )
    elif whole.contrast < THRESHOLDS.flat_contrast:
        yield _finding(
            item,
            "flat",
            whole.contrast,
            THRESHOLDS.flat_contrast,
            f"{item.name} has hardly any contrast ({whole.contrast:.0f} of 100).",
            "Replace it by one in which light and dark differ.",
            "replace",
        )
    if not item.look.is_drawn and whole.clipped > THRESHOLDS.clipped_share:
        yield _finding(
            item,
            "clipped",
            whole.clipped,
            THRESHOLDS.clipped_share,
            f"{item.name} has lost detail: {whole.clipped:.0%} of it is pure white or black.",
            "Replace it by one with softer light.",
            "replace",
        )


def _twins(seen: Sequence[Seen]) -> Iterator[Finding]:
    from greenroom.vision import measures

    for at, item in enumerate(seen):
        for other in seen[:at]:
            apart = measures.difference(item.look.fingerprint, other.look.fingerprint)
            if apart < THRESHOLDS.twin_difference:
                yield _finding(
                    item,
                    "near_duplicate",
                    other.name,
                    THRESHOLDS.twin_difference,
                    f"{item.name} is almost the same picture as {other.name} (difference {apart:.1f}).",
                    "Keep the better one of the two; the same picture twice is learned by heart.",
                    "remove",
                )
                break


def _faces(seen: Sequence[Seen]) -> Iterator[Finding]:
    looked = [item for item in seen if item.look.faces is not None]
    with_face = [item for item in looked if item.look.faces]
    if looked and not with_face:
        yield Finding(
            code="no_faces",
            level=Level.INFORMS,
            value=0,
            message="No face was found in any picture.",
            remedy="Nothing, if it is a creature or a thing. For a person, add pictures that show the face.",
        )
        return
    if len(with_face) >= THRESHOLDS.most_have_faces * len(looked):
        for item in looked:
            if not item.look.faces:
                yield _finding(
                    item,
                    "no_face",
                    0,
                    1,
                    f"No face was found in {item.name}.",
                    "Keep it if the face is there to see; else replace it by one that shows the face.",
                    "keep",
                )
    for item in with_face:
        others = [face for face in item.look.faces or () if _is_second(face, item.look)]
        if others:
            yield _finding(
                item,
                "several_faces",
                1 + len(others),
                1,
                f"{item.name} shows {1 + len(others)} faces; the actor would learn a mixture of them.",
                "Crop it to the one face, or remove it.",
                "crop",
            )


def _is_second(face: Face, look: Look) -> bool:
    first = look.face
    assert first is not None
    if face is first or face.score < THRESHOLDS.second_face_score:
        return False
    # A face inside the first one's head is an eye or a pattern.
    apart = math.hypot(
        (face.left + face.right - first.left - first.right) / 2,
        (face.top + face.bottom - first.top - first.bottom) / 2,
    )
    return face.height >= THRESHOLDS.second_face_share * first.height and apart > first.height * 0.7


def _strangers(seen: Sequence[Seen], explained: set[str | None]) -> Iterator[Finding]:
    from greenroom.vision import likeness

    found = [item.look for item in seen]
    cohesion, apart = likeness.cohesion(found), likeness.apart(found)
    if len(seen) < _MIN_SET or cohesion is None or apart is None:
        return
    # The thresholds come from drawings; photos of one person differ more, so there it is only a hint.
    is_drawn = sum(look.is_drawn for look in found) > len(found) / 2
    level = Level.WARNS if is_drawn else Level.INFORMS
    if cohesion < THRESHOLDS.cohesion:
        yield Finding(
            code="many_characters",
            level=level,
            value=round(cohesion, 2),
            threshold=THRESHOLDS.cohesion,
            message="The pictures seem to show several characters: they are less alike than pictures of one are.",
            remedy="Make an actor of each character, or train a style. Approximate: judge by eye.",
        )
        return
    for item, one in zip(seen, apart, strict=True):
        if item.name in explained:
            continue
        if one.spreads > THRESHOLDS.stranger_spreads and one.drop > THRESHOLDS.stranger_drop:
            yield _finding(
                item,
                "other_character",
                one.spreads,
                THRESHOLDS.stranger_spreads,
                f"{item.name} may show another character: it stands {one.spreads:.0f} times as far from the "
                "others as is usual in this set.",
                "Look at it; remove it if it is not the same one. Approximate: judge by eye.",
                "remove",
                level,
            )


def _colours(seen: Sequence[Seen], explained: set[str | None]) -> Iterator[Finding]:
    if len(seen) < _MIN_SET:
        return
    with_face = [item for item in seen if item.look.face]
    has_faces = len(with_face) >= max(_MIN_SET, THRESHOLDS.most_have_faces * len(seen))
    compared = with_face if has_faces else seen
    usual = [_median([item.look.figure.colour[axis] for item in compared]) for axis in range(3)]
    usual_hue = _median([item.look.light.one_hue for item in seen])
    for item in seen:
        if item.name in explained:
            continue
        apart, one_hue = math.dist(item.look.figure.colour, usual), item.look.light.one_hue
        if (
            one_hue > THRESHOLDS.one_hue
            and usual_hue < THRESHOLDS.usual_hue
            and apart > THRESHOLDS.filtered_colour
        ):
            yield _finding(
                item,
                "filtered",
                one_hue,
                THRESHOLDS.one_hue,
                f"{item.name} is in one hue, such as sepia or black-and-white, and the others are not.",
                "Use the unfiltered original, or remove it.",
                "replace",
            )
        # Without a face the ground would be compared, and grounds should differ.
        elif has_faces and item.look.face and apart > THRESHOLDS.odd_colour:
            yield _finding(
                item,
                "odd_colours",
                apart,
                THRESHOLDS.odd_colour,
                f"{item.name} has other light or a tint: its face lies {apart:.0f} steps of colour from the set's.",
                "Use the original, or one in the light of the others.",
                "replace",
                Level.INFORMS,  # half of those it names are nothing to mind: see docs/checks.md
            )


def _coverage(seen: Sequence[Seen], kind: str) -> Iterator[Finding]:
    if len(seen) < _MIN_SET:
        return
    if kind == "character":
        yield from _views(seen)
        yield from _framing(seen)
    grounds: list[tuple[float, float, float]] = []
    for item in seen:
        if all(math.dist(item.look.ground, known) > THRESHOLDS.same_ground for known in grounds):
            grounds.append(item.look.ground)
    if len(grounds) == 1 and kind == "character":
        yield Finding(
            code="one_background",
            level=Level.WARNS,
            value=1,
            threshold=2,
            message=f"All {len(seen)} pictures have the same background; it will come along wherever you cast it.",
            remedy="Add 3 pictures in front of other backgrounds, or say the background in every caption.",
        )


def _views(seen: Sequence[Seen]) -> Iterator[Finding]:
    views = [face.view for item in seen if (face := item.look.face) and face.view]
    if len(views) < max(_MIN_SET, len(seen) / 2):
        return  # too little to say anything: drawings often cannot be measured
    kinds = {view.partition(" ")[0] for view in views}
    lacking = [word for word in ("front", "three-quarter", "profile") if word not in kinds]
    sides = {view.rpartition(" ")[2] for view in views if " " in view}
    if len(kinds) == 1:
        lacked = " or ".join(lacking)
        yield Finding(
            code="one_view",
            level=Level.INFORMS,
            value=next(iter(kinds)),
            message=f"All {len(views)} heads whose view could be told are {next(iter(kinds))}: {lacked} will be weak.",
            remedy="If the character can turn, add 2 three-quarter pictures from each side and 1 profile.",
        )
    elif len(sides) == 1:
        side = next(iter(sides))
        other = "left" if side == "right" else "right"
        yield Finding(
            code="one_side",
            level=Level.INFORMS,
            value=side,
            message=f"Every turned head faces {side}: facing {other} will be a guess.",
            remedy=f"Add 2 pictures that face {other}.",
        )


def framing(face: Face) -> str:
    """close-up, half figure or full figure, by the height of the face in the picture."""
    if face.height >= THRESHOLDS.close_up_share:
        return "close-up"
    return "half figure" if face.height >= THRESHOLDS.half_share else "full figure"


def _framing(seen: Sequence[Seen]) -> Iterator[Finding]:
    framings = [framing(face) for item in seen if (face := item.look.face)]
    if len(framings) < max(_MIN_SET, len(seen) / 2) or len(set(framings)) > 1:
        return
    others = [word for word in ("close-up", "half figure", "full figure") if word != framings[0]]
    yield Finding(
        code="one_framing",
        level=Level.INFORMS,
        value=framings[0],
        message=f"Every face is framed as a {framings[0]}: {' and '.join(others)} will be weaker.",
        remedy=f"Add 2 pictures of each: {', '.join(others)}.",
    )


def _median(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
