"""A release on its way online: where its rows go in each Feast project, and the flip that makes them serve (rule 21).

In place the live rows themselves are replaced, and the serving state says so from before the first of them to after the
last. A generation is written beside what serves, compared with the release, and nobody reads it before the flip. What
is being built is known from the store, so that any later run of the same release goes on with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.redis.generations import (
    Generation,
    GenerationState,
    make_live,
    put_generation,
    read_generations,
    rows_project_of,
    settle_live,
    tell_incomplete,
)
from featmill import clock
from featmill.errors import ParityError
from featmill.online.ownership import Owner, lake_id, own, require_owner
from featmill.online.plan import plan_views
from featmill.online.serving_state import (
    PublishMode,
    ServedView,
    ServingState,
    next_epoch,
    read_state,
    remember_projects,
)
from orchestration.found_rows import found_rows, rows_to_work_on
from orchestration.online_views import (
    ViewWrite,
    compare_view,
    declared_online,
    differences,
    retire,
    undeclared,
    write_view,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.redis import ParityReport, RetiredView
    from featmill.contract.catalog import FeatureTable
    from featmill.warehouse.model import Snapshot
    from orchestration.found_rows import FoundRows
    from orchestration.online_views import ExportedView, OnlineRelease, Step


class Publication:
    """One run of one release, in every Feast project that has a view of it or serves already.

    With `force` every row is written, whatever the store says that it has.
    """

    def __init__(self, step: OnlineRelease, mode: PublishMode, *, force: bool = False) -> None:
        self._step = step
        for project in step.projects:
            of_project = [
                table
                for table in declared_online(step.catalog)
                if step.catalog.feast_project(table.tenant) == project
            ]
            # Before anything is written: two features of one project may collide in the store.
            plan_views(project, of_project)
        owner = Owner(step.catalog.project, lake_id(step.registry.lake.root))
        require_owner(step.target, step.projects, owner)
        serving = {project: read_state(step.target, project) for project in step.projects}
        for project, state in serving.items():
            if state is not None or step.of_project(project):
                own(step.target, project, owner)
        self.places = tuple(
            Place(PlaceJob(step, project, mode, force), state)
            for project, state in serving.items()
            if state is not None or step.of_project(project)
        )
        if self.places:
            projects = [place.project for place in self.places]
            remember_projects(step.target, step.catalog.project, projects)

    @property
    def is_beside(self) -> bool:
        """Whether nobody has read any of the rows yet."""
        return not any(place.is_live for place in self.places)

    @property
    def rows_projects(self) -> Mapping[str, str]:
        """Of each Feast project, the name in the keys of the rows that this run writes."""
        return {place.project: place.rows_project for place in self.places}

    def write(self, on_step: Step | None) -> tuple[ExportedView, ...]:
        """Write every view; what is beside the live rows then holds no view that is not declared."""
        done = tuple(view for place in self.places for view in place.write(on_step))
        beside = {p.project: p.rows_project for p in self.places if not p.is_live}
        extra = undeclared(self._step.target, self._step.catalog, beside, self._step.only)
        retire(self._step.target, self._step.catalog, extra)
        return done

    def prove(self, on_step: Step | None) -> tuple[ParityReport, ...]:
        """Compare all that was written with the release, exactly; what was found proven is not compared again.

        Raises:
            ParityError: something differs; what served before goes on serving, and the next run writes every row.
        """
        compared = [(place, place.compare(on_step)) for place in self.places]
        reports = tuple(report for _, of_place in compared for report in of_place)
        for place, of_place in compared:
            if not all(report.is_proof for report in of_place):
                place.doubt()
        if not all(report.is_proof for report in reports):
            raise ParityError(
                differences(self._step.release, reports, ()),
                hint="somebody else wrote there, or the store lost rows: run the command again, it writes every row",
            )
        for place in self.places:
            place.settle()
        return reports

    def flip(self) -> bool:
        """Make all of it serve, one Feast project after the other; False where all of it did already."""
        flipped = [place.flip() for place in self.places]
        return any(flipped)

    def retire_live(self) -> tuple[RetiredView, ...]:
        """Take away the live views that are not declared any more."""
        live = {place.project: place.rows_project for place in self.places if place.is_live}
        rest = {p: p for p in self._step.projects if p not in self.rows_projects}
        extra = undeclared(self._step.target, self._step.catalog, live | rest, self._step.only)
        return retire(self._step.target, self._step.catalog, extra)


@dataclass(frozen=True, slots=True)
class PlaceJob:
    """Which release goes to which Feast project, and how."""

    step: OnlineRelease
    project: str
    mode: PublishMode
    force: bool = False


class Place:
    """Where the rows of one Feast project go.

    `is_live` says that readers see them while they are written.
    """

    def __init__(self, job: PlaceJob, serving: ServingState | None) -> None:
        self.project = job.project
        self._step = job.step
        self._mode = job.mode
        self._serving = serving
        self._epoch = next_epoch(self._step.target, self.project)
        known = read_generations(self._step.target, self.project, serving)
        settle_live(self._step.target, self.project, serving, known)
        wanted = self._step.release.release_id
        found = rows_to_work_on(known, self.project, wanted, job.mode, force=job.force)
        self._generation = found or self._new(
            rows_project_of(self.project, self._mode, self._epoch)
        )
        self._force = job.force or self._generation.is_doubted
        self._found: FoundRows | None = None
        self._is_marked = False
        self._views = {} if serving is None else dict(serving.views)

    @property
    def rows_project(self) -> str:
        """The name in the keys of its rows."""
        return self._generation.rows_project

    @property
    def is_live(self) -> bool:
        """Whether readers see the rows while they are written."""
        if self._serving is None:
            return self._mode is PublishMode.IN_PLACE
        return self._serving.rows_project == self.rows_project

    @property
    def serving(self) -> ServingState | None:
        """What serves, as far as this run knows."""
        return self._serving

    def write(self, on_step: Step | None) -> list[ExportedView]:
        """Write every view, unless all of them are there."""
        views = self._step.of_project(self.project)
        if not self._force:
            writes = [self._view(table, snapshot) for table, snapshot in views]
            wanted = self._step.release.release_id
            self._found = found_rows(self._generation, self._serving, wanted, writes)
        if self._found is not None:
            self._generation = self._generation.model_copy(update={"read_at": self._step.read_at})
            return list(self._found.views)
        if self._generation.state is GenerationState.LIVE and self._mode is PublishMode.GENERATION:
            self._generation = self._new(rows_project_of(self.project, self._mode, self._epoch))
        self._begin()
        done = []
        for table, snapshot in views:
            result = write_view(self._view(table, snapshot), on_step)
            self._wrote(result)
            done.append(result)
        served = {v.view: ServedView(snapshot_id=v.snapshot_id, rows=v.entities) for v in done}
        update = {"views": served, "is_doubted": False}
        self._generation = self._generation.model_copy(update=update)
        return done

    def compare(self, on_step: Step | None) -> list[ParityReport]:
        """A report for each view, unless all of them are known to be what was published."""
        if self._found is not None and self._found.is_proven:
            return []
        return [
            compare_view(self._step, self.rows_project, view, on_step)
            for view in self._step.of_project(self.project)
        ]

    def settle(self) -> None:
        """Note that a generation is whole and proven."""
        if self._found is not None and self._found.is_proven:
            return
        self._generation = self._generation.model_copy(update={"proven_at": clock.now()})
        waits = self._generation.state in (GenerationState.BUILDING, GenerationState.READY)
        if waits and not self.is_live:
            self._generation = self._generation.as_state(GenerationState.READY)
            put_generation(self._step.target, self.project, self._generation)

    def doubt(self) -> None:
        """Note that the rows are not what was published: what nobody reads is to go, the rest to be written anew."""
        doubted = self._generation.model_copy(update={"is_doubted": True})
        if not self.is_live:
            doubted = doubted.as_state(GenerationState.REMOVING)
        put_generation(self._step.target, self.project, doubted)

    def flip(self) -> bool:
        """Make it serve; False where it did already, to the last view."""
        before = self._serving
        is_there = before is not None and before.rows_project == self.rows_project
        if self._found is not None and is_there:
            return False
        self._serving = make_live(self._step.target, self.project, self._generation, self._epoch)
        return True

    def _new(self, rows_project: str) -> Generation:
        release = self._step.release
        return Generation(
            rows_project=rows_project,
            release_id=release.release_id,
            as_of=release.as_of,
            released_at=release.released_at,
            epoch=self._epoch,
            state=GenerationState.BUILDING,
            started_at=clock.now(),
            read_at=self._step.read_at,
        )

    def _begin(self) -> None:
        """Note what is being built, and by which run."""
        if self._generation.state is GenerationState.REMOVING:
            self._finish_removal()
        begun = self._new(self.rows_project)
        # Until every row is written: this run may be killed as well.
        begun = begun.model_copy(update={"is_doubted": self._generation.is_doubted})
        if self._generation.state is GenerationState.BUILDING:
            begun = begun.model_copy(update={"started_at": self._generation.started_at})
        self._generation = begun
        put_generation(self._step.target, self.project, begun)

    def _finish_removal(self) -> None:
        from exporters.redis.removal import remove_generation

        remove_generation(self._step.target, self.project, self.rows_project)

    def _view(self, table: FeatureTable, snapshot: Snapshot) -> ViewWrite:
        return ViewWrite(
            step=self._step,
            rows_project=self.rows_project,
            table=table,
            snapshot=snapshot,
            epoch=self._epoch,
            force=self._force,
            before=(lambda: self._replacing(table.name)) if self.is_live else None,
        )

    def _replacing(self, view: str) -> None:
        """Say, before the first row, that a row of the view may be of either snapshot."""
        rows = self._views[view].rows if view in self._views else 0
        self._views[view] = ServedView(snapshot_id=None, rows=rows)
        self._is_marked = True
        self._put_incomplete()

    def _wrote(self, view: ExportedView) -> None:
        self._views[view.view] = ServedView(snapshot_id=view.snapshot_id, rows=view.entities)
        if self._is_marked:
            self._put_incomplete()

    def _put_incomplete(self) -> None:
        begun = self._generation.model_copy(update={"views": self._views})
        self._serving = tell_incomplete(self._step.target, self.project, begun, self._epoch)
