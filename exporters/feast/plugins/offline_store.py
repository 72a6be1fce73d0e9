"""Feast's offline store over the lake: historical features by featmill's own lookup, at its speed and with its rules.

In `feature_store.yaml`:

    offline_store:
      type: exporters.feast.plugins.offline_store.FeatmillOfflineStore
      home: ..

What a lookup finds is that of a training set: the end of a ttl is outside, of ties the later published row wins, an
entity that left the snapshots is gone, every entity row is answered once and in its place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pyarrow as pa
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.infra.offline_stores.file_source import FileLoggingDestination, FileSource
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalMetadata
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.utils import compute_non_entity_date_range

from exporters.feast.plugins.entities import EntityRows, frame_rows, query_rows, range_rows
from exporters.feast.plugins.jobs import Answer, FeatmillRetrievalJob, Retrieval
from exporters.feast.plugins.lookups import Lookup, found_rows, lookup_of, lookup_sql
from exporters.feast.plugins.released import release_at
from exporters.feast.plugins.source import FeatmillSource, home_of
from exporters.feast.plugins.tables import plain_table
from exporters.rows import visible_rows
from featmill.contract.catalog import FeatureTable, JoinKey
from featmill.contract.types import parse_type
from featmill.errors import ContractError, UsageError
from featmill.training.request import MEMORY
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    from feast import FeatureView

_REFUSED_WRITE = "a published table changes by a build and a release alone (rule 19)"


class FeatmillOfflineStoreConfig(FeastConfigBaseModel):  # type: ignore[misc]  # Feast is not typed
    """`offline_store` in `feature_store.yaml`.

    `home` is `FEATMILL_HOME`, relative to the file's folder. `defaults` fills what a lookup does not find with the
    declared defaults, as featmill's training sets do; Feast's readers online do not, so it is off. `zone` is that of
    times without one; without it they are refused (rule 1). `memory` is DuckDB's limit, beyond which it spills.
    """

    type: str = "exporters.feast.plugins.offline_store.FeatmillOfflineStore"
    home: str = ".."
    defaults: bool = False
    zone: str | None = None
    memory: str = MEMORY


class FeatmillOfflineStore(OfflineStore):  # type: ignore[misc]  # Feast is not typed
    """Reads published tables; writes nothing but saved datasets and logs of served features."""

    @staticmethod
    def get_historical_features(  # noqa: PLR0913 - Feast's own signature
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | str | None,
        registry: Any,  # noqa: ANN401 - Feast's registry
        project: str,
        full_feature_names: bool = False,
        **range_of: Any,  # noqa: ANN401 - start_date and end_date, where there is no entity_df
    ) -> FeatmillRetrievalJob:
        """The features of each entity row as they were at its time; nothing is read before a result is asked for.

        Raises:
            NoRelease: a table has never been released.
            UsageError: a view's source is not ours, or a feature does not exist.
        """
        wanted = _features_by_view(feature_views, feature_refs)
        lookups = [
            lookup_of(view, names, config, number, full_feature_names=full_feature_names)
            for number, (view, names) in enumerate(wanted)
        ]
        if entity_df is None:
            bounds = compute_non_entity_date_range(feature_views, **range_of)
            given: Callable[[Any], EntityRows] = _in_range(lookups, bounds)
        elif isinstance(entity_df, str):
            database = home_of(config) / "features.duckdb"

            def given(connection: Any) -> EntityRows:  # noqa: ANN401 - DuckDB's connection
                return query_rows(connection, entity_df, database)
        else:
            frame = entity_df

            def given(connection: Any) -> EntityRows:  # noqa: ANN401, ARG001 - as above
                return frame_rows(frame)

        zone, once = config.offline_store.zone, _once(given)
        retrieval = Retrieval(
            rows=lambda c: found_rows(c, once(c), lookups, zone),
            sql=lambda c: lookup_sql(c, once(c), lookups, zone),
            memory=config.offline_store.memory,
        )
        return FeatmillRetrievalJob(
            retrieval,
            Answer(
                full_feature_names=full_feature_names,
                on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
                metadata=_metadata(feature_refs, once, retrieval),
                repository=Path(config.repo_path or "."),
            ),
        )

    @staticmethod
    def pull_latest_from_table_or_query(  # noqa: PLR0913 - Feast's own signature
        config: RepoConfig,
        data_source: Any,  # noqa: ANN401 - a Feast source
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime,
        end_date: datetime,
    ) -> FeatmillRetrievalJob:
        """What would be online at `end_date`, of it what is not older than `start_date`.

        Raises:
            ContractError: the source is not ours.
            NoRelease: nothing was released up to then.
        """
        if not isinstance(data_source, FeatmillSource):
            raise _foreign(data_source)
        table = _table_of(
            config, data_source, join_key_columns, feature_name_columns, timestamp_field
        )

        def latest(connection: duckdb.DuckDBPyConnection) -> pa.Table:
            registry = data_source.registry(config)
            release = release_at(registry, table.name, end_date)
            snapshot = registry.lake.snapshot(table.name, release.snapshots[table.name])
            released = registry.released_snapshots(table.name)
            with visible_rows(table, snapshot, released) as visible:
                connection.register("latest", visible.reader().read_all())
            keyless = (
                "" if join_key_columns else f", {literal(DUMMY_ENTITY_VAL)} AS {DUMMY_ENTITY_ID}"
            )
            # Of a release all rows were published together.
            created = (
                f", TIMESTAMPTZ {literal(snapshot.published_at.isoformat(sep=' '))} "
                f"AS {quote(created_timestamp_column)}"
                if created_timestamp_column
                else ""
            )
            return connection.sql(
                f"SELECT *{created}{keyless} FROM latest WHERE {_between(timestamp_field, start_date, end_date)}"
            ).to_arrow_table()

        return _pulled(config, latest)

    @staticmethod
    def pull_all_from_table_or_query(  # noqa: PLR0913 - Feast's own signature
        config: RepoConfig,
        data_source: Any,  # noqa: ANN401 - a Feast source
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> FeatmillRetrievalJob:
        """Every released row between two times, both included; also of a saved dataset or a log.

        Raises:
            ContractError: the source is neither ours nor Parquet files.
        """
        names = [*join_key_columns, *feature_name_columns, timestamp_field]
        if created_timestamp_column:
            names.append(created_timestamp_column)
        columns = ", ".join(quote(name) for name in dict.fromkeys(names))
        keyless = "" if join_key_columns else f", {literal(DUMMY_ENTITY_VAL)} AS {DUMMY_ENTITY_ID}"
        sql = (
            f"SELECT {columns}{keyless} FROM {_relation(config, data_source)} "
            f"WHERE {_between(timestamp_field, start_date, end_date)}"
        )
        return _pulled(config, lambda c: c.sql(sql).to_arrow_table(), lambda _: sql)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: Any,  # noqa: ANN401, ARG004 - Feast's own signature
        logging_config: Any,  # noqa: ANN401 - as above
        registry: Any,  # noqa: ANN401, ARG004 - as above
    ) -> None:
        """Append what a feature server logged to a folder of Parquet files.

        Raises:
            ContractError: the destination is not one of files.
        """
        import uuid

        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise ContractError(
                f"features are logged to Parquet files, not to a {type(destination).__name__}",
                hint="declare a FileLoggingDestination",
            )
        ds.write_dataset(
            pq.read_table(data) if isinstance(data, Path) else data,
            base_dir=Path(config.repo_path or ".") / destination.path,
            basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
            partitioning=destination.partition_by,
            format="parquet",
            existing_data_behavior="overwrite_or_ignore",
        )

    @staticmethod
    def offline_write_batch(
        config: RepoConfig,  # noqa: ARG004 - Feast's own signature
        feature_view: FeatureView,
        table: pa.Table,  # noqa: ARG004 - as above
        progress: Callable[[int], Any] | None,  # noqa: ARG004 - as above
    ) -> None:
        """Refuse it.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"rows cannot be written to {feature_view.name}: {_REFUSED_WRITE}",
            hint="put them into the source that its dbt model reads, and build",
        )


def _features_by_view(
    views: Sequence[FeatureView], references: Sequence[str]
) -> list[tuple[FeatureView, list[str]]]:
    """Each view with the features asked of it, in the order they were asked for; on-demand features are not of a view.

    Raises:
        KeyError: a view has no such feature; Feast's own error for it.
    """
    wanted: dict[str, list[str]] = {view.projection.name_to_use(): [] for view in views}
    for reference in dict.fromkeys(references):
        name, _, feature = reference.partition(":")
        if name in wanted:
            wanted[name].append(feature)
    found = [(view, wanted[view.projection.name_to_use()]) for view in views]
    for view, names in found:
        known = {field.name for field in view.features}
        for name in names:
            if name not in known:
                raise KeyError(
                    f"{view.name} has no feature {name}; it has: {', '.join(sorted(known))}"
                )
    return [(view, names) for view, names in found if names]


def _in_range(
    lookups: Sequence[Lookup], bounds: tuple[datetime, datetime]
) -> Callable[[Any], EntityRows]:
    views = [(lookup.view, lookup.keys) for lookup in lookups]
    return lambda connection: range_rows(connection, views, *bounds)


def _once(given: Callable[[Any], EntityRows]) -> Callable[[Any], EntityRows]:
    """The entity rows, read when they are first asked for: a query may be dear, and give other rows later."""
    held: list[EntityRows] = []

    def read(connection: Any) -> EntityRows:  # noqa: ANN401 - DuckDB's connection
        if not held:
            held.append(given(connection))
        return held[0]

    return read


def _metadata(
    references: Sequence[str], given: Callable[[Any], EntityRows], retrieval: Retrieval
) -> Callable[[], RetrievalMetadata]:
    """What a saved dataset keeps of a retrieval; the entity rows are read for it when it is asked for."""

    def made() -> RetrievalMetadata:
        with retrieval.connection() as connection:
            entities = given(connection)
        first, last = entities.bounds
        keys = [name for name in entities.rows.column_names if name != entities.time]
        return RetrievalMetadata(
            features=list(references),
            keys=keys,
            min_event_timestamp=first,
            max_event_timestamp=last,
        )

    return made


def _table_of(
    config: RepoConfig, source: FeatmillSource, keys: list[str], features: list[str], time: str
) -> FeatureTable:
    """The table with these features: as declared, else as published."""
    declared = source.declared()
    if declared is not None:
        wanted = tuple(declared.feature(name) for name in features)
        return declared.model_copy(update={"features": wanted})
    types = dict(source.get_table_column_names_and_types(config))
    return plain_table(
        source.table,
        [JoinKey(name=name, type=parse_type(types[name])) for name in keys],
        time,
        [(name, parse_type(types[name])) for name in features],
    )


def _pulled(
    config: RepoConfig,
    rows: Callable[[duckdb.DuckDBPyConnection], pa.Table],
    sql: Callable[[duckdb.DuckDBPyConnection], str] | None = None,
) -> FeatmillRetrievalJob:
    retrieval = Retrieval(rows=rows, sql=sql, memory=config.offline_store.memory)
    return FeatmillRetrievalJob(retrieval, Answer(repository=Path(config.repo_path or ".")))


def _relation(config: RepoConfig, source: Any) -> str:  # noqa: ANN401 - a Feast source
    if isinstance(source, FeatmillSource):
        snapshots = source.registry(config).released_snapshots(source.table)
        return f"({relation_sql(snapshots)})"
    if isinstance(source, FileSource):
        path = Path(config.repo_path or ".") / source.path
        files = path / "**" / "*.parquet" if path.is_dir() else path
        return f"read_parquet({literal(str(files))}, union_by_name=true)"
    raise _foreign(source)


def _between(column: str, start: datetime | None, end: datetime | None) -> str:
    bounds = [
        f"{quote(column)}::TIMESTAMPTZ {sign} TIMESTAMPTZ {literal(moment.isoformat(sep=' '))}"
        for sign, moment in ((">=", start), ("<=", end))
        if moment is not None
    ]
    return " AND ".join(bounds) or "true"


def _foreign(source: object) -> ContractError:
    return ContractError(
        f"a {type(source).__name__} cannot be read here: this offline store reads published tables",
        hint="give the view a FeatmillSource, or a repository of its own with Feast's own stores",
    )
