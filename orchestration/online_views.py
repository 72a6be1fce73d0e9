"""The views of one release on their way online: which there are, their rows written, compared and taken away."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill import clock
from featmill.errors import NoRelease

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from exporters.redis import ParityReport, RetiredView, Sample
    from exporters.redis.job import ExportJob
    from exporters.rows import VisibleRows
    from featmill.contract.catalog import Catalog, FeatureTable
    from featmill.online.connection import OnlineTarget
    from featmill.online.expiry import KeyExpiry
    from featmill.warehouse.model import Release, Snapshot
    from featmill.warehouse.registry import Registry

Step = Callable[[str, int, int], None]
"""Called as rows move: the view, how many of its rows have, how many it has."""


@dataclass(frozen=True, slots=True)
class ExportedView:
    """What the export of one view came to; `unchanged` says the store held its snapshot already.

    `changed` is how many rows differed from what was online; None where every row was written, and `reason` says why.
    """

    view: str
    snapshot_id: str
    entities: int
    written: int
    deleted: int
    bytes: int
    seconds: float
    resumed_from: int
    unchanged: bool
    changed: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class OnlineRelease:
    """A release and the store it goes to: what an export, a proof, a promotion and a rollback start from.

    `views` are the tables that are declared online and that the release holds, `absent` the names of those it lacks.
    `read_at` is the moment that the registry is read at: what was released later is of no concern (rule 22). `grace` is
    how long keys stay after their ttl, None where they do not expire. `only` names the tables that may be online with
    it: those that were when it went live, where it goes back there; None for all that are declared.
    """

    catalog: Catalog
    registry: Registry
    release: Release
    target: OnlineTarget
    views: tuple[tuple[FeatureTable, Snapshot], ...]
    absent: tuple[str, ...]
    read_at: datetime
    grace: timedelta | None = None
    only: frozenset[str] | None = None

    @property
    def projects(self) -> tuple[str, ...]:
        """The Feast projects of the tenants that are declared, and the default one's, sorted."""
        tenants = {"default", *(table.tenant for table in self.catalog.tables)}
        return tuple(sorted(map(self.catalog.feast_project, tenants)))

    def of_project(self, project: str) -> list[tuple[FeatureTable, Snapshot]]:
        """The views of one Feast project."""
        return [
            (table, snapshot)
            for table, snapshot in self.views
            if self.catalog.feast_project(table.tenant) == project
        ]

    def expiry(self, table: FeatureTable) -> KeyExpiry | None:
        """When the keys of a table's rows may go that are written now; None where they stay."""
        from featmill.online.expiry import key_expiry

        tables = [t for t in declared_online(self.catalog) if t.tenant == table.tenant]
        # No row is from after either, also where the release is of a moment to come.
        written_at = max(clock.now(), self.release.as_of)
        return key_expiry(table, tables, self.grace, written_at)

    def released(self, table: FeatureTable) -> list[Snapshot]:
        """The table's released snapshots as the registry stood."""
        return self.registry.released_snapshots(table.name, at=self.read_at)


def declared_online(catalog: Catalog) -> list[FeatureTable]:
    """The tables that are declared online, in name order."""
    return sorted((t for t in catalog.tables if t.online and t.is_latest), key=lambda t: t.name)


def held(
    registry: Registry, release: Release, declared: Sequence[FeatureTable]
) -> tuple[tuple[tuple[FeatureTable, Snapshot], ...], tuple[str, ...]]:
    """The declared tables that the release holds, with their snapshots, and the names of those it lacks."""
    found = tuple(
        (table, registry.lake.snapshot(table.name, release.snapshots[table.name]))
        for table in declared
        if table.name in release.snapshots
    )
    return found, tuple(t.name for t in declared if t.name not in release.snapshots)


def require_views(
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


def undeclared(
    target: OnlineTarget,
    catalog: Catalog,
    rows_projects: Mapping[str, str],
    only: Collection[str] | None = None,
) -> list[tuple[str, str]]:
    """Rows project and view of everything that is online there and not declared online, or none of `only`.

    `rows_projects`: of each Feast project the name in the keys of its rows. Of the tenants that are declared: another
    project's name may look like that of a tenant which is gone.
    """
    from featmill.online.live import live_views

    tables = [t for t in declared_online(catalog) if only is None or t.name in only]
    declared = {(catalog.feast_project(table.tenant), table.name) for table in tables}
    return [
        (rows, view)
        for project, rows in sorted(rows_projects.items())
        for view in live_views(target, rows)
        if (project, view) not in declared
    ]


def retire(
    target: OnlineTarget, catalog: Catalog, views: Sequence[tuple[str, str]]
) -> tuple[RetiredView, ...]:
    """Take views offline: rows project and view, as `undeclared` finds them."""
    from exporters.redis import retire_view
    from featmill.online.plan import feature_field

    keep = {
        feature_field(table.name, feature.name)
        for table in declared_online(catalog)
        for feature in table.features
    }
    return tuple(retire_view(target, rows, view, keep=keep) for rows, view in views)


@dataclass(frozen=True, slots=True)
class ViewWrite:
    """One view to write: where its rows go, and by which promotion.

    `before` is called before the first row is written, if any is.
    """

    step: OnlineRelease
    rows_project: str
    table: FeatureTable
    snapshot: Snapshot
    epoch: int = 0
    force: bool = False
    before: Callable[[], None] | None = None


def write_view(write: ViewWrite, on_step: Step | None) -> ExportedView:
    """Make the store hold the view's rows and no others of it."""
    from exporters.redis import SnapshotRows, export_snapshot

    step, table, snapshot = write.step, write.table, write.snapshot
    result, entities = export_snapshot(
        step.target,
        SnapshotRows(table, snapshot, step.released(table), step.registry),
        lambda visible: _job(write, visible),
        before=write.before,
        on_rows=lambda total: counting(on_step, table, total),
    )
    return ExportedView(
        view=table.name,
        snapshot_id=snapshot.snapshot_id,
        entities=entities,
        written=result.rows,
        deleted=result.deleted,
        bytes=result.bytes,
        seconds=result.seconds,
        resumed_from=result.resumed_from,
        unchanged=result.unchanged,
        changed=result.changed,
        reason=result.reason,
    )


def written_view(write: ViewWrite) -> ExportedView | None:
    """What `write_view` would come to if the store holds exactly the view's rows already; None where it does not."""
    from exporters.redis import is_written
    from exporters.rows import visible_rows

    table, snapshot = write.table, write.snapshot
    with visible_rows(table, snapshot, write.step.released(table)) as visible:
        if not is_written(write.step.target, _job(write, visible)):
            return None
        return ExportedView(
            table.name, snapshot.snapshot_id, visible.count, 0, 0, 0, 0.0, 0, unchanged=True
        )


def compare_view(
    step: OnlineRelease,
    rows_project: str,
    view: tuple[FeatureTable, Snapshot],
    on_step: Step | None,
    sample: Sample | None = None,
) -> ParityReport:
    """Compare the view's keys and values with its snapshot, exactly: all of them, or a sample, which proves nothing."""
    from exporters.redis import ParityJob, compare_rows
    from exporters.rows import visible_rows

    table, snapshot = view
    with visible_rows(table, snapshot, step.released(table)) as visible:
        share = None if sample is None else sample.of(visible.count)
        job = ParityJob(rows_project, table, share, step.expiry(table))
        on_rows = counting(on_step, table, visible.count)
        return compare_rows(step.target, job, visible.reader(), on_rows)


def counting(on_step: Step | None, table: FeatureTable, total: int) -> Callable[[int], None] | None:
    """A view's progress, told as the steps tell theirs."""
    if on_step is None:
        return None
    return lambda rows: on_step(table.name, rows, total)


def differences(
    release: Release, reports: Sequence[ParityReport], extra: Sequence[tuple[str, str]]
) -> str:
    """What differs, in words: the first differences by key and feature, and the views that are not declared."""
    lines = [f"online and release {release.release_id} differ:"]
    for report in reports:
        if report.sampled is not None:
            lines.append(f"  {report.view}: of a sample of {report.checked_entities:,} entities:")
        if report.record is None:
            lines.append(f"  {report.view}: nothing was ever exported")
        elif report.is_incomplete:
            lines.append(
                f"  {report.view}: an export stopped at row {report.record.position:,} of {report.record.to_write:,}: "
                "incomplete until featmill export resumes it"
            )
        if report.total_differences:
            lines.append(f"  {report.view}: {report.total_differences:,} differences")
        lines += [
            f"    {d.key} {d.feature}: published {d.expected}, online {d.actual}"
            for d in report.differences
        ]
    lines += [f"  {view}: online but not declared" for _, view in extra]
    return "\n".join(lines)


def _job(write: ViewWrite, visible: VisibleRows) -> ExportJob:
    from exporters.redis import ExportJob

    expiry = write.step.expiry(write.table)
    return ExportJob(
        project=write.rows_project,
        table=write.table,
        snapshot_id=write.snapshot.snapshot_id,
        release_id=write.step.release.release_id,
        as_of=write.step.release.as_of,
        total_rows=visible.count,
        content=visible.content,
        holds=visible.holds,
        force=write.force,
        epoch=write.epoch,
        expiry=expiry,
        # Views that share its keys may have let them go.
        keeps=expiry is None and write.step.grace is not None,
    )
