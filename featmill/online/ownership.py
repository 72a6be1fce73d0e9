"""Whose a Feast project is in the store: one lake's, for two that wrote the same keys would destroy each other's rows.

A dbt project of the same name in another home (a developer's beside production's), or a tenant's project that is called
as another dbt project is: the first that publishes there owns it, and every other is refused.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.errors import LakeError, OnlineRefused
from featmill.online.refusals import translated_errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from featmill.online.connection import OnlineTarget

#: One command to the server, so that of two that come at once one is the first.
_CLAIM = """
local owner = redis.call('HGET', KEYS[1], 'owner')
if owner then return owner end
redis.call('HSET', KEYS[1], 'owner', ARGV[1])
return ARGV[1]
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """A dbt project and the lake that its releases are in."""

    project: str
    lake: str

    def __str__(self) -> str:
        return f"{self.project} {self.lake}"


def owner_key(project: str) -> bytes:
    """The key of the hash whose field `owner` says whose a Feast project is. It cannot be taken for an entity's."""
    return f"featmill:{project}:owner".encode()


def lake_id(lake: Path) -> str:
    """What tells a lake from every other, made once; a copy of the lake has the same.

    Raises:
        LakeError: it cannot be read or made.
    """
    file = lake / "_registry" / "lake_id"
    try:
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(f"lake_id.{uuid.uuid4().hex}")
            fresh.write_text(uuid.uuid4().hex)
            try:
                # Fails where another process was quicker; then its id counts.
                os.link(fresh, file)
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return file.read_text().strip()
    except OSError as error:
        raise LakeError(f"the id of the lake at {lake} cannot be read: {error}") from error


def own(target: OnlineTarget, project: str, owner: Owner) -> None:
    """Own a Feast project from here on.

    Raises:
        OnlineRefused: it is another lake's.
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        found = client.eval(_CLAIM, 1, owner_key(project), str(owner))
    _require(target, project, owner, found)


def require_owner(target: OnlineTarget, projects: Iterable[str], owner: Owner) -> None:
    """Refuse to touch Feast projects of another lake; one that nobody owns yet is nobody's.

    Raises:
        OnlineRefused: one is another lake's.
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        found = {project: client.hget(owner_key(project), "owner") for project in projects}
    for project, data in found.items():
        _require(target, project, owner, data)


def _require(target: OnlineTarget, project: str, owner: Owner, found: bytes | None) -> None:
    if found is None:
        return
    whose, _, lake = found.decode(errors="replace").partition(" ")
    if lake != owner.lake:
        key = owner_key(project).decode()
        raise OnlineRefused(
            f"Feast project {project} at {target.url} belongs to dbt project {whose} of lake {lake}, "
            f"not to {owner.project} of lake {owner.lake}",
            hint="give this one a store, a database or a dbt project name of its own; to take it over, with all that "
            f"is online, delete the key {key} first",
        )
