"""A recipe over a spine, as record batches: checked, joined and put in order, and never more than a few in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.contract.catalog import FeatureRef
from featmill.errors import FeatmillError, LakeError, SpineError
from featmill.training import planner
from featmill.training.fallbacks import SERVING, stood_in
from featmill.training.labels import mature_rows
from featmill.training.recipe import all_snapshots, snapshots_of
from featmill.training.request import Added
from featmill.training.request_features import check_computed, with_computed
from featmill.training.served import EPOCH, served_view, with_epochs
from featmill.training.spine import MOMENT, SpineColumns, check_spine
from featmill.training.spine_source import open_source, source_identity
from featmill.training.spine_windows import Beside, at_spine, evaluate_windows, window_types
from featmill.training.views import answer_columns, check_names, check_released, said, view_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from featmill.training.request import Recipe
    from featmill.training.spine import Spine
    from featmill.training.spine_source import SpineSource
    from featmill.training.spine_windows import WindowsOf
    from featmill.warehouse.lake import Lake
    from featmill.warehouse.model import Snapshot

_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training set, to be read once, while what made them is open.

    `spine` is the spine's identity; `labels` how many rows are mature and not; `choices` the engine of each view;
    `evaluated_at` says of each `view:feature` whether its value is a `snapshot`'s or was computed at the `spine`'s
    time, and `windows` how those were. Nothing is joined before `reader` is asked for.
    """

    begin: Callable[[], pa.RecordBatchReader]
    spine: dict[str, Any]
    labels: dict[str, int]
    choices: tuple[planner.Choice, ...]
    evaluated_at: dict[str, str]
    windows: tuple[WindowsOf, ...] = ()

    @cached_property
    def reader(self) -> pa.RecordBatchReader:
        """The rows in the spine's order.

        Raises:
            SpineError, LakeError: now or while it is read: the spine or what was released cannot be read.
        """
        return self.begin()

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.reader.schema.names)


@contextmanager
def training_rows(recipe: Recipe, lake: Lake, source: SpineSource) -> Iterator[TrainingRows]:
    """The rows of a recipe over a spine, in the spine's order.

    Raises:
        SpineError: the spine cannot be read, lacks a column, has NULLs, immature labels or a key of another kind.
        LakeError: what was released cannot be read, or no snapshot of it has a wanted feature.
        UsageError: a window is to be evaluated at the spine's times and its table keeps no events.
    """
    with TemporaryDirectory(prefix="featmill-") as scratch, _connection(recipe, scratch) as opened:
        relation = open_source(opened, source, Path(scratch))
        wanted = SpineColumns(recipe.time, recipe.keys, recipe.zone)
        spine = check_spine(opened, source.name, relation, wanted)
        check_names(spine, recipe.answered, recipe.added)
        check_computed(opened, spine, recipe)
        identity = source_identity(opened, source, relation)
        if recipe.mode == "served":
            spine = with_epochs(spine, recipe.epochs)
        spine, labels = mature_rows(opened, spine, recipe)
        snapshots = snapshots_of(lake, all_snapshots(recipe))
        views = _views(opened, recipe, snapshots, spine)
        with _translated(source):
            windows = evaluate_windows(opened, recipe, snapshots, spine, Path(scratch))
            plan = _plan(opened, recipe, spine, views)

        def begin() -> pa.RecordBatchReader:
            with _translated(source):
                joined = plan.reader(_BATCH_ROWS)
            return _answer(joined, recipe, spine, (source, windows))

        at = _evaluated_at(recipe)
        yield TrainingRows(begin, identity, labels, plan.explain(), at, tuple(windows))


def _plan(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, spine: Spine, views: list[dict[str, Any]]
) -> planner.Plan:
    hidden = (MOMENT, EPOCH) if recipe.mode == "served" else (MOMENT,)
    status = recipe.added != Added() or bool(recipe.fallbacks)
    join = planner.Join(spine.sql, MOMENT, views, status=status, hidden=hidden)
    return planner.plan(connection, join, engine=recipe.engine)


def _evaluated_at(recipe: Recipe) -> dict[str, str]:
    return {
        f"{table.name}:{feature.name}": "spine"
        if feature in at_spine(recipe, table)
        else "snapshot"
        for table in recipe.tables
        for feature in table.features
    }


@contextmanager
def _connection(recipe: Recipe, scratch: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory that spills into `scratch` beyond the recipe's memory."""
    import duckdb

    config: dict[str, Any] = {"temp_directory": scratch, "memory_limit": recipe.memory}
    try:
        opened = duckdb.connect(config=config)
    except duckdb.Error as error:
        raise FeatmillError(f"memory {recipe.memory!r}: {said(error)}") from error
    with opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def _views(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    snapshots: Mapping[str, Sequence[Snapshot]],
    spine: Spine,
) -> list[dict[str, Any]]:
    """What is looked up: every table, but of one whose windows are all evaluated elsewhere only its status."""
    views = []
    for table in recipe.tables:
        read = snapshots[table.name]
        elsewhere = at_spine(recipe, table)
        looked_up = [feature for feature in table.features if feature not in elsewhere]
        plain = view_of(table, looked_up, read)
        check_released(connection, plain)
        if recipe.mode == "served":
            by_id = {snapshot.snapshot_id: snapshot for snapshot in read}
            plain = served_view(connection, table, by_id, recipe.epochs, spine)
        views.append(plain)
    return views


def _answer(
    joined: pa.RecordBatchReader,
    recipe: Recipe,
    spine: Spine,
    made_of: tuple[SpineSource, Sequence[WindowsOf]],
) -> pa.RecordBatchReader:
    """The columns that were asked for, in their order."""
    import pyarrow as pa

    source, windows = made_of
    names = [*spine.columns]
    for table in recipe.answered:
        names += answer_columns(table, recipe.added)
    types = {field.name: field.type for field in joined.schema} | window_types(windows)
    schema = pa.schema([pa.field(name, types.get(name, pa.string())) for name in names])

    def batches() -> Iterator[pa.RecordBatch]:
        beside = Beside(windows)
        with _translated(source):
            for batch in joined:
                columns = dict(zip(batch.schema.names, batch.columns, strict=True))
                columns |= beside.next(batch.num_rows)
                columns |= _own_statuses(columns, recipe)
                if recipe.added.value_status or recipe.fallbacks:
                    columns |= _values(columns, recipe)
                yield pa.RecordBatch.from_arrays([columns[name] for name in names], schema=schema)

    return with_computed(recipe, spine, pa.RecordBatchReader.from_batches(schema, batches()))


def _own_statuses(columns: Mapping[str, pa.Array], recipe: Recipe) -> dict[str, pa.Array]:
    """The status of each table of whose values none was looked up: its windows', and not that of a snapshot's row."""
    return {
        f"{table.name}__status": columns[f"{table.name}__"]
        for table in recipe.tables
        if len(at_spine(recipe, table)) == len(table.features)
    }


def _values(columns: Mapping[str, pa.Array], recipe: Recipe) -> dict[str, pa.Array]:
    """Rule 18 for each value: what stands in where the lookup found nothing that serves, and the value's status."""
    import pyarrow as pa
    import pyarrow.compute as pc

    statuses = _row_statuses(columns, recipe)
    found, changed = stood_in(columns, statuses, recipe)
    serving = pa.array(SERVING)
    for table in recipe.answered if recipe.added.value_status else ():
        for feature in table.features:
            ref = FeatureRef(view=table.name, feature=feature.name)
            status = changed.get(ref, statuses[ref])
            if feature.has_default and feature.default is not None:
                status = pc.if_else(pc.is_in(status, serving), status, "default")
            found[f"{table.name}__{feature.name}__status"] = status
    return found


def _row_statuses(columns: Mapping[str, pa.Array], recipe: Recipe) -> dict[FeatureRef, pa.Array]:
    """What the lookup found for each feature.

    Windows at the spine's times have a status of their own: whether there was any event before (rule 20), and whether
    events are known up to the row.
    """
    return {
        FeatureRef(view=table.name, feature=feature.name): columns[
            f"{table.name}__" + ("" if feature in at_spine(recipe, table) else "status")
        ]
        for table in recipe.tables
        for feature in table.features
    }


@contextmanager
def _translated(source: SpineSource) -> Iterator[None]:
    """What DuckDB and Arrow raise inside the block, as an error of the spine or of the lake.

    DuckDB names the file that it stumbled over, and tells whose it is in no other way.
    """
    import duckdb
    import pyarrow as pa

    try:
        yield
    except FeatmillError:
        raise
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if source.name in str(error):
            raise SpineError(f"{source.name} cannot be read: {said(error)}") from error
        raise LakeError(f"the released snapshots cannot be read: {said(error)}") from error
