"""The steps that meet the online store: export a release, prove that what is online is what was published."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill import clock
from featmill.contract.declarations import parse_duration
from featmill.errors import ParityError
from featmill.online.serving_state import PublishMode
from featmill.warehouse.registry import open_registry
from orchestration.online_views import (
    ExportedView,
    OnlineRelease,
    compare_view,
    declared_online,
    differences,
    held,
    require_views,
    undeclared,
)
from orchestration.tasks import load_catalog

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from exporters.redis import ParityReport, RetiredView
    from featmill.online.connection import OnlineTarget
    from featmill.settings import Settings
    from orchestration.online_views import Step
    from orchestration.publication import Publication


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to.

    `absent` names the tables that are declared online and that the release lacks, `retired` the views that were live
    and are not declared online any more. `is_live` says that it serves; a generation waits to be promoted.
    """

    release_id: str
    views: tuple[ExportedView, ...]
    feast_services: tuple[str, ...]
    absent: tuple[str, ...] = ()
    retired: tuple[RetiredView, ...] = ()
    is_live: bool = True


@dataclass(frozen=True, slots=True)
class ComparedRows:
    """The rows of one Feast project that were compared, and what became of them: `live`, `kept`, `ready`."""

    rows_project: str
    state: str
    serves: bool


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: a report for each view; all are equal. `absent` as in an export."""

    release_id: str
    reports: tuple[ParityReport, ...]
    absent: tuple[str, ...] = ()
    rows: tuple[ComparedRows, ...] = ()

    @property
    def is_sample(self) -> bool:
        """Whether no more than a part of the entities was looked at."""
        return not all(report.is_proof for report in self.reports)

    @property
    def is_proof(self) -> bool:
        """Whether what readers find is the release: every entity of every view that serves was looked at."""
        return not self.is_sample and all(rows.serves for rows in self.rows)


def export(
    settings: Settings,
    release_id: str | None = None,
    on_step: Step | None = None,
    *,
    force: bool = False,
    with_feast: bool = True,
) -> Exported:
    """Write a release's rows to the store.

    In place it serves with that: the Feast repository that reads it is applied, and what is not declared is retired.
    In generation mode it is written beside what serves and proven; `promotion.promote` makes it serve.

    Without a release id it is the newest one, which must hold every table that is declared online.

    Raises:
        NoRelease: there is nothing to export, or the newest release was made before a table was declared.
        NotNewer: without a release id: the newest one served before, and was rolled back from.
        LakeError: a published table cannot be read, or lacks a declared feature.
        OnlineError: the store is unreachable or refused; what is online stays whole per entity, and a rerun resumes.
        ParityError: a generation is not what was published; what served before serves on.
    """
    from orchestration.project_removal import retire_projects
    from orchestration.publication import Publication
    from orchestration.release_order import heal_ledger, require_newer

    step = open_release(settings, release_id)
    mode = PublishMode(settings.publish_mode)
    if mode is PublishMode.IN_PLACE:
        heal_ledger(step.registry, step.target, step.projects)
        if release_id is None:
            require_newer(step)
    publication = Publication(step, mode, force=force)
    done = publication.write(on_step)
    if mode is PublishMode.GENERATION or publication.is_beside:
        publication.prove(on_step)
    if mode is PublishMode.GENERATION:
        return Exported(step.release.release_id, done, (), step.absent, (), is_live=False)
    publication.flip()
    record_live(step, publication, done)
    services = apply_feast(settings, step) if with_feast else ()
    # Last: nothing that Feast still lists may lose its values.
    retired = (*publication.retire_live(), *retire_projects(step))
    return Exported(step.release.release_id, done, services, step.absent, retired)


def verify(
    settings: Settings,
    release_id: str | None = None,
    on_step: Step | None = None,
    *,
    sample: str | None = None,
) -> Verified:
    """Compare every key and feature online with a release, exactly.

    A `sample`, `1%` or a number of entities for each view, looks at no more than that, and proves nothing.

    Without a release id that is the one that serves, as the registry stood when it went online; the newest, which must
    hold every table that is declared online, where nothing was promoted. With one it is what serves or, where another
    generation holds that release, the generation: `rows` says which, and whether anybody reads it.

    Raises:
        NoRelease: there is nothing to compare with, or the newest release was made before a table was declared.
        LakeError: a published table cannot be read, or lacks a declared feature.
        UsageError: the sample is none.
        ParityError: something differs; the message names key, feature and both values.
    """
    from exporters.redis import Sample

    chosen = None if sample is None else Sample.parse(sample)
    step = open_release(settings, release_id)
    step = _as_it_serves(settings, step, is_asked_for=release_id is not None)
    compared = _rows_of(step)
    rows = {project: found.rows_project for project, found in compared.items()}
    extra = undeclared(step.target, step.catalog, rows, step.only)
    reports = [
        compare_view(step, rows[project], view, on_step, chosen)
        for project in step.projects
        for view in step.of_project(project)
    ]
    reports.sort(key=lambda report: report.view)
    if extra or not all(report.is_equal for report in reports):
        raise ParityError(
            differences(step.release, reports, extra),
            hint="write every row of it again: featmill promote --force --again "
            f"--release {step.release.release_id}",
        )
    of_views = tuple(compared[project] for project in step.projects if step.of_project(project))
    return Verified(step.release.release_id, tuple(reports), step.absent, of_views)


def open_release(
    settings: Settings, release_id: str | None, read_at: datetime | None = None
) -> OnlineRelease:
    """A release, by default the newest, with what it holds of the tables that are declared online, and the store.

    `read_at` reads the registry as it stood then, by default as it stands.

    Raises:
        NoRelease: there is no such release, or the newest was made before a table was declared.
        OnlineUnreachable: the store does not answer.
    """
    from featmill.online.server import online_target

    catalog, registry = load_catalog(settings), open_registry(settings.lake_dir)
    release = registry.find(release_id)
    if read_at is None:
        # Of a clock that stepped back: what is released already is part of it.
        read_at = max([clock.now(), *(known.released_at for known in registry.releases())])
    declared = declared_online(catalog)
    views, absent = held(registry, release, declared)
    target = online_target(settings)
    grace = None if settings.online_expiry is None else parse_duration(settings.online_expiry)
    step = OnlineRelease(catalog, registry, release, target, views, absent, read_at, grace)
    # Where nothing is declared online any more, taking away what is live is still to do.
    if declared or not undeclared(target, catalog, live_rows(target, step.projects)):
        require_views(release, len(declared), absent, is_newest=release_id is None)
    return step


def live_rows(target: OnlineTarget, projects: Sequence[str]) -> dict[str, str]:
    """Of each Feast project the name in the keys of the rows that serve; its own where nothing was promoted."""
    from featmill.online.serving_state import read_state

    states = {project: read_state(target, project) for project in projects}
    return {p: p if state is None else state.rows_project for p, state in states.items()}


def record_live(
    step: OnlineRelease, publication: Publication, done: Sequence[ExportedView]
) -> None:
    """Tell the ledger of promotions, unless it says all of this: release, tables, reading of the registry."""
    from featmill.warehouse import promotions
    from orchestration.release_order import is_told

    release, lake = step.release, step.registry.lake
    entries = promotions.ledger(lake)
    states = [place.serving for place in publication.places if place.serving is not None]
    tables = [view.view for view in done]
    (*_, live) = (None, *(state.live for state in promotions.served(entries)))
    is_same = live is not None and set(live.snapshots) == set(tables)
    if is_same and is_told(entries, release.release_id, states):
        return
    at = max((state.flipped_at for state in states), default=None)
    read = [state.read_at for state in states if state.read_at is not None]
    read_at = max(read, default=step.read_at)
    promotions.record_live(lake, release, tables, read_at, at)


def apply_feast(settings: Settings, step: OnlineRelease) -> tuple[str, ...]:
    """Write and apply the Feast repositories that read what serves; the names of their services."""
    from exporters.feast.apply import apply
    from exporters.feast.repository import FeastProject, write_repository

    catalog, registry = step.catalog, step.registry
    services: list[str] = []
    released = {table.name: registry.released_snapshots(table.name) for table in catalog.tables}
    rows: Mapping[str, str] = live_rows(step.target, step.projects)
    for tenant in sorted({table.tenant for table in catalog.tables}):
        place = FeastProject(tenant, rows[catalog.feast_project(tenant)])
        write_repository(
            settings, catalog, released, step.target.feast_online_config(), place=place
        )
        services += apply(settings, tenant=tenant).services
    return tuple(services)


def _as_it_serves(settings: Settings, step: OnlineRelease, *, is_asked_for: bool) -> OnlineRelease:
    """The release that serves, as it went online; the step itself where nothing was ever promoted.

    A release that `is_asked_for` is taken as the registry stands, with those of its tables that are online.

    Raises:
        ParityError: the Feast projects do not serve the same release, so what is online is none.
    """
    from featmill.online.serving_state import read_state
    from orchestration.held_features import as_held

    states = {project: read_state(step.target, project) for project in step.projects}
    serving = {p: s for p, s in states.items() if s is not None and step.of_project(p)}
    known = {release.release_id for release in step.registry.releases()}
    releases = {state.release_id for state in serving.values()}
    online = {view for state in serving.values() for view in state.views}
    if is_asked_for:
        return as_held(step, online if releases == {step.release.release_id} else None)
    if len(releases) > 1:
        raise ParityError(
            "the Feast projects serve different releases: "
            + ", ".join(f"{project} {state.release_id}" for project, state in serving.items()),
            hint="a run was killed: featmill promote finishes a promotion, featmill rollback takes it back",
        )
    if not releases or not releases <= known:
        return step
    read_at = max((s.read_at for s in serving.values() if s.read_at is not None), default=None)
    (serves,) = releases
    return as_held(open_release(settings, serves, read_at), online)


def _rows_of(step: OnlineRelease) -> dict[str, ComparedRows]:
    """Of each Feast project the rows that hold the release, or else those that serve."""
    from exporters.redis.generations import GenerationState, read_generations
    from featmill.online.serving_state import read_state

    wanted = step.release.release_id
    whole = (GenerationState.READY, GenerationState.KEPT)
    found = {}
    for project in step.projects:
        serving = read_state(step.target, project)
        rows = project if serving is None else serving.rows_project
        found[project] = ComparedRows(rows, GenerationState.LIVE.value, serves=True)
        if serving is None or serving.release_id == wanted:
            continue
        known = read_generations(step.target, project, serving).values()
        holds = [g for g in known if g.release_id == wanted and g.state in whole]
        if holds:
            best = min(holds, key=lambda g: whole.index(g.state))
            found[project] = ComparedRows(best.rows_project, best.state.value, serves=False)
    return found
