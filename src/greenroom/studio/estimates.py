"""What a training is expected to need before it starts: memory, and time where this studio has trained before.

Reads headers and records; loads no weights and knows no device of any worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from greenroom.db.models import RunState, Training
from greenroom.errors import UnsafeFile
from greenroom.ml.config import TrainConfig
from greenroom.ml.families import CARDS, estimate
from greenroom.ml.families.estimate import Sizes
from greenroom.studio import bases
from greenroom.studio.bases import BaseInfo

LOOKED_AT = 20
"""So many of the newest finished trainings are looked at for one to compare with."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a training needs on a GPU, in bytes and seconds; all of it about."""

    memory_bytes: int
    least_bytes: int
    """With every rung of the memory ladder that helps."""
    rungs: tuple[str, ...]
    """Those rungs, in words."""
    seconds: float | None
    """None where no finished training of this studio can be compared."""
    compared_with: str = ""
    """The base of that training."""

    def sentence(self) -> str:
        """One line for a person."""
        memory = f"about {self.memory_bytes / 1e9:.1f} GB of memory"
        if self.least_bytes < self.memory_bytes:
            memory += f" (down to {self.least_bytes / 1e9:.1f} GB where there is less)"
        if self.seconds is None:
            return f"It needs {memory}; how long it takes is told after its first steps."
        minutes = self.seconds / 60
        time = f"{minutes:.0f} minutes" if minutes >= 2 else f"{self.seconds:.0f} seconds"
        return f"It needs {memory} and about {time}, by your last training on {self.compared_with}."


def training(session: Session, base: BaseInfo, config: TrainConfig) -> Estimate | None:
    """The estimate for one training; None when the base's files cannot be read."""
    sizes = _sizes(base)
    if sizes is None:
        return None
    card = CARDS[base.family]
    item_bytes = 4 if config.dtype == "float32" else 2
    need = estimate.memory(sizes, card, config, item_bytes)
    least = estimate.fit(sizes, card, config, item_bytes, limit_bytes=0)
    seen = _seen(session, base)
    return Estimate(
        memory_bytes=need.total,
        least_bytes=least.need.total,
        rungs=tuple(rung.words for rung in least.rungs),
        seconds=estimate.flops(sizes, card, config) / seen[0] if seen else None,
        compared_with=seen[1] if seen else "",
    )


def _sizes(base: BaseInfo) -> Sizes | None:
    try:
        return estimate.sizes(Path(base.source), CARDS[base.family])
    except (OSError, UnsafeFile, KeyError):
        return None


def _seen(session: Session, wanted: BaseInfo) -> tuple[float, str] | None:
    """Arithmetic a second of the newest finished training, on this base if there is one, and its base."""
    newest = session.scalars(
        select(Training)
        .where(Training.state == RunState.DONE, Training.seconds > 0)
        .order_by(Training.created_at.desc())
        .limit(LOOKED_AT)
    ).all()
    known = {base.id: base for base in bases.list_(session)}
    for row in sorted(newest, key=lambda row: row.base != wanted.id):
        base = known.get(row.base)
        sizes = _sizes(base) if base is not None else None
        if base is None or sizes is None:
            continue
        config = TrainConfig.model_validate(row.config)
        work = estimate.flops(sizes, CARDS[base.family], config)
        if work > 0:  # a folder without weights tells nothing
            return work / row.seconds, base.id
    return None
