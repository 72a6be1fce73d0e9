"""What was served against what a model was trained on: the same entities at the same moments, feature by feature.

The log has hashes instead of keys, so the training set's keys are hashed with the home's secret, and only rows of
moments that are in the log. Two values are equal where the online form of the training set's is the served one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class TrainedSet:
    """A training set: a Parquet file with columns of the service's join keys, of moments and of features.

    A row is compared with what was served at exactly its moment. A served feature's column is the one that `columns`
    names, else the one of its own name.
    """

    path: Path
    keys: Sequence[str]
    time_column: str
    columns: Mapping[str, str]


def compare(log: Path, training: TrainedSet, secret: bytes) -> ServedComparison:
    """Compare one service's log with a training set.

    Args:
        log: the service's folder of the served log.
        training: the training set.
        secret: what the log's keys are hashed with.

    Raises:
        UsageError: there is no log, no training set, or a column is missing.
    """
    import duckdb

    if not any(log.glob("*.parquet")):
        raise UsageError(f"nothing was logged in {log}", hint="featmill serve --log-share 0.01")
    if not training.path.is_file():
        raise UsageError(f"there is no training set {training.path}")
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(log / "*.parquet"), union_by_name=True).create_view("logged")
        connection.read_parquet(str(training.path)).create_view("trained")
        _require(connection, training)
        _hash(connection, training, secret)
        return _compared(connection, training)


def _require(connection: duckdb.DuckDBPyConnection, training: TrainedSet) -> None:
    there = connection.table("trained").columns
    missing = [name for name in (*training.keys, training.time_column) if name not in there]
    if missing:
        raise UsageError(
            f"{training.path} has no column {', '.join(missing)}",
            hint=f"it has: {', '.join(there)}",
        )


def _hash(connection: duckdb.DuckDBPyConnection, training: TrainedSet, secret: bytes) -> None:
    """The training rows of the log's moments, each with the hash of its keys."""
    import pyarrow as pa

    keys, time = training.keys, f"trained.{quote(training.time_column)}"
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


def _compared(connection: duckdb.DuckDBPyConnection, training: TrainedSet) -> ServedComparison:
    served, trained = connection.table("logged"), connection.table("trained")
    about = {ENTITY, AS_OF, DEGRADED}
    names = [n for n in served.columns if f"{n}__status" in served.columns and n not in about]
    wanted = {name: training.columns.get(name, name) for name in names}
    column_of = {
        name: column if column in trained.columns else name
        for name, column in wanted.items()
        if column in trained.columns or name in trained.columns
    }
    connection.execute(
        f"CREATE TABLE pairs AS SELECT logged AS served, candidates AS trained FROM candidates "
        f"JOIN hashes USING (number) JOIN logged ON logged.{ENTITY} = hashes.{ENTITY} "
        f"AND logged.{AS_OF} = candidates.{quote(training.time_column)}::TIMESTAMPTZ"
    )
    counts = ["count(*)"]
    for name, column in column_of.items():
        kind = served.types[served.columns.index(name)]
        ours, theirs = f"served.{quote(name)}", f"TRY_CAST(trained.{quote(column)} AS {kind})"
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
        for at, name in enumerate(column_of)
    )
    known = {*column_of.values(), *training.keys, training.time_column}
    return ServedComparison(
        logged=logged,
        trained=rows,
        both=found[0],
        features=features,
        only_served=tuple(name for name in names if name not in column_of),
        only_trained=tuple(name for name in trained.columns if name not in known),
    )


def _row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found = connection.execute(query).fetchone()
    return () if found is None else found
