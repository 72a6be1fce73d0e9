"""Read one declaration: what is readable of it, and in our words what is not."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pydantic import ValidationError

from featmill.contract.declarations import Declaration
from featmill.contract.problems import Mistake, one_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pydantic_core import ErrorDetails

    from featmill.contract.nodes import Place

_D = TypeVar("_D", bound=Declaration)


def read_declaration(
    kind: type[_D], raw: object, place: Place, subject: str
) -> tuple[_D, list[Mistake]]:
    """Read a declaration written at `place`; wrong keys are left out, missing ones are blank."""
    try:
        return kind.model_validate(raw), []
    except ValidationError as error:
        details = error.errors(include_url=False)
    wrong = {detail["loc"][0] for detail in details if detail["loc"]}
    written = raw.items() if isinstance(raw, dict) else ()
    readable = {key: value for key, value in written if key not in wrong}
    blank = {key: value for key, value in kind.BLANK.items() if key not in readable}
    declaration = kind.model_validate(kind.STAND_IN | readable).model_copy(update=blank)
    return declaration, list(_explain(kind, details, place, subject))


def _explain(
    kind: type[Declaration], details: Iterable[ErrorDetails], place: Place, subject: str
) -> Iterator[Mistake]:
    told: set[object] = set()
    for detail in details:
        key = detail["loc"][0] if detail["loc"] else None
        if key in told:
            continue  # a list reports once for each of its items
        told.add(key)
        message, expected = _words(kind, key, detail)
        below = place.path if key is None else (*place.path, key)
        yield Mistake(replace(place, path=below), subject, message, expected)


def _words(kind: type[Declaration], key: int | str | None, detail: ErrorDetails) -> tuple[str, str]:
    """What is wrong with a key, and what was expected."""
    keys = tuple(kind.model_fields)
    got = detail["input"]
    if key is None:
        return f"{got!r} is not a mapping", f"a mapping of {', '.join(keys)}"
    if detail["type"] == "extra_forbidden":
        return f"unknown key {key!r}", kind.ELSEWHERE.get(str(key)) or one_of(keys, str(key))
    expected = kind.model_fields[str(key)].description or "another value"
    if detail["type"] == "missing":
        return f"no {key}", f"{key}: {expected}"
    if detail["type"] == "literal_error":
        words = re.findall(r"'(\w+)'", detail.get("ctx", {})["expected"])
        return f"{got!r} is not {expected}", one_of(words, str(got))
    if detail["type"] in ("duration", "hop", "zone"):
        return f"{key}: {detail['msg']}", expected
    return f"{key} is {got!r}", expected
