"""A recipe over a spine, as record batches: checked, joined and put in order, and never more than a few in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.errors import FeatmillError, LakeError, SpineError
from featmill.training import planner
from featmill.training.labels import mature_rows
from featmill.training.recipe import all_snapshots, snapshots_of
from featmill.training.served import EPOCH, served_view, with_epochs
from featmill.training.spine import MOMENT, SpineColumns, check_spine
from featmill.training.spine_source import open_source, source_identity
from featmill.training.views import answer_columns, check_names, check_released, said, view_of

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from featmill.contract.catalog import FeatureTable
    from featmill.training.request import Recipe
    from featmill.training.spine import Spine
    from featmill.training.spine_source import SpineSource
    from featmill.warehouse.lake import Lake

_BATCH_ROWS = 65_536


@dataclass(frozen=True)
class TrainingRows:
    """The rows of a training set, to be read once, while what made them is open.

    `spine` is the spine's identity; `labels` how many rows are mature and not; `choices` the engine of each view;
    `evaluated_at` says of each `view:feature` whether its value is a `snapshot`'s or was computed at the `spine`'s
    time. Nothing is joined before `reader` is asked for.
    """

    begin: Callable[[], pa.RecordBatchReader]
    spine: dict[str, Any]
    labels: dict[str, int]
    choices: tuple[planner.Choice, ...]
    evaluated_at: dict[str, str]

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
    """
    with TemporaryDirectory(prefix="featmill-") as scratch, _connection(recipe, scratch) as opened:
        relation = open_source(opened, source, Path(scratch))
        wanted = SpineColumns(recipe.time, recipe.keys, recipe.zone)
        spine = check_spine(opened, source.name, relation, wanted)
        check_names(spine, recipe.tables, recipe.added)
        hidden = [MOMENT]
        if recipe.mode == "served":
            spine, hidden = with_epochs(spine, recipe.epochs), [MOMENT, EPOCH]
        spine, labels = mature_rows(opened, spine, recipe)
        views = _views(opened, recipe, lake, spine)
        added = recipe.added
        status = added.status or added.source_times or added.value_status
        join = planner.Join(spine.sql, MOMENT, views, status=status, hidden=tuple(hidden))
        identity = source_identity(opened, source, relation)
        with _translated(source):
            plan = planner.plan(opened, join, engine=recipe.engine)

        def begin() -> pa.RecordBatchReader:
            with _translated(source):
                joined = plan.reader(_BATCH_ROWS)
            return _answer(joined, recipe, spine, source)

        evaluated = {f"{t.name}:{f.name}": "snapshot" for t in recipe.tables for f in t.features}
        yield TrainingRows(begin, identity, labels, plan.explain(), evaluated)


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
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, lake: Lake, spine: Spine
) -> list[dict[str, Any]]:
    snapshots = snapshots_of(lake, all_snapshots(recipe))
    views = []
    for table in recipe.tables:
        read = snapshots[table.name]
        plain = view_of(table, table.features, read)
        check_released(connection, plain)
        if recipe.mode == "served":
            by_id = {snapshot.snapshot_id: snapshot for snapshot in read}
            plain = served_view(connection, table, by_id, recipe.epochs, spine)
        views.append(plain)
    return views


def _answer(
    joined: pa.RecordBatchReader, recipe: Recipe, spine: Spine, source: SpineSource
) -> pa.RecordBatchReader:
    """The columns that were asked for, in their order."""
    import pyarrow as pa

    names = [*spine.columns]
    for table in recipe.tables:
        names += answer_columns(table, recipe.added)
    present = set(joined.schema.names)
    fields = [joined.schema.field(n) if n in present else pa.field(n, pa.string()) for n in names]
    schema = pa.schema(fields)

    def batches() -> Iterator[pa.RecordBatch]:
        with _translated(source):
            for batch in joined:
                of_values = _value_statuses(batch, recipe.tables) if len(names) > 0 else {}
                columns = [
                    batch.column(name) if name in present else of_values[name] for name in names
                ]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)

    return pa.RecordBatchReader.from_batches(schema, batches())


def _value_statuses(batch: pa.RecordBatch, tables: Sequence[FeatureTable]) -> dict[str, pa.Array]:
    """Rule 18 for each value: `default` where the lookup found nothing that serves and a default is declared."""
    import pyarrow.compute as pc

    found = {}
    for table in tables:
        status = f"{table.name}__status"
        if status not in batch.schema.names:
            continue
        column = batch.column(status)
        filled = pc.if_else(pc.equal(column, "ok"), column, "default")
        for feature in table.features:
            has_default = feature.has_default and feature.default is not None
            found[f"{table.name}__{feature.name}__status"] = filled if has_default else column
    return found


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
