"""Feast's compute engine over releases: `feast materialize` puts the newest release online, in place, at our speed.

In `feature_store.yaml`:

    batch_engine:
      type: exporters.feast.plugins.compute_engine.FeatmillComputeEngine

What goes online of a view is what a lookup at its release's as_of finds, never a part of it: `end_date` chooses the
newest release with an as_of up to it, and `start_date` is not looked at. What was not released cannot be chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from feast.infra.common.materialization_job import (
    MaterializationJob,
    MaterializationJobStatus,
    MaterializationTask,
)
from feast.infra.compute_engines.base import ComputeEngine
from feast.repo_config import FeastConfigBaseModel

from exporters.feast.plugins.publication import Publication, ReleasedView
from exporters.feast.plugins.released import release_at
from exporters.feast.plugins.store_target import store_target
from exporters.feast.plugins.tables import view_table

if TYPE_CHECKING:
    from feast.infra.common.retrieval_task import HistoricalRetrievalTask
    from feast.infra.offline_stores.offline_store import RetrievalJob


class FeatmillComputeEngineConfig(FeastConfigBaseModel):  # type: ignore[misc]  # Feast is not typed
    """`batch_engine` in `feature_store.yaml`."""

    type: str = "exporters.feast.plugins.compute_engine.FeatmillComputeEngine"


@dataclass(frozen=True, slots=True)
class _Done(MaterializationJob):  # type: ignore[misc]  # Feast is not typed
    """A view that is online; what goes wrong is raised instead."""

    view: str
    snapshot_id: str

    def status(self) -> MaterializationJobStatus:
        return MaterializationJobStatus.SUCCEEDED

    def error(self) -> BaseException | None:
        return None

    def should_be_retried(self) -> bool:
        return False

    def job_id(self) -> str:
        return f"{self.view}-{self.snapshot_id}"

    def url(self) -> str | None:
        return None


class FeatmillComputeEngine(ComputeEngine):  # type: ignore[misc]  # Feast is not typed
    """Materialises released snapshots; history is the offline store's."""

    def __init__(self, **given: Any) -> None:  # noqa: ANN401 - handed on as it is
        given.pop("type", None)
        super().__init__(**given)

    @property
    def supports_batch(self) -> bool:
        """All views of one call go online under one epoch."""
        return True

    def update(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Feast's own signature
        """Nothing to prepare."""

    def teardown_infra(self, *_: Any, **__: Any) -> None:  # noqa: ANN401 - Feast's own signature
        """Nothing to take down."""

    def materialize(
        self,
        registry: Any,  # noqa: ANN401, ARG002 - Feast's own signature
        tasks: MaterializationTask | list[MaterializationTask],
        **_: Any,  # noqa: ANN401 - as above
    ) -> list[MaterializationJob]:
        """Put the views of these tasks online; all of them are looked up before a row is written.

        Raises:
            ContractError: a view's source is not ours.
            NoRelease: nothing of a view was released up to the end date.
            OnlineRefused: a newer release is online, or the project is published by generations.
            OnlineUnreachable: the store does not answer.
        """
        given = [tasks] if isinstance(tasks, MaterializationTask) else list(tasks)
        if not given:
            return []
        views = [self._released(task) for task in given]
        target = store_target(self.repo_config.online_store)
        Publication(target, given[0].project).publish(views)
        return [_Done(view.name, view.snapshot.snapshot_id) for view in views]

    def _released(self, task: MaterializationTask) -> ReleasedView:
        found = view_table(task.feature_view, self.repo_config)
        registry = found.source.registry(self.repo_config)
        return ReleasedView(
            name=task.feature_view.name,
            table=found.table,
            registry=registry,
            release=release_at(registry, found.table.name, task.end_time),
            on_rows=_on_rows(task.tqdm_builder),
        )

    def get_historical_features(
        self,
        registry: Any,  # noqa: ANN401 - Feast's own signature
        task: HistoricalRetrievalTask,
    ) -> RetrievalJob:
        """The offline store's answer: there is one way to look history up."""
        view = task.feature_view
        name = view.projection.name_to_use()
        references = [f"{name}:{feature.name}" for feature in view.features]
        bounds = {"start_date": task.start_time, "end_date": task.end_time}
        return self.offline_store.get_historical_features(
            config=self.repo_config,
            feature_views=[view],
            feature_refs=references,
            entity_df=task.entity_df,
            registry=registry,
            project=task.project,
            full_feature_names=task.full_feature_name,
            **(bounds if task.entity_df is None else {}),
        )


def _on_rows(
    builder: Callable[[int], Any] | None,
) -> Callable[[int], Callable[[int], None] | None] | None:
    """Feast's progress bar, told how far it is instead of how much further."""
    if builder is None:
        return None

    def begin(total: int) -> Callable[[int], None]:
        bar = builder(total)

        def told(rows: int) -> None:
            bar.update(rows - bar.n)
            if rows >= total:
                bar.close()

        return told

    return begin
