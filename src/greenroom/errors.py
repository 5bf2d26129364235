"""Every error a person can meet, as one tree. Imports nothing of ours and no third party.

Raise the narrowest class, with one sentence that says what, why and what to do.

    GreenroomError
    ├── WrongUse            400 / 2    a command or request that makes no sense
    ├── NotSignedIn         401 / 3    nobody known has asked
    │   └── WrongPassword
    ├── NotAllowed          403 / 3    the one who asked may not do that
    ├── TooManyTries        429 / 3    wait, then try again
    ├── BadInput            422 / 3    something the person gave cannot be used
    │   ├── TooFewImages
    │   ├── TooManyImages
    │   ├── BadPicture
    │   ├── BadCaption
    │   ├── BadTrigger
    │   ├── BadName
    │   ├── BadPrompt
    │   ├── BadRecipe
    │   ├── BadBase
    │   ├── BadPassword                too short, or too easily guessed
    │   ├── BadArchive                 a zip file that cannot be opened safely
    │   ├── BadCursor                  a page of a list that was never handed out
    │   ├── UnsafeFile                 a weights file that is not plain safetensors
    │   └── NotReady                   the checks found something that blocks; carries the findings
    ├── NotFound            404 / 3
    │   ├── UnknownActor
    │   ├── UnknownBase
    │   ├── UnknownTrigger
    │   ├── UnknownRecipe
    │   ├── UnknownPicture
    │   ├── UnknownTraining
    │   ├── UnknownGeneration
    │   ├── UnknownJob
    │   ├── UnknownWorkspace
    │   ├── UnknownAccount
    │   ├── UnknownInvitation
    │   └── UnknownKey
    ├── Conflict            409 / 3    true now, may be false later
    │   ├── NameTaken
    │   ├── TriggerTaken
    │   ├── BaseTaken
    │   ├── AlreadyTraining
    │   ├── WrongState                 a step that the actor's state does not allow
    │   ├── KeyReused                  an Idempotency-Key that came with another request before
    │   └── EditedMeanwhile            somebody else changed it since it was read
    ├── StorageError        507 / 3    read-only home, full disk, unreachable store
    ├── RunFailed           500 / 4    a training or generation that broke
    │   ├── OutOfMemory
    │   ├── CorruptCheckpoint
    │   ├── ChangedDataset
    │   └── BaseMissing
    └── Cancelled           499 / 130  the person stopped it
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class GreenroomError(Exception):
    """Root of the tree: str(error) is a sentence for the person."""

    http_status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 4

    @property
    def code(self) -> str:
        """The class name as a stable word for JSON and events, such as "TooFewImages"."""
        return type(self).__name__


class WrongUse(GreenroomError):
    """A command or request that makes no sense as it stands."""

    http_status = 400
    exit_code = 2


class NotSignedIn(GreenroomError):
    """Nobody known has asked: no session, no API key, or one that has ended."""

    http_status = 401
    exit_code = 3


class WrongPassword(NotSignedIn):
    """The name or the password is not right; which of them is not told."""


class NotAllowed(GreenroomError):
    """The one who asked is known, but their role or key does not allow it."""

    http_status = 403
    exit_code = 3


class TooManyTries(GreenroomError):
    """Too many wrong passwords; `wait_s` says how long to wait."""

    http_status = 429
    exit_code = 3

    def __init__(self, message: str, wait_s: int = 60) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class BadInput(GreenroomError):
    """Something the person gave cannot be used."""

    http_status = 422
    exit_code = 3


class TooFewImages(BadInput):
    """Fewer usable pictures than a training needs."""


class TooManyImages(BadInput):
    """More pictures than an actor may have."""


class BadPicture(BadInput):
    """A file that is not a picture we can use."""


class BadCaption(BadInput):
    """A caption that is too long or empty where it must not be."""


class BadTrigger(BadInput):
    """A trigger word that breaks the rules."""


class BadName(BadInput):
    """A display name that is empty or too long."""


class BadPrompt(BadInput):
    """A prompt or picture request that cannot be drawn as asked."""


class BadRecipe(BadInput):
    """A recipe or override with an unknown key or a value out of range."""


class BadBase(BadInput):
    """A folder or file that is not a base model we can load."""


class BadPassword(BadInput):
    """A password that is too short or too easily guessed."""


class BadArchive(BadInput):
    """A zip file that cannot be opened safely."""


class BadCursor(BadInput):
    """A cursor that this list never handed out."""


class UnsafeFile(BadInput):
    """A weights file that is not plain safetensors with a valid header."""


class NotReady(BadInput):
    """The checks found something that blocks; `findings` says what."""

    def __init__(self, message: str, findings: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


class NotFound(GreenroomError):
    """No such thing here; the message lists near matches where there are any."""

    http_status = 404
    exit_code = 3


class UnknownActor(NotFound):
    """No actor of that id, name or trigger."""


class UnknownBase(NotFound):
    """No base model of that id."""


class UnknownTrigger(NotFound):
    """A prompt names a trigger that no actor has."""


class UnknownRecipe(NotFound):
    """No recipe of that name."""


class UnknownPicture(NotFound):
    """No picture of that id."""


class UnknownTraining(NotFound):
    """No training of that id."""


class UnknownGeneration(NotFound):
    """No generation of that id."""


class UnknownJob(NotFound):
    """No job of that id."""


class UnknownWorkspace(NotFound):
    """No workspace of that id that the one who asked is a member of."""


class UnknownAccount(NotFound):
    """No account of that id or name."""


class UnknownInvitation(NotFound):
    """No such invitation, or it was used, revoked or is too old."""


class UnknownKey(NotFound):
    """No API key of that id."""


class Conflict(GreenroomError):
    """Cannot be done now, because of the state something is in."""

    http_status = 409
    exit_code = 3


class NameTaken(Conflict):
    """Another actor of the workspace has that name."""


class TriggerTaken(Conflict):
    """Another actor of the workspace has that trigger."""


class BaseTaken(Conflict):
    """Another base has that id."""


class AlreadyTraining(Conflict):
    """The actor has a training that is queued or running."""


class WrongState(Conflict):
    """The step is not allowed in the state the actor or training is in."""


class KeyReused(Conflict):
    """An Idempotency-Key that came with another request before, or whose request is still being done."""


class EditedMeanwhile(Conflict):
    """Somebody else changed it since it was read."""


class StorageError(GreenroomError):
    """The home folder or the store cannot be read or written."""

    http_status = 507
    exit_code = 3


class RunFailed(GreenroomError):
    """A training or generation that broke."""

    http_status = 500
    exit_code = 4


class OutOfMemory(RunFailed):
    """The device has too little memory for what was asked."""


class CorruptCheckpoint(RunFailed):
    """A checkpoint whose files do not match their manifest."""


class ChangedDataset(RunFailed):
    """The pictures, captions or settings differ from those the run began with."""


class BaseMissing(RunFailed):
    """The base model's files are not where they were."""


class Cancelled(GreenroomError):
    """The person stopped it."""

    http_status = 499
    exit_code = 130


def summarise(error: BaseException) -> str:
    """One line for a person, also for errors that are not ours."""
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    return first if isinstance(error, GreenroomError) else f"{type(error).__name__}: {first}".rstrip(": ")
