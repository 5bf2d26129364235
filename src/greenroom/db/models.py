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


class Role(StrEnum):
    """What a member of a workspace may do: everything; everything but members and keys; look."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class KeyScope(StrEnum):
    """What an API key may do."""

    READ = "read"
    WRITE = "write"


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
        Role: _enum(Role),
        KeyScope: _enum(KeyScope),
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
    sha256: Mapped[str] = mapped_column(String(64), default="")
    """What its files were when it was added."""
    origin: Mapped[str] = mapped_column(Text, default="")
    """The hub id or single file that it was made from."""
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
    cropped_from_id: Mapped[str | None] = mapped_column(String(20))
    """The picture that this one was cut from, which is taken out meanwhile."""


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
    __table_args__ = (
        Index("ix_made_pictures_generation_id", "generation_id"),
        Index("ix_made_pictures_history", "workspace_id", "created_at", "id"),
    )

    id: Mapped[str] = _id("mad")
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    """That of its generation, once more, so that the history is one walk along one index."""
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


class Account(Table):
    """A person who signs in. A studio on this machine alone has none."""

    __tablename__ = "accounts"

    id: Mapped[str] = _id("acc")
    name: Mapped[str] = mapped_column(String(64))
    name_key: Mapped[str] = mapped_column(String(64), unique=True)
    """The name in lower case: names are unique without regard to case."""
    password_hash: Mapped[str] = mapped_column(String(255))
    """argon2id, with its salt and costs."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class Member(Table):
    """One account in one workspace."""

    __tablename__ = "members"
    __table_args__ = (Index("ix_members_account_id", "account_id"),)

    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"), primary_key=True)
    role: Mapped[Role]
    created_at: Mapped[datetime] = mapped_column(default=now)


class SignIn(Table):
    """One browser in which a person is signed in. The cookie holds the token, the table only its hash."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index("ix_sign_ins_account_id", "account_id"),)

    token_sha256: Mapped[str] = mapped_column(String(64), primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    """The workspace that this browser looks at."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    seen_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]


class FailedSignIn(Table):
    """One wrong password, kept for a while to slow down guessing."""

    __tablename__ = "failed_sign_ins"
    __table_args__ = (
        Index("ix_failed_sign_ins_name_key_at", "name_key", "at"),
        Index("ix_failed_sign_ins_address_at", "address", "at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    name_key: Mapped[str] = mapped_column(String(64))
    address: Mapped[str] = mapped_column(String(64))
    at: Mapped[datetime] = mapped_column(default=now)


class Invitation(Table):
    """A link that makes its holder a member, once. That of the very first owner has no inviter."""

    __tablename__ = "invitations"
    __table_args__ = (Index("ix_invitations_workspace_id", "workspace_id"),)

    id: Mapped[str] = _id("inv")
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    role: Mapped[Role]
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    invited_by: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class ApiKey(Table):
    """A key with which a program speaks for a workspace. Only its hash is kept."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_workspace_id", "workspace_id"),)

    id: Mapped[str] = _id("key")
    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"))
    account_id: Mapped[str | None] = mapped_column(ForeignKey("accounts.id", ondelete="CASCADE"))
    """Who made it; it can do no more than they can. None in a studio without accounts."""
    name: Mapped[str] = mapped_column(String(100))
    scope: Mapped[KeyScope]
    secret_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    hint: Mapped[str] = mapped_column(String(16))
    """The first letters of the secret, by which a person knows it again."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Reply(Table):
    """What a request with an Idempotency-Key was answered, so that the same request again does nothing more."""

    __tablename__ = "replies"
    __table_args__ = (Index("ix_replies_created_at", "created_at"),)

    workspace_id: Mapped[str] = mapped_column(ForeignKey("workspaces.id"), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_sha256: Mapped[str] = mapped_column(String(64))
    status: Mapped[int]
    location: Mapped[str | None] = mapped_column(String(255))
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
