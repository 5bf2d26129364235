"""Every table, read top to bottom. Knows no rules beyond keys, uniqueness and which states exist."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator

# Lower case only, so that ids stay distinct as folder names on file systems that ignore case; no look-alikes.
_ID_LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"


def new_id(prefix: str) -> str:
    """A fresh id such as "act_k3v9…": 12 random characters (60 bits), safe in URLs and as a folder name."""
    return f"{prefix}_" + "".join(secrets.choice(_ID_LETTERS) for _ in range(12))


def now() -> datetime:
    """The time, aware, in UTC."""
    return datetime.now(UTC)


class UtcTime(TypeDecorator[datetime]):
    """Aware UTC in Python on every database; SQLite itself forgets the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("times must be aware")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ActorKind(StrEnum):
    CHARACTER = "character"
    STYLE = "style"


class ActorState(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    TRAINING = "training"
    TRAINED = "trained"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunState(StrEnum):
    """State of a training, a generation or a job."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class CaptionSource(StrEnum):
    UPLOADED = "uploaded"
    GENERATED = "generated"
    EDITED = "edited"


class JobKind(StrEnum):
    TRAIN = "train"
    GENERATE = "generate"


def _enum(kind: type[StrEnum]) -> Enum:
    # NOTE: stored as plain text by value: a new state then needs no migration on Postgres.
    return Enum(kind, native_enum=False, create_constraint=False, length=16, values_callable=list)


def _id(prefix: str) -> Mapped[str]:
    return mapped_column(String(20), primary_key=True, default=lambda: new_id(prefix))


class Table(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        datetime: UtcTime,
        dict[str, Any]: JSON,
        list[Any]: JSON,
        ActorKind: _enum(ActorKind),
        ActorState: _enum(ActorState),
        RunState: _enum(RunState),
        CaptionSource: _enum(CaptionSource),
        JobKind: _enum(JobKind),
    }


class Workspace(Table):
    """Everything that one group of people shares."""

    __tablename__ = "workspaces"

    id: Mapped[str] = _id("wsp")
    name: Mapped[str] = mapped_column(String(255))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Base(Table):
    """A base model that the person added. The built-in starter has no row."""

    __tablename__ = "bases"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    family: Mapped[str] = mapped_column(String(32))
    source: Mapped[str] = mapped_column(Text)
    native_px: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Actor(Table):
    """A character or a style, from its first picture to its trained LoRA."""

    __tablename__ = "actors"
    __table_args__ = (
        # Only live actors hold their trigger; that of a deleted one is free again.
        Index(
            "uq_actors_live_trigger",
            "workspace_id",
            "trigger_key",
            unique=True,
            sqlite_where=text("deleted_at IS NULL"),
            postgresql_where=text("deleted_at IS NULL"),
        ),
        Index("ix_actors_gallery", "workspace_id", "deleted_at", "created_at"),
    )

    id: Mapped[str] = _id("act")
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    kind: Mapped[ActorKind]
    name: Mapped[str] = mapped_column(String(255))
    trigger: Mapped[str] = mapped_column(String(64))
    trigger_key: Mapped[str] = mapped_column(String(64))
    """The trigger in lower case: triggers are unique without regard to case."""
    state: Mapped[ActorState] = mapped_column(default=ActorState.DRAFT)
    base: Mapped[str] = mapped_column(String(64))
    active_training_id: Mapped[str | None] = mapped_column(String(20))
    """The version that prompts use. No foreign key: it would close a circle with trainings.actor_id."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]

    pictures: Mapped[list[Picture]] = relationship(
        primaryjoin="and_(Actor.id == Picture.actor_id, Picture.removed_at.is_(None))",
        order_by="Picture.position",
        viewonly=True,
    )


class Picture(Table):
    """One training picture: upright RGB PNG in the store, without metadata."""

    __tablename__ = "pictures"
    __table_args__ = (Index("ix_pictures_actor_id_position", "actor_id", "position"),)

    id: Mapped[str] = _id("pic")
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id", ondelete="CASCADE"))
    sha256: Mapped[str] = mapped_column(String(64))
    """Of the stored PNG file."""
    pixels_sha256: Mapped[str] = mapped_column(String(64))
    """Of size and RGB bytes: the same for the same picture in any file format."""
    upload_sha256: Mapped[str] = mapped_column(String(64))
    """Of the file as it was uploaded."""
    size_bytes: Mapped[int]
    """Of the file as it was uploaded."""
    width_px: Mapped[int]
    height_px: Mapped[int]
    original_name: Mapped[str] = mapped_column(String(255))
    """For showing only; never part of a path."""
    notes: Mapped[list[Any]] = mapped_column(default=list)
    """Sentences on what was changed on the way in, such as "transparency was put on white"."""
    key: Mapped[str] = mapped_column(String(255))
    thumbnail_key: Mapped[str] = mapped_column(String(255))
    position: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
    removed_at: Mapped[datetime | None]
    """Taken out of the set; its file stays until the actor is purged, as older versions used it."""


class Caption(Table):
    """One wording of a picture's caption. Every edit is a new row; the highest revision is in force."""

    __tablename__ = "captions"
    __table_args__ = (UniqueConstraint("picture_id", "revision"), Index("ix_captions_batch", "batch"))

    id: Mapped[str] = _id("cap")
    picture_id: Mapped[str] = mapped_column(ForeignKey("pictures.id", ondelete="CASCADE"))
    revision: Mapped[int]
    """1, 2, 3… for each picture; two edits of the same revision cannot both be saved."""
    text: Mapped[str] = mapped_column(Text)
    source: Mapped[CaptionSource]
    batch: Mapped[str | None] = mapped_column(String(20))
    """The bulk edit that wrote it, so that the whole edit can be undone."""
    undoes: Mapped[str | None] = mapped_column(String(20))
    """The bulk edit that it took back."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Training(Table):
    """One version of an actor: what went in (frozen), how far it is, what came out."""

    __tablename__ = "trainings"
    __table_args__ = (
        UniqueConstraint("actor_id", "version"),
        # Two trainings of one actor at once are refused by the database itself.
        Index(
            "uq_trainings_one_live",
            "actor_id",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )

    id: Mapped[str] = _id("trn")
    actor_id: Mapped[str] = mapped_column(ForeignKey("actors.id", ondelete="CASCADE"))
    version: Mapped[int]
    recipe: Mapped[str] = mapped_column(String(64), default="")
    base: Mapped[str] = mapped_column(String(64))
    config: Mapped[dict[str, Any]]
    """TrainConfig as JSON."""
    manifest: Mapped[list[Any]]
    """[{picture_id, key, sha256, pixels_sha256, caption}] in training order."""
    state: Mapped[RunState] = mapped_column(default=RunState.QUEUED)
    phase: Mapped[str] = mapped_column(String(32), default="")
    step: Mapped[int] = mapped_column(default=0)
    total_steps: Mapped[int] = mapped_column(default=0)
    loss: Mapped[float | None]
    seconds: Mapped[float] = mapped_column(default=0.0)
    seconds_left: Mapped[float | None]
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lora_key: Mapped[str | None] = mapped_column(String(255))
    kohya_key: Mapped[str | None] = mapped_column(String(255))
    chosen_step: Mapped[int | None]


class Checkpoint(Table):
    """One saved step of a training, with the sample pictures drawn at it."""

    __tablename__ = "checkpoints"
    __table_args__ = (UniqueConstraint("training_id", "step"),)

    id: Mapped[str] = _id("chk")
    training_id: Mapped[str] = mapped_column(ForeignKey("trainings.id", ondelete="CASCADE"))
    step: Mapped[int]
    key: Mapped[str | None] = mapped_column(String(255))
    scores: Mapped[dict[str, Any] | None]
    """Null means "not measured"."""
    sample_keys: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)


class TrainingEvent(Table):
    """One event of a training as it came; replayed to whoever watches."""

    __tablename__ = "training_events"
    __table_args__ = (Index("ix_training_events_training_id_id", "training_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    training_id: Mapped[str] = mapped_column(ForeignKey("trainings.id", ondelete="CASCADE"))
    json: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)


class Generation(Table):
    """One request for pictures, as asked and as resolved."""

    __tablename__ = "generations"
    __table_args__ = (Index("ix_generations_history", "workspace_id", "created_at"),)

    id: Mapped[str] = _id("gen")
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    request: Mapped[dict[str, Any]]
    """What was asked and the actors it named: see studio.generations.Plan."""
    state: Mapped[RunState] = mapped_column(default=RunState.QUEUED)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]


class MadePicture(Table):
    """One picture that was drawn."""

    __tablename__ = "made_pictures"
    __table_args__ = (Index("ix_made_pictures_generation_id", "generation_id"),)

    id: Mapped[str] = _id("mad")
    generation_id: Mapped[str] = mapped_column(ForeignKey("generations.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(255))
    seed: Mapped[int] = mapped_column(BigInteger)
    prompt: Mapped[str] = mapped_column(Text)
    width_px: Mapped[int]
    height_px: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
    deleted_at: Mapped[datetime | None]


class Job(Table):
    """One piece of work for a worker; the only queue there is."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_state_created_at", "state", "created_at"),
        Index("ix_jobs_target_id", "target_id"),
        # The same training or generation is never queued twice.
        Index(
            "uq_jobs_one_live",
            "target_id",
            unique=True,
            sqlite_where=text("state IN ('queued', 'running')"),
            postgresql_where=text("state IN ('queued', 'running')"),
        ),
    )

    id: Mapped[str] = _id("job")
    kind: Mapped[JobKind]
    target_id: Mapped[str] = mapped_column(String(20))
    """Id of the training or generation."""
    state: Mapped[RunState] = mapped_column(default=RunState.QUEUED)
    attempt: Mapped[int] = mapped_column(default=0)
    """How often it was claimed."""
    lease_until: Mapped[datetime | None]
    worker_id: Mapped[str | None] = mapped_column(String(255))
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    error_code: Mapped[str | None] = mapped_column(String(64))
    error_text: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(default=now)
    finished_at: Mapped[datetime | None]
