from __future__ import annotations

import re

import pytest

from greenroom import errors
from greenroom.errors import GreenroomError

CODES = {
    errors.WrongUse: (400, 2),
    errors.NotSignedIn: (401, 3),
    errors.NotAllowed: (403, 3),
    errors.TooManyTries: (429, 3),
    errors.BadInput: (422, 3),
    errors.NotFound: (404, 3),
    errors.Conflict: (409, 3),
    errors.StorageError: (507, 3),
    errors.RunFailed: (500, 4),
    errors.Cancelled: (499, 130),
}


def _all(kind: type[GreenroomError] = GreenroomError) -> list[type[GreenroomError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _all(child))]


@pytest.mark.parametrize("kind", [kind for kind in _all() if kind is not GreenroomError])
def test_every_error_has_the_codes_of_its_branch_and_stands_in_the_tree(kind: type[GreenroomError]) -> None:
    branch = next(top for top in CODES if issubclass(kind, top))
    assert (kind.http_status, kind.exit_code) == CODES[branch]
    assert errors.__doc__ is not None
    assert re.search(rf"── {kind.__name__}\b", errors.__doc__)


def test_the_tree_in_the_docstring_names_no_error_that_is_gone() -> None:
    drawn = re.findall(r"── (\w+)", errors.__doc__ or "")
    assert sorted(drawn) == sorted(kind.__name__ for kind in _all() if kind is not GreenroomError)


def test_not_ready_carries_its_findings() -> None:
    assert errors.NotReady("no", ["a"]).findings == ("a",)
    assert errors.NotReady("no").code == "NotReady"


def test_summarise_is_one_line_for_any_error() -> None:
    assert errors.summarise(errors.BadName("One.\nTwo.")) == "One."
    assert errors.summarise(ValueError("odd")) == "ValueError: odd"
    assert errors.summarise(KeyboardInterrupt()) == "KeyboardInterrupt"
