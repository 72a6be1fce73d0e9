"""Lookup cases through the Feast SDK over our own offline store: published, released, and asked for by Feast.

Unlike stock Feast, which is given a file, the store reads a lake. The rows of each of a case's snapshots are committed
to one and released; where a case does not speak of snapshots, publishing says that nothing vanished between them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.conformance.case import Case
from featmill.conformance.lookup import SPINE_ROW, VIEW, numbered_spine_sql
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Refused, Rows
from featmill.contract.catalog import Feature, FeatureTable, JoinKey
from featmill.contract.types import parse_type
from featmill.errors import FeatmillError
from featmill.warehouse.columns import literal, published_expression, quote
from featmill.warehouse.lake import Lake
from featmill.warehouse.model import Snapshot, Vanished
from featmill.warehouse.registry import Registry

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa
    from feast import FeatureStore

_PLUGINS = "exporters.feast.plugins"
_FIRST = datetime.fromisoformat("2026-06-01T00:00:00Z")


class FeastPluginLookups:
    """The Feast SDK with our offline store."""

    name = "feast-featmill"

    def answer(self, case: Case) -> Answer:
        """The answer to a lookup case."""
        if case.kind != "lookup":
            return Inexpressible(f"not a {case.kind}")
        with TemporaryDirectory(prefix="featmill-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with redirect_stdout(StringIO()):
                return _answered(case, Path(folder))


def _answered(case: Case, folder: Path) -> Answer:
    import duckdb

    try:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            _release(connection, case, Registry(Lake(folder / "lake")))
            frame = _entity_frame(connection, case)
        return _rows(case, _historical(case, folder, frame))
    except FeatmillError as error:
        said = error.message if error.hint is None else f"{error.message} ({error.hint})"
        # A frame has no name: where a case wants the spine's, ours says what it is in Feast.
        return Refused(type(error).__name__, said.replace("the entity_df", "spine.parquet"))
    # Feast raises what it likes; of none of it does a rule speak.
    except Exception as error:
        return Broken(f"{type(error).__name__}: {error}".splitlines()[0][:200])


def _historical(case: Case, folder: Path, frame: pd.DataFrame) -> pa.Table:
    store = _open(case, folder)
    features = [f"{VIEW}:{feature['name']}" for feature in case.declaration["features"]]
    return store.get_historical_features(frame, features, full_feature_names=True).to_arrow()


def _release(connection: duckdb.DuckDBPyConnection, case: Case, registry: Registry) -> None:
    connection.execute(f"CREATE TABLE given AS {case.tables['rows'].sql()}")
    described = connection.execute("DESCRIBE given").fetchall()
    published = ", ".join(published_expression(str(row[0]), str(row[1])) for row in described)
    for snapshot in _snapshots(connection, case, registry.lake):
        rows = f"SELECT {published} FROM given WHERE snapshot_id = {literal(snapshot.snapshot_id)}"
        reader = connection.sql(rows).to_arrow_reader(1_000)
        registry.commit(snapshot.as_of, [registry.lake.append(reader, snapshot)], "conformance")


def _snapshots(connection: duckdb.DuckDBPyConnection, case: Case, lake: Lake) -> Iterator[Snapshot]:
    """The case's snapshots, or those its rows name, one minute after the other."""
    if "snapshots" in case.tables:
        made = [
            (str(row[0]), datetime.fromisoformat(row[1])) for row in case.tables["snapshots"].rows
        ]
    else:
        found = connection.execute("SELECT DISTINCT snapshot_id FROM given ORDER BY ALL").fetchall()
        # A table without rows is published too.
        names = [str(row[0]) for row in found] or ["none"]
        made = [(name, _FIRST + timedelta(minutes=n)) for n, name in enumerate(names)]
    counted = connection.execute("SELECT snapshot_id, count(*) FROM given GROUP BY ALL").fetchall()
    rows = {str(snapshot_id): int(count) for snapshot_id, count in counted}
    before: str | None = None
    for snapshot_id, as_of in made:
        speaks = "snapshots" in case.tables or before is None
        yield Snapshot(
            table=VIEW,
            snapshot_id=snapshot_id,
            as_of=as_of,
            cut_off=as_of,
            published_at=as_of,
            fingerprint="",
            sources=(),
            rows=rows.get(snapshot_id, 0),
            content_hash="",
            location=str(lake.location(VIEW)),
            delta_version=-1,
            vanished=None if speaks else Vanished(since=str(before), entities=0),
        )
        before = snapshot_id


def _table(case: Case) -> FeatureTable:
    declared = case.declaration
    ttl = declared.get("ttl_us")
    return FeatureTable(
        name=VIEW,
        model=VIEW,
        candidate=VIEW,
        publish_node=None,
        version=None,
        entity=VIEW,
        join_keys=tuple(
            JoinKey(name=name, type=parse_type(kind)) for name, kind in declared["keys"].items()
        ),
        event_time="feature_at",
        ttl=None if ttl is None else timedelta(microseconds=ttl),
        online=False,
        tenant="default",
        owner=None,
        description="",
        tags=(),
        features=tuple(
            Feature(
                name=feature["name"],
                type=parse_type(feature["type"]),
                description="",
                has_default="default" in feature,
                default=feature.get("default"),
                ignore_nulls=feature.get("ignore_nulls", False),
                classification="internal",
                window=None,
            )
            for feature in declared["features"]
        ),
        sources=(),
    )


def _open(case: Case, folder: Path) -> FeatureStore:
    from feast import Entity, FeatureStore, FeatureView, Field, ValueType
    from feast import types as feast_types

    # Feast finds a plug-in by its name; it lies in a layer above this one.
    from feast.importer import import_class
    from feast.repo_config import RepoConfig

    table = _table(case)
    source = import_class(f"{_PLUGINS}.source", "FeatmillSource")
    entities = [
        Entity(name=f"e_{k.name}", join_keys=[k.name], value_type=ValueType[k.type.kind.name])
        for k in table.join_keys
    ]
    store = FeatureStore(
        config=RepoConfig(
            project="conformance",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={
                "type": f"{_PLUGINS}.offline_store.FeatmillOfflineStore",
                "home": str(folder),
                "defaults": True,
                "zone": case.declaration.get("zone"),
            },
            online_store=None,
            coerce_tz_aware=False,
            entity_key_serialization_version=3,
        )
    )
    columns = [(key.name, key.type.feast) for key in table.join_keys]
    columns += [(feature.name, feature.type.feast) for feature in table.features]
    view = FeatureView(
        name=VIEW,
        entities=entities,
        ttl=table.ttl or timedelta(0),
        schema=[Field(name=name, dtype=_dtype(feast_types, kind)) for name, kind in columns],
        source=source(
            name=VIEW, timestamp_field="feature_at", declaration=table.model_dump(mode="json")
        ),
        online=False,
    )
    store.apply([*entities, view])
    return store


def _dtype(feast_types: Any, name: str) -> Any:  # noqa: ANN401 - Feast's types, which are not typed
    element = name.removeprefix("Array(").removesuffix(")")
    found = getattr(feast_types, element)
    return found if element == name else feast_types.Array(found)


def _entity_frame(connection: duckdb.DuckDBPyConnection, case: Case) -> pd.DataFrame:
    """The spine as a DataFrame that keeps Arrow's types: a NULL beside integers makes no floats of them."""
    import pandas as pd

    time, sql = case.declaration["time"], numbered_spine_sql(case)
    described = connection.execute(f"DESCRIBE {sql}").fetchall()
    moments = [str(row[0]) for row in described if str(row[1]).startswith("TIMESTAMP")]
    if moments != [time] and time in [str(row[0]) for row in described]:
        sql = f"SELECT * RENAME ({quote(time)} AS event_timestamp) FROM ({sql})"
    return connection.sql(sql).to_arrow_table().to_pandas(types_mapper=pd.ArrowDtype)


def _rows(case: Case, found: pa.Table) -> Answer:
    names = [feature["name"] for feature in case.declaration["features"]]
    columns = [found.column(f"{VIEW}__{name}").to_pylist() for name in names]
    numbers = [int(number) for number in found.column(SPINE_ROW).to_pylist()]
    return Rows(tuple(names), list(zip(*columns, strict=True)), numbers)
