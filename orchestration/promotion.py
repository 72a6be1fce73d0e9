"""Promotion and rollback: which release serves, moved forward or back by one flip (rule 21).

A promotion writes a release, proves that it is what was published, flips, and tells the ledger, in this order; killed
anywhere it is made good by running it again. A rollback flips to what the store keeps; only what it lacks is written.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from exporters.redis.generations import expired, read_generations
from featmill.errors import FeatmillError
from featmill.online.serving_state import PublishMode, known_projects, read_state
from featmill.warehouse import promotions
from featmill.warehouse.registry import open_registry
from orchestration.going_back import flip_to_kept, write_again
from orchestration.online_steps import apply_feast, open_release, record_live
from orchestration.project_removal import retire_projects
from orchestration.publication import Publication
from orchestration.release_order import (
    current,
    heal_ledger,
    of_the_ledger,
    require_newer,
    to_go_back_to,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from exporters.redis import ParityReport, RetiredView
    from exporters.redis.removal import RemovedGeneration
    from featmill.online.connection import OnlineTarget
    from featmill.online.serving_state import ServingState
    from featmill.settings import Settings
    from featmill.warehouse.promotions import Promotion
    from featmill.warehouse.registry import Registry
    from orchestration.online_views import ExportedView, Step


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to promote, and how.

    `release_id` is by default the newest, `mode` what the settings say. `again` promotes also what does not come after
    what was promoted before; `force` writes every row, whatever the store says that it has.
    """

    release_id: str | None = None
    mode: PublishMode | None = None
    again: bool = False
    force: bool = False
    with_feast: bool = True


@dataclass(frozen=True, slots=True)
class Promoted:
    """What a promotion came to. `flipped` is False where the release served already; `seconds` are to the flip."""

    release_id: str
    mode: PublishMode
    flipped: bool
    views: tuple[ExportedView, ...]
    reports: tuple[ParityReport, ...]
    rows_projects: tuple[tuple[str, str], ...]
    seconds: float
    feast_services: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    retired: tuple[RetiredView, ...] = ()
    removed: tuple[RemovedGeneration, ...] = ()


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback came to. `views` were written again, because the store did not hold them any more.

    `seconds` are to the flip, `feast_problem` is why the Feast repository could not be pointed at what serves.
    """

    release_id: str
    left: str | None
    seconds: float
    views: tuple[ExportedView, ...] = ()
    feast_problem: str | None = None


def promote(
    settings: Settings,
    release_id: str | None = None,
    *,
    mode: PublishMode | None = None,
    again: bool = False,
    on_step: Step | None = None,
) -> Promoted:
    """Put a release online, prove it, make it serve; by default the newest. Then remove what is not kept.

    Raises:
        NoRelease: there is nothing to promote, or the newest release was made before a table was declared.
        NotNewer: it does not come after what was promoted before, and `again` was not asked for.
        ContractError: two features would have one field in the store.
        LakeError: a published table cannot be read, or lacks a declared feature.
        OnlineError: the store is unreachable or refused; what served before serves on, and a rerun resumes.
        ParityError: what was written is not what was published; it does not serve.
    """
    return promote_as(settings, Wanted(release_id, mode, again), on_step)


def promote_as(settings: Settings, wanted: Wanted, on_step: Step | None = None) -> Promoted:
    """`promote`, with or without the Feast repository."""
    started = time.perf_counter()
    step = open_release(settings, wanted.release_id)
    heal_ledger(step.registry, step.target, step.projects)
    if not wanted.again:
        require_newer(step)
    mode = wanted.mode or PublishMode(settings.publish_mode)
    publication = Publication(step, mode, force=wanted.force)
    done = publication.write(on_step)
    reports = publication.prove(on_step)
    if publication.is_beside and not wanted.again:
        # Writing took a while, and a later release may have gone live meanwhile.
        require_newer(step)
    flipped = publication.flip()
    seconds = time.perf_counter() - started
    record_live(step, publication, done)
    services = apply_feast(settings, step) if wanted.with_feast else ()
    # Last: nothing that Feast still lists may lose its values.
    retired = (*publication.retire_live(), *retire_projects(step))
    return Promoted(
        release_id=step.release.release_id,
        mode=mode,
        flipped=flipped,
        views=done,
        reports=reports,
        rows_projects=tuple(sorted(publication.rows_projects.items())),
        seconds=seconds,
        feast_services=services,
        absent=step.absent,
        retired=retired,
        removed=_clean(step.target, step.projects, settings.keep_generations, on_step),
    )


def rollback(
    settings: Settings,
    release_id: str | None = None,
    on_flipped: Callable[[RolledBack], None] | None = None,
) -> RolledBack:
    """Make serve what served before: by default before what is live went live, else the release that is named.

    What the store keeps serves with one flip. Anything else is written again as it went live then, and proven.
    `on_flipped` is told as soon as it serves and the ledger knows, before the Feast repository is written.

    Raises:
        UsageError: nothing, or not that release, was live before.
        LakeError: a snapshot that must be written again is gone.
        OnlineError: the store is unreachable or refused; what served before serves on.
        ParityError: what was written again is not what was published; it does not serve.
    """
    from featmill.online.server import online_target

    started = time.perf_counter()
    registry, target = open_registry(settings.lake_dir), online_target(settings)
    projects = _own_projects(registry, target)
    healed = heal_ledger(registry, target, projects)
    entries = promotions.ledger(registry.lake)
    left = current(entries)
    if healed is not None and healed.kind == "rollback" and release_id is None:
        # Killed between its flip and its entry: going back once more would be one too many.
        release_id = healed.release_id
    found = _states(target, projects)
    before = of_the_ledger(entries, found)
    to = to_go_back_to(entries, release_id, (state.release_id for state in before.values()))
    views: tuple[ExportedView, ...] = ()
    if not flip_to_kept(target, before, to):
        views = write_again(settings, to, before)
    seconds = time.perf_counter() - started
    left_out = found.keys() - before.keys()
    after = _states(target, [project for project in projects if project not in left_out])
    served_already = left is not None and left.release_id == to.release_id
    if not served_already:
        at = max((state.flipped_at for state in after.values()), default=None)
        tables = {view for state in after.values() for view in state.views}
        promotions.record(registry.lake, "rollback", to.release_id, at, tables)
    done = RolledBack(to.release_id, None if left is None else left.release_id, seconds, views)
    if on_flipped is not None:
        on_flipped(done)
    if not served_already and _rows(before) == _rows(after):
        return done
    return replace(done, feast_problem=_point_feast(settings, to))


def clean(settings: Settings, on_step: Step | None = None) -> tuple[RemovedGeneration, ...]:
    """Remove the generations that are not kept: what is left of failed runs, and what served too long ago.

    Raises:
        OnlineError: the store is unreachable or refused; a rerun removes the rest.
    """
    from featmill.online.server import online_target

    registry, target = open_registry(settings.lake_dir), online_target(settings)
    return _clean(target, _own_projects(registry, target), settings.keep_generations, on_step)


def projects_of(registry: Registry, target: OnlineTarget) -> list[str]:
    """The Feast projects that this lake's releases were ever promoted to.

    The store knows them: parsing the dbt project would take longer than a rollback.
    """
    bases = {release.project for release in registry.releases()}
    return sorted({project for base in bases for project in known_projects(target, base)})


def _own_projects(registry: Registry, target: OnlineTarget) -> list[str]:
    """`projects_of`, refused where one of them is another lake's by now."""
    from featmill.online.ownership import Owner, lake_id, require_owner

    projects = projects_of(registry, target)
    bases = sorted({release.project for release in registry.releases()})
    require_owner(target, projects, Owner(" ".join(bases), lake_id(registry.lake.root)))
    return projects


def _states(target: OnlineTarget, projects: Sequence[str]) -> dict[str, ServingState]:
    found = {project: read_state(target, project) for project in projects}
    return {project: state for project, state in found.items() if state is not None}


def _rows(states: Mapping[str, ServingState]) -> dict[str, str]:
    return {project: state.rows_project for project, state in states.items()}


def _point_feast(settings: Settings, to: Promotion) -> str | None:
    """Let the Feast repository, if there is one, read the rows that serve; what went wrong, if anything did.

    The rollback stands whatever becomes of it.
    """
    from exporters.feast.repository import SETTINGS_FILE, repository_folder

    if not (repository_folder(settings) / SETTINGS_FILE).is_file():
        return None
    try:
        apply_feast(settings, open_release(settings, to.release_id, to.read_at))
    except FeatmillError as error:
        return error.message
    return None


def _clean(
    target: OnlineTarget, projects: Sequence[str], keep: int, on_step: Step | None
) -> tuple[RemovedGeneration, ...]:
    from exporters.redis.removal import remove_generation

    removed = []
    for project in projects:
        state = read_state(target, project)
        for generation in expired(read_generations(target, project, state), keep):
            total = max((view.rows for view in generation.views.values()), default=0)
            gone = remove_generation(
                target, project, generation.rows_project, _counting(on_step, total)
            )
            if gone is not None:
                removed.append(gone)
    return tuple(removed)


def _counting(on_step: Step | None, total: int) -> Callable[[str, int], None] | None:
    if on_step is None:
        return None
    return lambda rows_project, gone: on_step(f"{rows_project}, old", gone, max(total, gone))
