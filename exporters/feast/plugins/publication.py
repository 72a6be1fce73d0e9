"""Released views on their way online through Feast: in place, under one epoch, told to readers and to the ledger.

It is what `featmill promote` does in place, of the views that Feast asks for. What serves by generations is not
touched: there all views go online by one flip, and Feast asks for them as it likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from exporters.redis import ExportJob, SnapshotRows, export_snapshot
from exporters.redis.generations import (
    Generation,
    GenerationState,
    make_live,
    put_generation,
    tell_incomplete,
)
from featmill import clock
from featmill.errors import OnlineRefused
from featmill.online.live import read_live
from featmill.online.plan import plan_views
from featmill.online.serving_state import (
    PublishMode,
    ServedView,
    next_epoch,
    read_state,
)
from featmill.warehouse import promotions

if TYPE_CHECKING:
    from datetime import datetime

    from exporters.rows import VisibleRows
    from featmill.contract.catalog import FeatureTable
    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord
    from featmill.online.serving_state import ServingState
    from featmill.warehouse.model import Release, Snapshot
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class ReleasedView:
    """A Feast view, the published table behind it, and what a release holds of that.

    `on_rows` is called with how many rows there are, and gives what is told how many of them are online.
    """

    name: str
    table: FeatureTable
    registry: Registry
    release: Release
    on_rows: Callable[[int], Callable[[int], None] | None] | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The table's snapshot in the release."""
        return self.registry.lake.snapshot(self.table.name, self.release.snapshots[self.table.name])

    @property
    def online(self) -> FeatureTable:
        """The table under the view's name, which its rows bear online."""
        return self.table.model_copy(update={"name": self.name})


@dataclass(slots=True)
class Publication:
    """One run over the views of one Feast project.

    Raises:
        OnlineRefused: the project serves by generations.
        OnlineUnreachable: the store does not answer.
    """

    target: OnlineTarget
    project: str
    read_at: datetime = field(default_factory=clock.now)
    _epoch: int = 0
    _views: dict[str, ServedView] = field(default_factory=dict)
    _live: dict[str, LiveRecord] = field(default_factory=dict)

    def publish(self, views: Sequence[ReleasedView]) -> None:
        """Put the views online, one after the other; then, and only then, readers are told that all are whole.

        Raises:
            ContractError: two features share a field online.
            OnlineRefused: a newer release of a view is online, or another run has taken over.
            LakeError: what was released cannot be read.
        """
        plan_views(self.project, [view.online for view in views])
        serving = read_state(self.target, self.project)
        if serving is not None and serving.mode is PublishMode.GENERATION:
            raise OnlineRefused(
                f"project {self.project} serves generation {serving.rows_project}, which is read-only",
                hint="featmill promote writes the next one and flips to it",
            )
        self._live = read_live(self.target, self.project)
        for view in views:
            self._require_newer(view)
        self._views = _served(serving, self._live)
        self._epoch = next_epoch(self.target, self.project)
        newest = max((view.release for view in views), key=lambda r: (r.as_of, r.released_at))
        changed = [self._write(view, newest) for view in views]
        if any(changed) or serving is None or not serving.is_complete:
            state = make_live(self.target, self.project, self._generation(newest), self._epoch)
            self._record(views, newest, state.flipped_at)

    def _require_newer(self, view: ReleasedView) -> None:
        """Rule 21: a run that is late, or tried again, must not undo what went online since."""
        record = self._live.get(view.name)
        if record is not None and record.as_of > view.release.as_of:
            raise OnlineRefused(
                f"{view.name} serves {record.as_of:%Y-%m-%d %H:%M:%S} UTC, and what was asked for is "
                f"{view.release.as_of:%Y-%m-%d %H:%M:%S} UTC",
                hint="materialize moves forward only; featmill rollback goes back",
            )

    def _write(self, view: ReleasedView, newest: Release) -> bool:
        """One view; False where all of it was there."""
        released = view.registry.released_snapshots(view.table.name, at=self.read_at)
        snapshot = view.snapshot
        before = self._views.get(view.name)
        replaced = ServedView(snapshot_id=None, rows=0 if before is None else before.rows)
        result, rows = export_snapshot(
            self.target,
            SnapshotRows(view.table, snapshot, released, view.registry),
            partial(self._job, view),
            before=lambda: self._tell(view, newest, replaced),
            on_rows=view.on_rows,
        )
        served = ServedView(snapshot_id=snapshot.snapshot_id, rows=rows)
        if result.unchanged:
            self._views[view.name] = served
            return False
        self._tell(view, newest, served)
        return True

    def _job(self, view: ReleasedView, visible: VisibleRows) -> ExportJob:
        return ExportJob(
            project=self.project,
            table=view.online,
            snapshot_id=view.snapshot.snapshot_id,
            release_id=view.release.release_id,
            as_of=view.release.as_of,
            total_rows=visible.count,
            content=visible.content,
            holds=visible.holds,
            epoch=self._epoch,
            # Views that share its keys may have let them go, where featmill promote lets keys expire.
            keeps=any(record.may_expire for record in self._live.values()),
        )

    def _tell(self, view: ReleasedView, newest: Release, served: ServedView) -> None:
        """Tell readers what the view holds, and that the project is not whole yet."""
        self._views[view.name] = served
        begun = self._generation(newest)
        put_generation(self.target, self.project, begun)
        tell_incomplete(self.target, self.project, begun, self._epoch)

    def _generation(self, newest: Release) -> Generation:
        return Generation(
            rows_project=self.project,
            release_id=newest.release_id,
            as_of=newest.as_of,
            released_at=newest.released_at,
            epoch=self._epoch,
            state=GenerationState.BUILDING,
            started_at=self.read_at,
            read_at=self.read_at,
            views=self._views,
        )

    def _record(self, views: Sequence[ReleasedView], newest: Release, flipped_at: datetime) -> None:
        """The ledger's entry: these views as they serve now, and the others as they did before."""
        lake = views[0].registry.lake
        states = promotions.served(promotions.ledger(lake))
        before = states[-1].live if states else None
        snapshots = dict(before.snapshots) if before is not None else {}
        snapshots |= {view.table.name: view.snapshot.snapshot_id for view in views}
        release = replace(newest, snapshots=snapshots)
        promotions.record_live(lake, release, list(snapshots), self.read_at, flipped_at)


def _served(serving: ServingState | None, live: dict[str, LiveRecord]) -> dict[str, ServedView]:
    """What each view serves: as readers were told, or as its own record says."""
    if serving is not None:
        return dict(serving.views)
    return {
        name: ServedView(
            snapshot_id=record.snapshot_id if record.is_complete else None, rows=record.rows
        )
        for name, record in live.items()
    }
