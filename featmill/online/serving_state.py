"""What serves now in one Feast project: the pointer that a promotion flips, in the store beside the rows (rule 21).

A hash of fields that are always written together: `version` is short, and a reader asks for it in every round trip;
only when it differs from what the reader knows is `state` read. So a reader needs no clock and no subscription to know
that what it read is of the generation it meant to read.

All of it is one key, so that one script can decide and write: a flip is refused where a greater epoch has flipped
before, or where the rows it would point at are being removed; rows are not removed while the pointer is on them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from featmill import clock
from featmill.errors import OnlineError, OnlineRefused
from featmill.online.live import live_key
from featmill.online.refusals import translated_errors

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget

#: Of one key each: a cluster runs a script on the node that has its keys.
_FLIP = """
local epoch, seq = tonumber(ARGV[1]), tonumber(ARGV[2])
local version = redis.call('HGET', KEYS[1], 'version')
if version then
  local known, last = string.match(version, '^(%d+)%.(%d+)$')
  if tonumber(known) > epoch then return {'newer', version} end
  if tonumber(last) >= seq then seq = tonumber(last) + 1 end
end
if redis.call('HEXISTS', KEYS[1], 'removing:' .. ARGV[3]) == 1 then return {'removing', ''} end
version = string.format('%.0f.%.0f', epoch, seq)
redis.call('HSET', KEYS[1], 'version', version, 'state', ARGV[4], 'rows', ARGV[3])
return {'flipped', version}
"""
_CLAIM = """
if redis.call('HGET', KEYS[1], 'rows') == ARGV[1] then return false end
local before = redis.call('HGET', KEYS[1], 'removing:' .. ARGV[1]) or ''
redis.call('HSET', KEYS[1], 'removing:' .. ARGV[1], ARGV[2])
return before
"""


_EPOCH = re.compile(rb'"(?:served_)?epoch": ?(\d+)')
_COUNT = """
local last = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
local epoch = string.format('%.0f', math.max(last, tonumber(ARGV[1])) + 1)
redis.call('SET', KEYS[1], epoch)
return epoch
"""


class PublishMode(StrEnum):
    """`in_place`: the live rows are changed one by one. `generation`: a whole new set is written, then one flip."""

    IN_PLACE = "in_place"
    GENERATION = "generation"


class ServedView(BaseModel):
    """One view: the snapshot that serves; None while rows are replaced in place and may be of either."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot_id: str | None
    rows: int


class ServingState(BaseModel):
    """What one Feast project serves.

    `rows_project` is the project name in the rows' keys: the Feast project itself in place, or its name followed by the
    generation. `epoch` grows with every promotion and rollback, whichever wins is the greater (rule 21). `read_at` is
    when the registry was read for it: what was released later is not part of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    mode: PublishMode
    rows_project: str
    release_id: str
    as_of: datetime
    flipped_at: datetime
    is_complete: bool
    views: dict[str, ServedView]
    read_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Serving:
    """What a read of the hash found: the state and the version it is of."""

    version: bytes
    state: ServingState


def serving_key(project: str) -> bytes:
    """The key of the hash. Like the live records' it cannot be taken for an entity's."""
    return f"featmill:{project}:serving".encode()


def epoch_key(project: str) -> bytes:
    """The key of the counter that promotions and rollbacks of a Feast project are numbered by."""
    return f"featmill:{project}:epoch".encode()


def generations_key(project: str) -> bytes:
    """The key of the hash: rows project -> what is known of it."""
    return f"featmill:{project}:generations".encode()


def projects_key(project: str) -> bytes:
    """The key of the set of Feast projects, one for each tenant, that a dbt project was ever promoted to."""
    return f"featmill:{project}:projects".encode()


def removal_field(rows_project: str) -> str:
    """The field that says, while it is there, that these rows are being removed; it holds who removes them."""
    return f"removing:{rows_project}"


def parse_state(project: str, data: bytes) -> ServingState:
    """Read a state's bytes.

    Raises:
        OnlineError: they are not a state of this version of featmill.
    """
    try:
        return ServingState.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OnlineError(
            f"what serves in project {project} cannot be read: {where}: {first['msg']}",
            hint="promote a release again: featmill promote --again",
        ) from error


def read_serving(target: OnlineTarget, project: str) -> Serving | None:
    """What serves; None where nothing was ever promoted.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineError: the state cannot be read.
    """
    with translated_errors(target), target.client() as client:
        version, data = client.hmget(serving_key(project), ["version", "state"])
    if version is None or data is None:
        return None
    return Serving(version, parse_state(project, data))


def read_state(target: OnlineTarget, project: str) -> ServingState | None:
    """What serves, without its version; None where nothing was ever promoted.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineError: the state cannot be read.
    """
    found = read_serving(target, project)
    return None if found is None else found.state


def next_epoch(target: OnlineTarget, project: str) -> int:
    """A number that no other promotion or rollback of the project has, greater than all before it.

    The counter alone is not believed: it is a key of its own, so a store that lost some keys, or a node that came back
    with older ones, may count from less than what serves. And no rows are there yet under the name that it gives.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused the command.
    """
    with translated_errors(target), target.client() as client:
        version, rows = client.hmget(serving_key(project), ["version", "rows"])
        generations = client.hgetall(generations_key(project))
        records = list(generations.values())
        for name in {project.encode(), *generations, *([] if rows is None else [rows])}:
            records += client.hvals(live_key(name.decode()))
        used = [_number_of(project, name.decode()) for name in generations]
        used += [_epoch_in(record) for record in records]
        used += [] if version is None else [int(version.split(b".")[0])]
        while True:
            epoch = int(client.eval(_COUNT, 1, epoch_key(project), max(used, default=0)))
            new = f"{project}__g{epoch}"
            # Another dbt project may be called so.
            keys = (live_key(new), serving_key(new), generations_key(new))
            if not any(client.exists(key) for key in keys):
                return epoch


def _number_of(project: str, rows_project: str) -> int:
    """The epoch in the name of a generation's rows; 0 in place."""
    number = rows_project.removeprefix(f"{project}__g")
    return int(number) if number.isdecimal() else 0


def _epoch_in(record: bytes) -> int:
    """The greatest epoch that a record names, also where it cannot be read otherwise."""
    return max(map(int, _EPOCH.findall(record)), default=0)


def put_state(target: OnlineTarget, project: str, state: ServingState) -> bytes:
    """Flip the pointer; the version that readers see from now on.

    The version's second part begins with the time, so that it differs from every earlier one, also where the store
    was lost and counts its epochs from one again.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: a later promotion or rollback has flipped it, or the rows are being removed.
    """
    seq = int(clock.now().timestamp() * 1000)
    arguments = (state.epoch, seq, state.rows_project, state.model_dump_json())
    with translated_errors(target), target.client() as client:
        said, version = client.eval(_FLIP, 1, serving_key(project), *arguments)
    if said == b"newer":
        raise OnlineRefused(
            f"project {project}: version {version.decode()} serves already, epoch {state.epoch} came too late",
            hint="another promotion or rollback won; featmill live shows what serves",
        )
    if said == b"removing":
        raise OnlineRefused(
            f"project {project}: the rows of {state.rows_project} are being removed",
            hint="run the command again: what is missing is written anew",
        )
    return bytes(version)


def claim_removal(
    target: OnlineTarget, project: str, rows_project: str, claim: str
) -> bytes | None:
    """Announce that rows are about to be removed.

    Returns:
        The claim of who was to remove them before, empty where nobody was; None where the rows serve, and must stay.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused the command.
    """
    with translated_errors(target), target.client() as client:
        before: bytes | None = client.eval(_CLAIM, 1, serving_key(project), rows_project, claim)
    return before


def removal_claims(target: OnlineTarget, project: str) -> dict[str, str]:
    """The rows projects that are being removed, each with the claim of who removes it.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        fields = client.hgetall(serving_key(project))
    return {
        name.decode().removeprefix("removing:"): token.decode()
        for name, token in fields.items()
        if name.startswith(b"removing:")
    }


def remember_projects(target: OnlineTarget, base: str, projects: list[str]) -> None:
    """Note the Feast projects of a dbt project, so that a rollback need not parse it.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        client.sadd(projects_key(base), *projects)


def forget_project(target: OnlineTarget, base: str, project: str) -> None:
    """Take a Feast project from those of a dbt project: none of its tables is online any more.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        client.srem(projects_key(base), project)


def known_projects(target: OnlineTarget, base: str) -> list[str]:
    """The Feast projects that a dbt project was promoted to, sorted.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        return sorted(name.decode() for name in client.smembers(projects_key(base)))
