"""The steps that meet the online store: export a release, prove that what serves is what was published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill import clock
from featmill.errors import NoRelease, ParityError
from featmill.warehouse.registry import open_registry
from orchestration.tasks import load_catalog

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from exporters.redis import ParityReport, RetiredView
    from featmill.contract.catalog import Catalog, FeatureTable
    from featmill.online.connection import OnlineTarget
    from featmill.settings import Settings
    from featmill.warehouse.model import Release, Snapshot
    from featmill.warehouse.registry import Registry

Step = Callable[[str, int, int], None]
"""Called as rows move: the view, how many of its rows have, how many it has."""


@dataclass(frozen=True, slots=True)
class ExportedView:
    """What the export of one view came to; `unchanged` says the store held its snapshot already."""

    view: str
    snapshot_id: str
    entities: int
    written: int
    deleted: int
    bytes: int
    seconds: float
    resumed_from: int
    unchanged: bool


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export came to.

    `absent` names the tables that are declared online and that the release lacks, `retired` the views that were live
    and are not declared online any more.
    """

    release_id: str
    views: tuple[ExportedView, ...]
    feast_services: tuple[str, ...]
    absent: tuple[str, ...] = ()
    retired: tuple[RetiredView, ...] = ()


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: a report for each view; all are equal. `absent` as in an export."""

    release_id: str
    reports: tuple[ParityReport, ...]
    absent: tuple[str, ...] = ()


def export(
    settings: Settings,
    release_id: str | None = None,
    on_step: Step | None = None,
    *,
    force: bool = False,
    with_feast: bool = True,
) -> Exported:
    """Put a release online, view by view, apply the Feast repository that reads it, retire what is not declared.

    Without a release id the newest one goes online, and must hold every table that is declared online.

    Raises:
        NoRelease: there is nothing to export, or the newest release was made before a table was declared.
        LakeError: a published table cannot be read, or lacks a declared feature.
        OnlineError: the store is unreachable or refused; what is online stays whole per entity, and a rerun resumes.
    """
    step = _step(settings, release_id)
    catalog, registry, release, target = step.catalog, step.registry, step.release, step.target
    views, absent, undeclared = step.views, step.absent, step.undeclared
    read_at = max([clock.now(), *(known.released_at for known in registry.releases())])
    done = []
    for table, snapshot in views:
        view = _View(catalog.feast_project(table.tenant), table, snapshot, release, registry)
        done.append(_export_view(target, view, on_step, force=force))
    _record_live(registry, release, done, read_at)
    services = _apply_feast(settings, catalog, registry, target) if with_feast else ()
    # Last: nothing that Feast still lists may lose its values.
    retired = _retire(target, catalog, undeclared)
    return Exported(release.release_id, tuple(done), services, absent, retired)


def verify(
    settings: Settings, release_id: str | None = None, on_step: Step | None = None
) -> Verified:
    """Compare every key and feature online with a release, exactly.

    Without a release id it is the newest one, which must hold every table that is declared online.

    Raises:
        NoRelease: there is nothing to compare with, or the newest release was made before a table was declared.
        LakeError: a published table cannot be read, or lacks a declared feature.
        ParityError: something differs; the message names key, feature and both values.
    """
    from exporters.redis import verify_view
    from exporters.rows import visible_rows

    step = _step(settings, release_id)
    catalog, registry, release, target = step.catalog, step.registry, step.release, step.target
    views, absent, undeclared = step.views, step.absent, step.undeclared
    reports = []
    for table, snapshot in views:
        project = catalog.feast_project(table.tenant)
        with visible_rows(table, snapshot, registry.released_snapshots(table.name)) as visible:
            on_rows = _counting(on_step, table, visible.count)
            reports.append(verify_view(target, project, table, visible.reader(), on_rows))
    if undeclared or not all(report.is_equal for report in reports):
        raise ParityError(
            _differences(release, reports, undeclared),
            hint="put the release online again: featmill export --force",
        )
    return Verified(release.release_id, tuple(reports), absent)


@dataclass(frozen=True, slots=True)
class _View:
    """One view to export, and where its rows are."""

    project: str
    table: FeatureTable
    snapshot: Snapshot
    release: Release
    registry: Registry


def _declared(catalog: Catalog) -> list[FeatureTable]:
    """The tables that are declared online, in name order."""
    return sorted((t for t in catalog.tables if t.online and t.is_latest), key=lambda t: t.name)


def _held(
    registry: Registry, release: Release, declared: Sequence[FeatureTable]
) -> tuple[list[tuple[FeatureTable, Snapshot]], tuple[str, ...]]:
    """The declared tables that the release holds, with their snapshots, and the names of those it lacks."""
    held = [
        (table, registry.lake.snapshot(table.name, release.snapshots[table.name]))
        for table in declared
        if table.name in release.snapshots
    ]
    return held, tuple(t.name for t in declared if t.name not in release.snapshots)


def _require_views(
    release: Release, declared: int, absent: Sequence[str], *, is_newest: bool
) -> None:
    """Refuse a release that would leave a declared table out without anybody having asked for it.

    Raises:
        NoRelease: it holds none of the declared tables, so an export or a proof would be worth nothing; or it is the
            newest one and lacks one of them.
    """
    if len(absent) == declared:
        raise NoRelease(
            f"release {release.release_id} holds no online table of this project "
            f"(it declares: {', '.join(absent) or 'none'})",
            hint="build the project, or point FEATMILL_HOME at the home it was built in",
        )
    if absent and is_newest:
        raise NoRelease(
            f"release {release.release_id} lacks {', '.join(absent)}, declared online: "
            "it was released before they were declared",
            hint="build again: the new release holds them",
        )


@dataclass(frozen=True, slots=True)
class _Step:
    """What an export and a proof of a release both start from."""

    catalog: Catalog
    registry: Registry
    release: Release
    target: OnlineTarget
    views: list[tuple[FeatureTable, Snapshot]]
    absent: tuple[str, ...]
    undeclared: list[tuple[str, str]]


def _step(settings: Settings, release_id: str | None) -> _Step:
    from featmill.online.server import online_target

    catalog, registry = load_catalog(settings), open_registry(settings.lake_dir)
    release = registry.find(release_id)
    target = online_target(settings)
    undeclared = _undeclared(target, catalog)
    declared = _declared(catalog)
    views, absent = _held(registry, release, declared)
    # Where nothing is declared online any more, taking away what is live is still to do.
    if declared or not undeclared:
        _require_views(release, len(declared), absent, is_newest=release_id is None)
    return _Step(catalog, registry, release, target, views, absent, undeclared)


def _undeclared(target: OnlineTarget, catalog: Catalog) -> list[tuple[str, str]]:
    """Feast project and view of everything that is live and not declared online.

    Of the tenants that are declared: another project's name may look like that of a tenant which is gone.
    """
    from featmill.online.live import live_views

    declared = _declared(catalog)
    found = []
    for tenant in sorted({"default", *(table.tenant for table in catalog.tables)}):
        project = catalog.feast_project(tenant)
        names = {table.name for table in declared if table.tenant == tenant}
        found += [(project, view) for view in live_views(target, project) if view not in names]
    return found


def _retire(
    target: OnlineTarget, catalog: Catalog, undeclared: Sequence[tuple[str, str]]
) -> tuple[RetiredView, ...]:
    from exporters.redis import retire_view
    from featmill.online.plan import feature_field

    keep = {
        feature_field(table.name, feature.name)
        for table in _declared(catalog)
        for feature in table.features
    }
    return tuple(retire_view(target, project, view, keep=keep) for project, view in undeclared)


def _export_view(
    target: OnlineTarget, view: _View, on_step: Step | None, *, force: bool
) -> ExportedView:
    from exporters.redis import ExportJob, export_view
    from exporters.rows import visible_rows

    table, snapshot = view.table, view.snapshot
    released = view.registry.released_snapshots(table.name)
    with visible_rows(table, snapshot, released) as visible:
        job = ExportJob(
            project=view.project,
            table=table,
            snapshot_id=snapshot.snapshot_id,
            release_id=view.release.release_id,
            as_of=view.release.as_of,
            total_rows=visible.count,
            content=visible.content,
            holds=visible.holds,
            force=force,
        )

        def vanished(ids: tuple[str, ...]) -> pa.RecordBatchReader:
            before = view.registry.lake.snapshots(table.name)
            return visible.vanished([s for s in before if s.snapshot_id in ids])

        result = export_view(
            target,
            job,
            visible.reader(),
            vanished=vanished,
            on_progress=_counting(on_step, table, visible.count),
        )
    return ExportedView(
        view=table.name,
        snapshot_id=snapshot.snapshot_id,
        entities=visible.count,
        written=result.rows,
        deleted=result.deleted,
        bytes=result.bytes,
        seconds=result.seconds,
        resumed_from=result.resumed_from,
        unchanged=result.unchanged,
    )


def _record_live(
    registry: Registry, release: Release, done: Sequence[ExportedView], read_at: datetime
) -> None:
    """Tell the ledger of promotions, unless all of this serves already; `read_at`: when the registry was read."""
    from featmill.warehouse import promotions

    states = promotions.served(promotions.ledger(registry.lake))
    live = states[-1].live if states else None
    serves = live is not None and live.release_id == release.release_id
    if not serves or not all(view.unchanged for view in done):
        promotions.record_live(registry.lake, release, [view.view for view in done], read_at)


def _counting(
    on_step: Step | None, table: FeatureTable, total: int
) -> Callable[[int], None] | None:
    if on_step is None:
        return None
    return lambda rows: on_step(table.name, rows, total)


def _apply_feast(
    settings: Settings, catalog: Catalog, registry: Registry, target: OnlineTarget
) -> tuple[str, ...]:
    from exporters.feast.apply import apply
    from exporters.feast.repository import write_repository

    services: list[str] = []
    released = {table.name: registry.released_snapshots(table.name) for table in catalog.tables}
    for tenant in sorted({table.tenant for table in catalog.tables}):
        write_repository(
            settings, catalog, released, target.feast_connection_string(), tenant=tenant
        )
        services += apply(settings, tenant=tenant).services
    return tuple(services)


def _differences(
    release: Release, reports: Sequence[ParityReport], undeclared: Sequence[tuple[str, str]]
) -> str:
    lines = [f"online and release {release.release_id} differ:"]
    for report in reports:
        if report.record is None:
            lines.append(f"  {report.view}: nothing was ever exported")
        elif report.is_incomplete:
            lines.append(
                f"  {report.view}: an export stopped at row {report.record.position:,} of {report.record.rows:,}: "
                "incomplete until featmill export resumes it"
            )
        if report.total_differences:
            lines.append(f"  {report.view}: {report.total_differences:,} differences")
        lines += [
            f"    {d.key} {d.feature}: published {d.expected}, online {d.actual}"
            for d in report.differences
        ]
    lines += [f"  {view}: online but not declared" for _, view in undeclared]
    return "\n".join(lines)
