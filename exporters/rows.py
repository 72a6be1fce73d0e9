"""The rows of a release as they stand online: one per entity, what a lookup at the release's as_of finds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from featmill.contract.types import OnlineKind
from featmill.training.templates import feature_rows_sql
from featmill.warehouse.columns import quote
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    import pyarrow as pa

    from featmill.contract.catalog import Feature, FeatureTable
    from featmill.warehouse.model import Snapshot

_BATCH_ROWS = 65_536


@contextmanager
def online_rows(
    table: FeatureTable, snapshot: Snapshot, released: Sequence[Snapshot]
) -> Iterator[pa.RecordBatchReader]:
    """The snapshot's entities with their features, in key order, streamed.

    Args:
        table: the feature table.
        snapshot: what the release holds of it.
        released: the table's released snapshots; those up to the as_of are read where a feature carries its last
            non-NULL value (rule 14).
    """
    features = ", ".join(_stored(feature) for feature in table.features)
    keys = ", ".join(quote(key) for key in table.key_names)
    time = quote(table.event_time)
    history = [s for s in released if s.as_of < snapshot.as_of] if _carries(table) else []
    # Several rows of an entity in one snapshot are its history: the newest is what serves.
    sql = (
        f"SELECT {keys}, {time}, {features} FROM ({_rows_sql(table, snapshot, history)}) "
        f"WHERE ({keys}) IN (SELECT ({keys}) FROM ({relation_sql([snapshot])})) "
        if history
        else f"SELECT {keys}, {time}, {features} FROM ({relation_sql([snapshot])}) "
    )
    sql += (
        f"QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY {time} DESC) = 1 ORDER BY {keys}"
    )
    with _reader(sql) as reader:
        yield reader


def online_row_count(table: FeatureTable, snapshot: Snapshot) -> int:
    """How many entities the snapshot holds."""
    import duckdb

    keys = ", ".join(quote(key) for key in table.key_names)
    with duckdb.connect() as connection:
        counted = connection.execute(
            f"SELECT count(*) FROM (SELECT DISTINCT {keys} FROM ({relation_sql([snapshot])}))"
        ).fetchall()
    return int(counted[0][0])


@contextmanager
def vanished_keys(
    table: FeatureTable, snapshot: Snapshot, before: Sequence[Snapshot]
) -> Iterator[pa.RecordBatchReader]:
    """The keys of entities that earlier snapshots held and this one does not."""
    keys = ", ".join(quote(key) for key in table.key_names)
    with _reader(
        f"SELECT DISTINCT {keys} FROM ({relation_sql(before)}) "
        f"ANTI JOIN ({relation_sql([snapshot])}) USING ({keys}) ORDER BY {keys}"
    ) as reader:
        yield reader


def _stored(feature: Feature) -> str:
    """A moment that is declared `online_type: int64` is stored as microseconds since 1970."""
    name = quote(feature.name)
    is_moment = feature.type.sql.startswith("TIMESTAMP")
    if is_moment and feature.type.kind is OnlineKind.INT64:
        return f"epoch_us({name}) AS {name}"
    return name


def _carries(table: FeatureTable) -> bool:
    return any(feature.ignore_nulls for feature in table.features)


def _rows_sql(table: FeatureTable, snapshot: Snapshot, history: Sequence[Snapshot]) -> str:
    return feature_rows_sql(
        {
            "relation": f"({relation_sql([*history, snapshot])})",
            "keys": list(table.key_names),
            "event_time": table.event_time,
            "ttl_us": None if table.ttl is None else round(table.ttl.total_seconds() * 1_000_000),
            "features": [
                {"name": feature.name, "ignore_nulls": feature.ignore_nulls}
                for feature in table.features
            ],
        }
    )


@contextmanager
def _reader(sql: str) -> Iterator[pa.RecordBatchReader]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        yield connection.sql(sql).to_arrow_reader(_BATCH_ROWS)
