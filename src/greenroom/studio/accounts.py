"""Accounts: who a person is, and whether a password is theirs. Knows nothing about workspaces or browsers."""

from __future__ import annotations

import threading
import unicodedata
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from greenroom.db.models import Account, FailedSignIn, now
from greenroom.errors import BadName, BadPassword, NameTaken, TooManyTries, UnknownAccount, WrongPassword

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_PASSWORD_CHARS, MAX_PASSWORD_CHARS = 10, 200
MAX_NAME_CHARS = 64
WINDOW = timedelta(minutes=15)
"""How long a wrong password counts."""
MOST_FROM_ONE = 5
"""Wrong passwords for one name from one address within WINDOW …"""
MOST_FOR_NAME = 30
"""… for one name from everywhere …"""
MOST_FROM_ADDRESS = 60
"""… and from one address for all names, which may be a proxy with many people behind it."""

# One hash takes 64 MiB for a moment: without this, a crowd at the door would take all the memory.
_hashing = threading.BoundedSemaphore(2)
_COMMON = frozenset(
    {
        *("1234567890", "0123456789", "password12", "password123", "passwordpassword", "qwertyuiop"),
        *("qwerty1234", "iloveyou123", "letmein123", "greenroom1", "greenroom123", "administrator"),
        *("admin12345", "welcome123", "changeme123"),
    }
)


def create(session: Session, name: str, password: str) -> Account:
    """A new account. Raises BadName, BadPassword or NameTaken."""
    shown = checked_name(name)
    account = Account(
        name=shown, name_key=key(shown), password_hash=_hash(checked_password(password, name=shown))
    )
    try:
        with session.begin_nested():
            session.add(account)
    except IntegrityError as error:
        raise NameTaken(f"The name {shown} is taken. Choose another.") from error
    return account


def find(session: Session, ref: str) -> Account:
    """The account of that id or name. Raises UnknownAccount."""
    found = (
        session.get(Account, ref)
        or session.scalars(select(Account).where(Account.name_key == key(ref))).first()
    )
    if found is None:
        raise UnknownAccount(f"There is no account {ref[:80]!r}. Look it up again.")
    return found


def list_(session: Session) -> list[Account]:
    """Every account, oldest first."""
    return list(session.scalars(select(Account).order_by(Account.created_at, Account.id)))


def is_any(session: Session) -> bool:
    """Whether anybody has an account."""
    return session.scalar(select(Account.id).limit(1)) is not None


def refuse_guessing(session: Session, name: str, address: str) -> None:
    """Raise TooManyTries when too many wrong passwords came lately, before another one is looked at."""
    since = now() - WINDOW
    from_one, for_name, from_address = (
        session.scalar(select(func.count()).select_from(FailedSignIn).where(FailedSignIn.at > since, *those))
        or 0
        for those in (
            (FailedSignIn.name_key == key(name), FailedSignIn.address == address[:64]),
            (FailedSignIn.name_key == key(name),),
            (FailedSignIn.address == address[:64],),
        )
    )
    if from_one >= MOST_FROM_ONE or for_name >= MOST_FOR_NAME or from_address >= MOST_FROM_ADDRESS:
        minutes = int(WINDOW.total_seconds() // 60)
        raise TooManyTries(
            f"Too many wrong passwords. Wait {minutes} minutes, then try again.",
            wait_s=int(WINDOW.total_seconds()),
        )


def check_password(session: Session, name: str, password: str) -> Account:
    """The account of that name when the password is its own.

    Raises WrongPassword, after the same time whether or not there is such an account.
    """
    from argon2.exceptions import InvalidHashError, VerificationError

    account = session.scalars(select(Account).where(Account.name_key == key(name))).first()
    kept = account.password_hash if account is not None else _nobody()
    try:
        with _hashing:
            _hasher().verify(kept, password[:MAX_PASSWORD_CHARS])
    except (VerificationError, InvalidHashError) as error:
        raise _wrong() from error
    if account is None:
        raise _wrong()
    if _hasher().check_needs_rehash(account.password_hash):
        account.password_hash = _hash(password)
    return account


def note_wrong(session: Session, name: str, address: str) -> None:
    """Count a wrong password, and forget those that count no more."""
    session.execute(delete(FailedSignIn).where(FailedSignIn.at <= now() - WINDOW))
    session.add(FailedSignIn(name_key=key(name), address=address[:64]))
    session.flush()


def forget_wrong(session: Session, name: str, address: str) -> None:
    """After the right password: the wrong ones before it from the same address count no more."""
    session.execute(
        delete(FailedSignIn).where(FailedSignIn.name_key == key(name), FailedSignIn.address == address[:64])
    )


def set_password(session: Session, account: Account, password: str) -> None:
    """Give an account another password. Raises BadPassword."""
    account.password_hash = _hash(checked_password(password, name=account.name))
    session.flush()


def checked_name(name: str) -> str:
    """The name as it will be kept. Raises BadName."""
    shown = " ".join(name.split())
    if not 2 <= len(shown) <= MAX_NAME_CHARS or not any(char.isalnum() for char in shown):
        raise BadName(f"A name has 2 to {MAX_NAME_CHARS} characters, with a letter or digit among them.")
    if any(unicodedata.category(char) in {"Cc", "Cf", "Cs"} for char in shown):
        raise BadName("The name holds a character that cannot be seen. Leave it out.")
    return shown


def checked_password(password: str, *, name: str = "") -> str:
    """The password itself when it will do. Raises BadPassword."""
    if not MIN_PASSWORD_CHARS <= len(password) <= MAX_PASSWORD_CHARS:
        raise BadPassword(
            f"A password has {MIN_PASSWORD_CHARS} to {MAX_PASSWORD_CHARS} characters; "
            f"this one has {len(password)}. A few words in a row make a good one."
        )
    low = password.lower()
    if low in _COMMON or len(set(low)) < 4 or (name and low == name.lower()):
        raise BadPassword("That password is among the first to be guessed. Use a few words in a row.")
    return password


def key(name: str) -> str:
    """The form in which names are compared."""
    return " ".join(name.split()).lower()[:MAX_NAME_CHARS]


def _wrong() -> WrongPassword:
    return WrongPassword("The name or the password is not right. Check both and try again.")


def _hash(password: str) -> str:
    with _hashing:
        return _hasher().hash(password)


@lru_cache(maxsize=1)
def _hasher() -> PasswordHasher:
    # Imported here: a studio without accounts never needs it. argon2id, RFC 9106's second choice of costs.
    from argon2 import PasswordHasher

    return PasswordHasher()


@lru_cache(maxsize=1)
def _nobody() -> str:
    """A hash that no password has, so that an unknown name takes as long as a known one."""
    from greenroom.studio import tokens

    return _hash(tokens.new())
