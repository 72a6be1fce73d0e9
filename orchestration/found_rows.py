"""What the store holds of a release already, and how that is known: one answer for whoever writes, proves or flips.

Records say what a run meant to leave, and only a comparison says what is there. So rows that serve are believed to be
what was compared before they went live; rows that wait are believed for a few minutes after they were compared; rows
that once differed are never believed, and no record is where every row is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from exporters.redis.generations import Generation, GenerationState, mode_of
from featmill import clock
from featmill.online.serving_state import PublishMode
from orchestration.online_views import written_view

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from featmill.online.serving_state import ServingState
    from orchestration.online_views import ExportedView, ViewWrite

#: How long a comparison is believed of rows that do not serve: a store may lose rows, and somebody else write to them.
BELIEVED_FOR = timedelta(minutes=5)

#: What may be built on, best first: what is whole already, then what is nearly.
_REUSED = (
    GenerationState.LIVE,
    GenerationState.READY,
    GenerationState.KEPT,
    GenerationState.BUILDING,
)


@dataclass(frozen=True, slots=True)
class FoundRows:
    """Every record says that exactly the release is there, as it would be written now.

    `is_proven`: that need not be compared again.
    """

    views: tuple[ExportedView, ...]
    is_proven: bool


def rows_to_work_on(
    known: Mapping[str, Generation],
    project: str,
    release_id: str,
    mode: PublishMode,
    *,
    force: bool = False,
) -> Generation | None:
    """Those in place, or a generation of the same release; None where a new one is to be written.

    A generation that waits was written after the one that serves if its epoch is the greater: somebody wants it.
    """
    if mode is PublishMode.IN_PLACE:
        return known.get(project)
    if force:
        return None
    same = [
        generation
        for generation in known.values()
        if generation.release_id == release_id
        and generation.state in _REUSED
        and not generation.is_doubted
        and mode_of(project, generation.rows_project) is PublishMode.GENERATION
    ]
    live = next((g for g in same if g.state is GenerationState.LIVE), None)
    if live is not None:
        waiting = [g for g in same if g.state is GenerationState.READY]
        waiting = [g for g in waiting if g.epoch > (live.served_epoch or 0)]
        if waiting:
            return max(waiting, key=lambda g: g.epoch)
    return min(same, key=lambda g: (_REUSED.index(g.state), -g.epoch), default=None)


def found_rows(
    generation: Generation,
    serving: ServingState | None,
    release_id: str,
    writes: Sequence[ViewWrite],
) -> FoundRows | None:
    """What is there, if that is exactly the release as it would be written now."""
    if not _is_settled(generation, serving) or generation.is_doubted:
        return None
    if generation.release_id != release_id:
        return None
    if set(generation.views) != {write.table.name for write in writes}:
        return None
    views = []
    for write in writes:
        view = written_view(write)
        if view is None or generation.views[view.view].snapshot_id != view.snapshot_id:
            return None
        views.append(view)
    return FoundRows(tuple(views), is_proven=_is_proven(generation))


def _is_settled(generation: Generation, serving: ServingState | None) -> bool:
    if generation.state is GenerationState.LIVE:
        return serving is not None and serving.is_complete
    return generation.state is GenerationState.READY


def _is_proven(generation: Generation) -> bool:
    if generation.state is GenerationState.LIVE:
        return True
    proven_at = generation.proven_at
    return proven_at is not None and abs(clock.now() - proven_at) < BELIEVED_FOR
