"""The generations of one Feast project: whole sets of rows side by side, of which the serving state points at one.

What is known of each lies in the store beside the rows, so that any machine can go on with one that was left half
built, go back to one that is kept, or remove one that nobody needs. The rows that are published in place count as one:
its rows project is the Feast project's own name.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from featmill import clock
from featmill.errors import OnlineError
from featmill.online.refusals import translated_errors
from featmill.online.serving_state import (
    PublishMode,
    ServedView,
    ServingState,
    put_state,
    removal_claims,
)
from featmill.online.serving_state import (
    generations_key as generations_key,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from featmill.online.connection import OnlineTarget


class GenerationState(StrEnum):
    """`building` until every row is there and proven, then `ready`; `live`, `kept` for a rollback, or `removing`."""

    BUILDING = "building"
    READY = "ready"
    LIVE = "live"
    KEPT = "kept"
    REMOVING = "removing"


class Generation(BaseModel):
    """One set of rows, under keys that end with `rows_project`.

    `epoch` is that of the run that worked on it last, `read_at` when that one read the registry. `served_epoch` is that
    of the flip that made it live last, None where it never was. `proven_at` is when all of it was last compared with
    what was published; `is_doubted` says that it differed then, and serves for want of better.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows_project: str
    release_id: str
    as_of: datetime
    released_at: datetime
    epoch: int
    state: GenerationState
    started_at: datetime
    read_at: datetime
    served_epoch: int | None = None
    proven_at: datetime | None = None
    is_doubted: bool = False
    views: dict[str, ServedView] = {}

    def as_state(self, state: GenerationState) -> Generation:
        """The same in another state."""
        return self.model_copy(update={"state": state})


def rows_project_of(project: str, mode: PublishMode, epoch: int) -> str:
    """The name that the keys of a new set of rows end with."""
    return project if mode is PublishMode.IN_PLACE else f"{project}__g{epoch}"


def mode_of(project: str, rows_project: str) -> PublishMode:
    """How rows under this name were published."""
    return PublishMode.IN_PLACE if rows_project == project else PublishMode.GENERATION


def read_generations(
    target: OnlineTarget, project: str, serving: ServingState | None
) -> dict[str, Generation]:
    """Every generation by its rows project, as it is: the pointer says which one is live, not the record.

    A run that was killed beside its flip left records that are behind; here they are not.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineError: a record cannot be read.
    """
    with translated_errors(target), target.client() as client:
        found = client.hgetall(generations_key(project))
    known = {name.decode(): _parse(project, name.decode(), data) for name, data in found.items()}
    going = removal_claims(target, project)
    live = None if serving is None else serving.rows_project
    return {
        name: _as_it_is(known[name], serving if name == live else None, is_going=name in going)
        for name in sorted(known)
    }


def put_generation(target: OnlineTarget, project: str, generation: Generation) -> None:
    """Write what is known of a generation.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused the write.
    """
    data = generation.model_dump_json()
    with translated_errors(target), target.client() as client:
        client.hset(generations_key(project), generation.rows_project, data)


def make_live(
    target: OnlineTarget, project: str, generation: Generation, epoch: int
) -> ServingState:
    """Flip: readers see this generation from here on; what served before is kept, if it was whole.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: a later promotion or rollback has flipped, or the rows are being removed.
    """
    state = _state(project, generation, epoch, is_complete=True)
    put_state(target, project, state)
    put_generation(target, project, _live_as(generation, state))
    return state


def tell_incomplete(
    target: OnlineTarget, project: str, generation: Generation, epoch: int
) -> ServingState:
    """Say of the rows that serve, and are being replaced one by one, that they are not whole.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: a later promotion or rollback has flipped, or the rows are being removed.
    """
    state = _state(project, generation, epoch, is_complete=False)
    put_state(target, project, state)
    return state


def settle_live(
    target: OnlineTarget,
    project: str,
    serving: ServingState | None,
    known: Mapping[str, Generation],
) -> None:
    """Write down which generation is live: a run that was killed right after its flip did not.

    Rows that are replaced in place stay `building` until they are whole: without the pointer they are worth nothing.
    """
    if serving is not None and serving.is_complete and serving.rows_project in known:
        put_generation(target, project, known[serving.rows_project])


#: A generation that has been built for so long is not built any more.
_ABANDONED_AFTER = timedelta(hours=1)


def expired(generations: Mapping[str, Generation], keep: int) -> list[Generation]:
    """What may be removed: all but the live one, the `keep` that served last before it, and what is newer than it.

    A generation that is being built, or waits to be promoted, stays where its run began after the live one was made
    live; one that an earlier run left was abandoned. Where nothing serves it stays for an hour, the last one that is
    ready for as long as it takes.
    """
    live = next((g for g in generations.values() if g.state is GenerationState.LIVE), None)
    since = 0 if live is None or live.served_epoch is None else live.served_epoch
    kept = [g for g in generations.values() if g.state is GenerationState.KEPT]
    kept.sort(key=lambda g: g.served_epoch or 0, reverse=True)
    gone = [g for g in generations.values() if g.state is GenerationState.REMOVING]
    waiting = (GenerationState.BUILDING, GenerationState.READY)
    left = [g for g in generations.values() if g.state in waiting]
    if live is None:
        ready = [g for g in left if g.state is GenerationState.READY]
        last = max(ready, key=lambda g: g.epoch, default=None)
        until = clock.now() - _ABANDONED_AFTER
        abandoned = [g for g in left if g is not last and g.started_at < until]
    else:
        abandoned = [g for g in left if g.epoch < since]
    return [*gone, *abandoned, *kept[keep:]]


def _state(project: str, generation: Generation, epoch: int, *, is_complete: bool) -> ServingState:
    """What readers are told of a generation that serves."""
    return ServingState(
        epoch=epoch,
        mode=mode_of(project, generation.rows_project),
        rows_project=generation.rows_project,
        release_id=generation.release_id,
        as_of=generation.as_of,
        flipped_at=clock.now(),
        is_complete=is_complete,
        views=generation.views,
        read_at=generation.read_at,
    )


def _as_it_is(generation: Generation, live: ServingState | None, *, is_going: bool) -> Generation:
    if live is not None:
        return _live_as(generation, live)
    if is_going:
        return generation.as_state(GenerationState.REMOVING)
    if generation.state is GenerationState.LIVE:
        return generation.as_state(GenerationState.KEPT)
    return generation


def _live_as(generation: Generation, serving: ServingState) -> Generation:
    """The generation that the pointer is on, as the pointer says it is."""
    update = {
        "state": GenerationState.LIVE,
        "served_epoch": serving.epoch,
        "release_id": serving.release_id,
        "as_of": serving.as_of,
        "views": serving.views,
        "read_at": serving.read_at or generation.read_at,
    }
    return generation.model_copy(update=update)


def _parse(project: str, name: str, data: bytes) -> Generation:
    try:
        return Generation.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OnlineError(
            f"generation {name} of project {project} cannot be read: {where}: {first['msg']}",
            hint=f"delete field {name} of the hash {generations_key(project).decode()}, then promote again",
        ) from error
