"""The two ways back to a release that was live: a flip to what the store keeps of it, or its rows written again."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from exporters.redis.generations import (
    Generation,
    GenerationState,
    make_live,
    read_generations,
    settle_live,
)
from featmill import clock
from featmill.errors import OnlineRefused
from featmill.online.live import read_live
from featmill.online.serving_state import PublishMode, next_epoch, put_state
from orchestration.held_features import as_held
from orchestration.online_steps import open_release
from orchestration.publication import Publication

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from featmill.online.connection import OnlineTarget
    from featmill.online.serving_state import ServingState
    from featmill.settings import Settings
    from featmill.warehouse.promotions import Promotion
    from orchestration.online_views import ExportedView


def flip_to_kept(target: OnlineTarget, states: Mapping[str, ServingState], to: Promotion) -> bool:
    """Flip each Feast project to the generation that holds the release as it went live.

    False, and what serves serves on, if one has none; or had one when it was looked for, and has not after the flip.
    """
    if not states:
        return False
    flips: dict[str, Generation] = {}
    for project, state in states.items():
        is_it = state.release_id == to.release_id and _is_of(state.read_at, to)
        if is_it and state.is_complete:
            continue
        known = read_generations(target, project, state)
        kept = [g for g in known.values() if _is_kept(g, to) and is_there(target, g)]
        if not kept:
            return False
        settle_live(target, project, state, known)
        flips[project] = max(kept, key=lambda g: g.served_epoch or 0)
    for project, generation in flips.items():
        make_live(target, project, generation, next_epoch(target, project))
    # From the flip on nobody removes it; who had removed it by then left no record.
    if all(is_there(target, generation) for generation in flips.values()):
        return True
    for project in flips:
        _flip_back(target, project, states[project])
    return False


def is_there(target: OnlineTarget, generation: Generation) -> bool:
    """Whether the live record of every view of a generation says that it is whole.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineError: a record cannot be read.
    """
    records = read_live(target, generation.rows_project)
    return all(
        view in records
        and records[view].is_complete
        and records[view].snapshot_id == served.snapshot_id
        for view, served in generation.views.items()
    )


def write_again(
    settings: Settings, to: Promotion, before: Mapping[str, ServingState]
) -> tuple[ExportedView, ...]:
    """Write the release as it went live then, and make it serve, in the way that what serves now does.

    Of what is declared now it is written what went live then and the snapshots have.
    """
    step = as_held(open_release(settings, to.release_id, to.read_at), to.snapshots)
    modes = {state.mode for state in before.values()} or {PublishMode(settings.publish_mode)}
    # Tenants may differ where one was promoted alone: a generation is never half there.
    mode = modes.pop() if len(modes) == 1 else PublishMode.GENERATION
    publication = Publication(step, mode)
    views = publication.write(None)
    publication.prove(None)
    publication.flip()
    publication.retire_live()
    return views


def _is_kept(generation: Generation, to: Promotion) -> bool:
    is_it = generation.state is GenerationState.KEPT and generation.release_id == to.release_id
    # The same release may have gone live twice, and its history been corrected between.
    return is_it and _is_of(generation.read_at, to) and not generation.is_doubted


def _is_of(read_at: datetime | None, to: Promotion) -> bool:
    return read_at is None or read_at == to.read_at


def _flip_back(target: OnlineTarget, project: str, before: ServingState) -> None:
    epoch = next_epoch(target, project)
    again = before.model_copy(update={"epoch": epoch, "flipped_at": clock.now()})
    # Refused where a removal has begun on that one as well: what is written next serves.
    with suppress(OnlineRefused):
        put_state(target, project, again)
