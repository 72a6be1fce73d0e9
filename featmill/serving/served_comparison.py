"""What was served against what a model was trained on: the same entities at the same moments, feature by feature.

The log has hashes instead of keys, so the training set's keys are hashed with the home's secret, and only rows of
moments that are in the log. Two values are equal where the online form of the training set's is the served one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmill.errors import UsageError
from featmill.serving.served_log import AS_OF, DEGRADED, ENTITY, hashed
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import duckdb

_BATCH = 50_000


@dataclass(frozen=True, slots=True)
class ComparedFeature:
    """One feature: rows that both have, how many are equal, and how many of the others were not served `ok`."""

    feature: str
    rows: int
    equal: int
    different_and_not_ok: int

    @property
    def different(self) -> int:
        """Rows whose values are not the same."""
        return self.rows - self.equal

    @property
    def share(self) -> float | None:
        """The share of equal rows, None without rows."""
        return self.equal / self.rows if self.rows else None


@dataclass(frozen=True, slots=True)
class ServedComparison:
    """A comparison: rows of the log, of the training set, and those of both; then each feature.

    `only_served` and `only_trained` are features that the other side lacks.
    """

    logged: int
    trained: int
    both: int
    features: tuple[ComparedFeature, ...]
    only_served: tuple[str, ...]
    only_trained: tuple[str, ...]


def compare(
    log: Path, training: Path, keys: Sequence[str], time_column: str, secret: bytes
) -> ServedComparison:
    """Compare one service's log with a training set.

    Args:
        log: the service's folder of the served log.
        training: a Parquet file with the keys, the time and the features.
        keys: the service's join keys, as the training set's columns.
        time_column: the training set's column of moments; a row is compared with what was served at exactly that.
        secret: what the log's keys are hashed with.

    Raises:
        UsageError: there is no log, no training set, or a column is missing.
    """
    import duckdb

    if not any(log.glob("*.parquet")):
        raise UsageError(f"nothing was logged in {log}", hint="featmill serve --log-share 0.01")
    if not training.is_file():
        raise UsageError(f"there is no training set {training}")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(log / "*.parquet"), union_by_name=True).create_view("logged")
        connection.read_parquet(str(training)).create_view("trained")
        _require(connection, training, [*keys, time_column])
        _hash(connection, keys, time_column, secret)
        return _compared(connection, keys, time_column)


def _require(connection: duckdb.DuckDBPyConnection, training: Path, columns: list[str]) -> None:
    there = connection.table("trained").columns
    missing = [name for name in columns if name not in there]
    if missing:
        raise UsageError(
            f"{training} has no column {', '.join(missing)}", hint=f"it has: {', '.join(there)}"
        )


def _hash(
    connection: duckdb.DuckDBPyConnection, keys: Sequence[str], time_column: str, secret: bytes
) -> None:
    """The training rows of the log's moments, each with the hash of its keys."""
    import pyarrow as pa

    time = f"trained.{quote(time_column)}"
    connection.execute(
        f"CREATE TABLE candidates AS SELECT row_number() OVER () AS number, trained.* FROM trained "
        f"WHERE {time}::TIMESTAMPTZ IN (SELECT {AS_OF} FROM logged)"
    )
    named = ", ".join(quote(key) for key in keys)
    connection.execute(f"CREATE TABLE hashes (number BIGINT, {ENTITY} VARCHAR)")
    reader = (
        connection.cursor().sql(f"SELECT number, {named} FROM candidates").to_arrow_reader(_BATCH)
    )
    for batch in reader:
        columns = {key: batch.column(key).to_pylist() for key in keys}
        entities = pa.array(hashed(columns, secret), pa.string())
        done = pa.table({"number": batch.column("number"), ENTITY: entities})
        connection.from_arrow(done).insert_into("hashes")


def _compared(
    connection: duckdb.DuckDBPyConnection, keys: Sequence[str], time_column: str
) -> ServedComparison:
    served, trained = connection.table("logged"), connection.table("trained")
    about = {ENTITY, AS_OF, DEGRADED}
    names = [n for n in served.columns if f"{n}__status" in served.columns and n not in about]
    common = [name for name in names if name in trained.columns]
    connection.execute(
        f"CREATE TABLE pairs AS SELECT logged AS served, candidates AS trained FROM candidates "
        f"JOIN hashes USING (number) JOIN logged ON logged.{ENTITY} = hashes.{ENTITY} "
        f"AND logged.{AS_OF} = candidates.{quote(time_column)}::TIMESTAMPTZ"
    )
    counts = ["count(*)"]
    for name in common:
        kind = served.types[served.columns.index(name)]
        ours, theirs = f"served.{quote(name)}", f"TRY_CAST(trained.{quote(name)} AS {kind})"
        same = f"{ours} IS NOT DISTINCT FROM {theirs}"
        status = f"served.{quote(name + '__status')}"
        counts.append(f"count(*) FILTER ({same})")
        counts.append(f"count(*) FILTER (NOT ({same}) AND {status} <> 'ok')")
    found: tuple[int, ...] = _row(connection, f"SELECT {', '.join(counts)} FROM pairs")
    (logged,), (rows,) = (
        _row(connection, f"SELECT count(*) FROM {t}") for t in ("logged", "trained")
    )
    features = tuple(
        ComparedFeature(name, found[0], found[1 + 2 * at], found[2 + 2 * at])
        for at, name in enumerate(common)
    )
    other = [n for n in trained.columns if n not in {*names, *keys, time_column}]
    return ServedComparison(
        logged=logged,
        trained=rows,
        both=found[0],
        features=features,
        only_served=tuple(name for name in names if name not in common),
        only_trained=tuple(other),
    )


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found = connection.execute(query).fetchone()
    return () if found is None else found
