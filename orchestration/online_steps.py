"""The steps that meet the online store: export a release, prove that what serves is what was published."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.errors import NoRelease, ParityError
from featmill.warehouse.registry import open_registry
from orchestration.tasks import load_catalog

if TYPE_CHECKING:
    import pyarrow as pa

    from exporters.redis import ParityReport
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
    """What an export came to."""

    release_id: str
    views: tuple[ExportedView, ...]
    feast_services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: a report for each view; all are equal."""

    release_id: str
    reports: tuple[ParityReport, ...]


def export(
    settings: Settings,
    release_id: str | None = None,
    on_step: Step | None = None,
    *,
    force: bool = False,
    with_feast: bool = True,
) -> Exported:
    """Put a release online, view by view, and apply the Feast repository that reads it.

    Raises:
        NoRelease: there is nothing to export.
        OnlineError: the store is unreachable or refused; what is online stays whole per entity, and a rerun resumes.
    """
    from featmill.online.server import online_target

    catalog, registry = load_catalog(settings), open_registry(settings.lake_dir)
    release = registry.find(release_id)
    target = online_target(settings)
    done = []
    for table, snapshot in _online(catalog, registry, release):
        view = _View(catalog.feast_project(table.tenant), table, snapshot, release, registry)
        done.append(_export_view(target, view, on_step, force=force))
    services = _apply_feast(settings, catalog, registry, target) if with_feast else ()
    return Exported(release.release_id, tuple(done), services)


def verify(
    settings: Settings, release_id: str | None = None, on_step: Step | None = None
) -> Verified:
    """Compare every key and feature online with a release, exactly.

    Raises:
        NoRelease: there is nothing to compare with.
        ParityError: something differs; the message names key, feature and both values.
    """
    from exporters.redis import verify_view
    from exporters.rows import online_row_count, online_rows
    from featmill.online.server import online_target

    catalog, registry = load_catalog(settings), open_registry(settings.lake_dir)
    release = registry.find(release_id)
    target = online_target(settings)
    reports = []
    for table, snapshot in _online(catalog, registry, release):
        on_rows = _counting(on_step, table, online_row_count(table, snapshot))
        with online_rows(table, snapshot, registry.released_snapshots(table.name)) as rows:
            reports.append(
                verify_view(target, catalog.feast_project(table.tenant), table, rows, on_rows)
            )
    if not all(report.is_equal for report in reports):
        raise ParityError(
            _differences(release, reports),
            hint="put the release online again: featmill export --force",
        )
    return Verified(release.release_id, tuple(reports))


@dataclass(frozen=True, slots=True)
class _View:
    """One view to export, and where its rows are."""

    project: str
    table: FeatureTable
    snapshot: Snapshot
    release: Release
    registry: Registry


def _online(
    catalog: Catalog, registry: Registry, release: Release
) -> list[tuple[FeatureTable, Snapshot]]:
    """The release's tables that are declared online, in name order.

    Raises:
        NoRelease: the release holds none of them: an empty export or proof would be worth nothing.
    """
    tables = sorted(
        (t for t in catalog.tables if t.online and t.is_latest), key=lambda table: table.name
    )
    held = [
        (table, registry.lake.snapshot(table.name, release.snapshots[table.name]))
        for table in tables
        if table.name in release.snapshots
    ]
    if not held:
        wanted = ", ".join(table.name for table in tables) or "none"
        raise NoRelease(
            f"release {release.release_id} holds no online table of this project (it declares: {wanted})",
            hint="build the project, or point FEATMILL_HOME at the home it was built in",
        )
    return held


def _export_view(
    target: OnlineTarget, view: _View, on_step: Step | None, *, force: bool
) -> ExportedView:
    from exporters.redis import ExportJob, export_view
    from exporters.rows import online_row_count, online_rows, vanished_keys

    table, snapshot = view.table, view.snapshot
    total = online_row_count(table, snapshot)
    job = ExportJob(
        project=view.project,
        table=table,
        snapshot_id=snapshot.snapshot_id,
        release_id=view.release.release_id,
        as_of=view.release.as_of,
        total_rows=total,
        force=force,
    )
    with ExitStack() as opened:

        def vanished(ids: tuple[str, ...]) -> pa.RecordBatchReader:
            before = [s for s in view.registry.lake.snapshots(table.name) if s.snapshot_id in ids]
            return opened.enter_context(vanished_keys(table, snapshot, before or [snapshot]))

        released = view.registry.released_snapshots(table.name)
        rows = opened.enter_context(online_rows(table, snapshot, released))
        result = export_view(
            target, job, rows, vanished=vanished, on_progress=_counting(on_step, table, total)
        )
    return ExportedView(
        view=table.name,
        snapshot_id=snapshot.snapshot_id,
        entities=total,
        written=result.rows,
        deleted=result.deleted,
        bytes=result.bytes,
        seconds=result.seconds,
        resumed_from=result.resumed_from,
        unchanged=result.unchanged,
    )


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


def _differences(release: Release, reports: Sequence[ParityReport]) -> str:
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
    return "\n".join(lines)
