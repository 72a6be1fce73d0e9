"""Lookup cases through stock Feast, for comparison: its DuckDB offline store and its default one, on dask.

A case becomes an entity for each join key, a Parquet file source with `published_at` as its created timestamp, a view
and `get_historical_features`. The answers are put back into the spine's order by a number in the entity frame: Feast
promises none.
"""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from datetime import timedelta
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.conformance.case import Case
from featmill.conformance.lookup import SPINE_ROW, VIEW, numbered_spine_sql
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Refused, Rows
from featmill.contract.types import parse_type
from featmill.warehouse.columns import literal

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from feast import FeatureStore, FeatureView

_FEAST_TIME = "event_timestamp"


class FeastLookups:
    """Stock Feast with one of its offline stores (`duckdb` or `dask`)."""

    def __init__(self, store: str) -> None:
        self.name = f"feast-{store}"
        self._store = store

    def answer(self, case: Case) -> Answer:
        """The answer to a lookup case; whatever Feast raises is a refusal in its own words."""
        reason = _reason(case)
        if reason is not None:
            return Inexpressible(reason)
        with TemporaryDirectory(prefix="featmill-") as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with redirect_stdout(StringIO()):
                try:
                    found = self._historical(case, Path(folder))
                # Whatever a foreign library raises at a case is its answer to it.
                except Exception as error:
                    return _fallen(case, error)
        return _rows(case, found)

    def _historical(self, case: Case, folder: Path) -> pa.Table:
        view = _view(case, folder)
        store = _open(folder, self._store)
        store.apply([*_entities(case), view])
        features = [f"{VIEW}:{feature['name']}" for feature in case.declaration["features"]]
        return store.get_historical_features(_entity_frame(case), features).to_arrow()


def _reason(case: Case) -> str | None:
    """Why Feast has no words for a case, or None."""
    if case.kind != "lookup":
        return "Feast's offline stores compute no features from events"
    declared = case.declaration
    if any(feature.get("ignore_nulls") for feature in declared["features"]):
        return "no last non-NULL value"
    if any(feature.get("default") is not None for feature in declared["features"]):
        return "no defaults in a training set"
    if "snapshots" in case.tables:
        return "no deletes"
    if declared.get("zone") not in (None, "UTC"):
        return "no zone for a naive time"
    rows = case.tables["rows"]
    places = [rows.names.index(name) for name in (*declared["keys"], "feature_at", "published_at")]
    decided = [tuple(row[place] for place in places) for row in rows.rows]
    if len(decided) != len(set(decided)) and not _alike(case):
        return "no tie-break after the created timestamp"
    return None


def _alike(case: Case) -> bool:
    """Whether rows that tie differ in their snapshot only: then any of them is right."""
    rows = case.tables["rows"]
    snapshot = rows.names.index("snapshot_id")
    return len({row[:snapshot] + row[snapshot + 1 :] for row in rows.rows}) == 1


def _fallen(case: Case, error: Exception) -> Answer:
    said = f"{type(error).__name__}: {error}".splitlines()[0][:200]
    return Broken(said) if _rows_expected(case) else Refused("", said)


def _rows_expected(case: Case) -> bool:
    return hasattr(case.expected, "rows")


def _open(folder: Path, store: str) -> FeatureStore:
    from feast import FeatureStore
    from feast.repo_config import RepoConfig

    config = RepoConfig(
        project="conformance",
        provider="local",
        registry=str(folder / "registry.db"),
        offline_store={"type": store},
        online_store=None,
        entity_key_serialization_version=3,
    )
    return FeatureStore(config=config)


def _entities(case: Case) -> list[Any]:
    from feast import Entity, ValueType

    kinds = {"Int32": ValueType.INT32, "Int64": ValueType.INT64, "String": ValueType.STRING}
    return [
        Entity(name=f"e_{name}", join_keys=[name], value_type=kinds[parse_type(kind).feast])
        for name, kind in case.declaration["keys"].items()
    ]


def _view(case: Case, folder: Path) -> FeatureView:
    import duckdb
    from feast import FeatureView, Field, FileSource
    from feast import types as feast_types

    path = folder / "rows.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        rows = case.tables["rows"].sql()
        connection.execute(f"COPY (SELECT * FROM ({rows})) TO {literal(str(path))}")
    source = FileSource(
        name="rows",
        path=str(path),
        timestamp_field="feature_at",
        created_timestamp_column="published_at",
    )
    ttl_us = case.declaration.get("ttl_us")
    declared = [*case.declaration["keys"].items()]
    declared += [(feature["name"], feature["type"]) for feature in case.declaration["features"]]
    return FeatureView(
        name=VIEW,
        entities=_entities(case),
        ttl=timedelta(microseconds=ttl_us or 0),
        schema=[
            Field(name=name, dtype=getattr(feast_types, parse_type(kind).feast))
            for name, kind in declared
        ],
        source=source,
        online=False,
    )


def _entity_frame(case: Case) -> pd.DataFrame:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        time = case.declaration["time"]
        renamed = f"SELECT * RENAME ({time} AS {_FEAST_TIME}) FROM ({numbered_spine_sql(case)})"
        return connection.execute(renamed).df()


def _rows(case: Case, found: pa.Table) -> Answer:
    names = [feature["name"] for feature in case.declaration["features"]]
    rows = list(zip(*(found[name].to_pylist() for name in names), strict=True))
    numbers = [int(number) for number in found[SPINE_ROW].to_pylist()]
    return Rows(columns=tuple(names), rows=rows, spine_rows=numbers, keeps_order=False)
