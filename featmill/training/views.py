"""Feature tables as the point-in-time macros take them: a relation, keys, ttl, features and their defaults."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from featmill.errors import LakeError, SpineError
from featmill.warehouse.columns import literal
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    import duckdb

    from featmill.contract.catalog import Feature, FeatureTable
    from featmill.training.request import Added
    from featmill.training.spine import Spine
    from featmill.warehouse.model import Snapshot


def view_of(
    table: FeatureTable, features: Iterable[Feature], snapshots: Sequence[Snapshot]
) -> dict[str, Any]:
    """The view of a table's released snapshots; `snapshots` tells the planner what its relation reads."""
    return {
        "name": table.name,
        "relation": f"({relation_sql(snapshots)})",
        "snapshots": list(snapshots),
        "keys": list(table.key_names),
        "event_time": table.event_time,
        "ttl_us": ttl_us(table),
        "features": [
            {
                "name": feature.name,
                "ignore_nulls": feature.ignore_nulls,
                "default_sql": default_sql(feature.default),
            }
            for feature in features
        ],
    }


def ttl_us(table: FeatureTable) -> int | None:
    """A table's ttl in microseconds, None where its rows never expire."""
    return None if table.ttl is None else round(table.ttl.total_seconds() * 1_000_000)


def default_sql(value: object) -> str:
    """The same text as the macro `_literal` gives."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else literal(str(value))


def answer_columns(table: FeatureTable, added: Added) -> list[str]:
    """The columns that a table adds to the spine's, in order."""
    features = [f"{table.name}__{feature.name}" for feature in table.features]
    if added.value_status:
        features = [name for feature in features for name in (feature, f"{feature}__status")]
    status = [f"{table.name}__status"] if added.status else []
    time = [f"{table.name}__{table.event_time}"] if added.source_times else []
    return [*features, *status, *time]


def check_names(spine: Spine, tables: Iterable[FeatureTable], added: Added) -> None:
    """Refuse a spine that has a column of a name that the set adds.

    Raises:
        SpineError: the message names the columns.
    """
    new = {name.lower() for table in tables for name in answer_columns(table, added)}
    clash = sorted(new.intersection(name.lower() for name in spine.columns))
    if clash:
        raise SpineError(
            f"{spine.name} already has a column {', '.join(clash)}", hint="rename it in the spine"
        )


def check_released(connection: duckdb.DuckDBPyConnection, view: dict[str, Any]) -> None:
    """Refuse a feature that is declared and in no released snapshot, before DuckDB misses its column in the join.

    Raises:
        LakeError: the snapshots cannot be read, or none has the feature.
    """
    import duckdb

    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {view['relation']}").fetchall()
    except duckdb.Error as error:
        raise LakeError(f"the snapshots of {view['name']} cannot be read: {said(error)}") from error
    columns = {str(row[0]).lower() for row in described}
    absent = [f["name"] for f in view["features"] if f["name"].lower() not in columns]
    if absent:
        raise LakeError(
            f"{view['name']}: no released snapshot has the feature {', '.join(absent)}",
            hint="it was declared since: build and publish the table first",
        )


def said(error: Exception) -> str:
    """DuckDB's words without our SQL."""
    return str(error).partition("\nLINE ")[0].strip()
