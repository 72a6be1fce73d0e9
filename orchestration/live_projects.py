"""What serves now, in words and numbers: of each Feast project the release, its views, and what else the store keeps.

All of it is read from the store, so no dbt project is needed to ask a production store. Bytes are an estimate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.redis.generations import Generation, GenerationState, read_generations
from exporters.redis.memory import estimated_bytes
from featmill import clock
from featmill.errors import OnlineUnreachable
from featmill.online.live import read_live
from featmill.online.serving_state import PublishMode, read_state
from featmill.warehouse.registry import open_registry
from orchestration.promotion import projects_of

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord
    from featmill.online.serving_state import ServingState
    from featmill.settings import Settings


@dataclass(frozen=True, slots=True)
class LiveView:
    """One view: the snapshot that serves, None while its rows may be of two; `bytes` is None where none was found.

    `position` of `to_write` rows are there where an export was begun and has not finished.
    """

    view: str
    snapshot_id: str | None
    entities: int
    bytes: int | None
    is_complete: bool
    position: int
    to_write: int


@dataclass(frozen=True, slots=True)
class KeptGeneration:
    """Another set of rows in the store, and what it waits for: a promotion, a rollback, its end."""

    rows_project: str
    release_id: str
    as_of: datetime
    state: GenerationState
    entities: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class LiveProject:
    """What one Feast project serves. `age` is how long ago its as_of is, `since` when it began to serve."""

    project: str
    mode: PublishMode
    rows_project: str
    epoch: int
    release_id: str
    as_of: datetime
    age: timedelta
    since: datetime
    is_complete: bool
    views: tuple[LiveView, ...]
    generations: tuple[KeptGeneration, ...]


def live(settings: Settings) -> list[LiveProject]:
    """What serves of the releases of this lake, by Feast project; nothing where nothing was promoted.

    Raises:
        OnlineUnreachable: the store does not answer, or is the embedded one and does not run.
        OnlineError: what the store says cannot be read.
    """
    target = _running(settings)
    registry = open_registry(settings.lake_dir)
    states = [(p, read_state(target, p)) for p in projects_of(registry, target)]
    return [_project(target, name, state) for name, state in states if state is not None]


def _running(settings: Settings) -> OnlineTarget:
    """The store, which is not started to be asked what it serves."""
    from featmill.online.server import EmbeddedServer, online_target

    if settings.redis_url is None and not EmbeddedServer(settings.online_dir).status().running:
        raise OnlineUnreachable(
            "the embedded online store does not run, so nothing is served",
            hint="featmill online start; its data are on disk",
        )
    return online_target(settings)


def _project(target: OnlineTarget, project: str, state: ServingState) -> LiveProject:
    records = read_live(target, state.rows_project)
    sizes = estimated_bytes(target, state.rows_project, records)
    others = read_generations(target, project, state)
    others.pop(state.rows_project, None)
    return LiveProject(
        project=project,
        mode=state.mode,
        rows_project=state.rows_project,
        epoch=state.epoch,
        release_id=state.release_id,
        as_of=state.as_of,
        age=clock.now() - state.as_of,
        since=state.flipped_at,
        is_complete=state.is_complete,
        views=tuple(
            _view(view, state, records.get(view), sizes.get(view)) for view in sorted(state.views)
        ),
        generations=tuple(_kept(target, others[name]) for name in sorted(others)),
    )


def _view(view: str, state: ServingState, record: LiveRecord | None, size: int | None) -> LiveView:
    served = state.views[view]
    is_whole = served.snapshot_id is not None and record is not None and record.is_complete
    return LiveView(
        view=view,
        snapshot_id=served.snapshot_id,
        entities=served.rows,
        bytes=size,
        is_complete=is_whole,
        position=0 if record is None else record.position,
        to_write=served.rows if record is None else record.to_write,
    )


def _kept(target: OnlineTarget, generation: Generation) -> KeptGeneration:
    records = read_live(target, generation.rows_project)
    sizes = estimated_bytes(target, generation.rows_project, records)
    known = [size for size in sizes.values() if size is not None]
    return KeptGeneration(
        rows_project=generation.rows_project,
        release_id=generation.release_id,
        as_of=generation.as_of,
        state=generation.state,
        entities=max((record.rows for record in records.values()), default=0),
        bytes=sum(known) if known else None,
    )
