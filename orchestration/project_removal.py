"""Feast projects of tenants that are not declared any more: what they served goes with the next promotion.

Nobody would ever write to them again, so their rows would serve for ever. First the pointer leaves the rows, so that a
reader finds nothing from one moment on; then every row goes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from exporters.redis.generations import read_generations, rows_project_of
from exporters.redis.removal import remove_generation
from exporters.redis.retire import RetiredView
from featmill import clock
from featmill.errors import OnlineRefused
from featmill.online.ownership import Owner, lake_id, require_owner
from featmill.online.serving_state import (
    PublishMode,
    forget_project,
    known_projects,
    next_epoch,
    put_state,
    read_state,
)

if TYPE_CHECKING:
    from orchestration.online_views import OnlineRelease


def retire_projects(step: OnlineRelease) -> tuple[RetiredView, ...]:
    """Take every Feast project offline that the dbt project was promoted to and that has no tenant any more.

    Another dbt project of the same name keeps what is its own. Killed half-way, the next promotion takes the rest.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
    """
    base = step.catalog.project
    gone = [p for p in known_projects(step.target, base) if p not in step.projects]
    retired: list[RetiredView] = []
    for project in gone:
        if _is_ours(step, project):
            retired += _retire(step, project)
        forget_project(step.target, base, project)
    return tuple(retired)


def _is_ours(step: OnlineRelease, project: str) -> bool:
    """Neither another lake's nor that of a dbt project of this name."""
    owner = Owner(step.catalog.project, lake_id(step.registry.lake.root))
    try:
        require_owner(step.target, [project], owner)
    except OnlineRefused:
        return False
    return project not in known_projects(step.target, project)


def _retire(step: OnlineRelease, project: str) -> list[RetiredView]:
    """Of each view that served how many entities it had."""
    target, serving = step.target, read_state(step.target, project)
    rows = set(read_generations(target, project, serving))
    if serving is not None:
        rows.add(serving.rows_project)
        epoch = next_epoch(target, project)
        nothing = {
            "epoch": epoch,
            "mode": PublishMode.GENERATION,
            "rows_project": rows_project_of(project, PublishMode.GENERATION, epoch),
            "views": {},
            "is_complete": True,
            "flipped_at": clock.now(),
        }
        put_state(target, project, serving.model_copy(update=nothing))
    for rows_project in sorted(rows):
        remove_generation(target, project, rows_project)
    views = {} if serving is None else serving.views
    return [RetiredView(project, view, views[view].rows) for view in sorted(views)]
