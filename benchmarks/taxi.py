"""The taxi workload of feature store comparisons: trips joined to features of where they began and where they ended.

    python -m benchmarks.taxi --size s|m|l [--rounds 3]

The trips are made up here in the shape of New York's records: 265 zones of very different traffic. Two feature groups
are made of them: every 15 minutes the number of trips and the mean fare of each pickup zone, every 30 minutes the
number of trips of each dropoff zone and whether it was a weekend. Each row is valid from the *end* of its window, so a
trip does not see itself. Training data is then each trip with both zones' newest features, as an Arrow table and as a
Parquet file. The figure that counts is trips per second and core, since machines differ: trips / CPU seconds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.harness import Outcome, check_goals, judged, measured, report, run_rounds
from benchmarks.point_in_time import connect

if TYPE_CHECKING:
    import pyarrow as pa

    from featmill.warehouse.model import Snapshot

SIZES = {"s": 100_000, "m": 1_000_000, "l": 5_000_000}
ROUNDS = {"s": 1, "m": 2, "l": 2}
MOST_SECONDS = {"s": 120.0, "m": 600.0, "l": 1_800.0}
ZONES = 265
START = 1_767_225_600_000_000
DAY = 86_400_000_000
#: Trips a day; more trips are more days, as more of the records would be.
A_DAY = 20_000
GROUPS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "pickup": ("pu_location_id", {"trips_15m": "Int64", "mean_fare_15m": "Float64"}),
    "dropoff": ("do_location_id", {"trips_30m": "Int64", "is_weekend": "Bool"}),
}


def main() -> int:
    """Run as the parent, or as one contender of one round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rounds", type=int, help="the best of so many counts")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        return contend(given.contender, given.work)
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        return run(Path(folder), given.size, given.rounds or ROUNDS[given.size])


def run(work: Path, size: str, rounds: int) -> int:
    """Measure one size; 1 where a goal was missed or one of ours gave a wrong answer."""
    trips = SIZES[size]
    make(work / "measured", trips)
    make(work / "warm", trips // 50)
    seconds = 0.0
    for folder in ("warm", "measured"):
        built, _ = measured(partial(build, work / folder))
        seconds = built.wall
    outcomes = judged(
        run_rounds(
            "benchmarks.taxi",
            list(CONTENDERS),
            work,
            rounds=rounds,
            seconds=MOST_SECONDS[size],
        ),
        oracle(work / "measured"),
    )
    show(
        f"{trips:,} trips, two feature groups, best of {rounds}; indexes: {seconds:.1f} s",
        outcomes,
        trips,
    )
    ours = [one for one in outcomes.values() if one.name.startswith("featmill")]
    reached = check_goals("taxi", size, outcomes)
    return 0 if reached and all(one.verdict == "ok" for one in ours) else 1


def show(title: str, outcomes: Mapping[str, Outcome], trips: int) -> None:
    """Print each contender's trips per second and core."""
    table = Table(title=title, title_justify="left")
    headings = ("", "answer", "wall s", "CPU s", "peak MiB", "trips / s / core")
    for heading in headings:
        table.add_column(heading, justify="left" if heading in headings[:2] else "right")
    for one in outcomes.values():
        best = one.best
        cells = (
            ["", "", "", ""]
            if best is None
            else [
                f"{best.wall:.2f}",
                f"{best.cpu:.2f}",
                f"{best.peak_mib:,.0f}",
                f"{trips / best.cpu:,.0f}",
            ]
        )
        table.add_row(one.name, one.verdict, *cells)
    Console(width=120).print(table)


def make(work: Path, trips: int) -> None:
    """Write `trips.parquet` and a file for each feature group."""
    work.mkdir(parents=True)
    days = max(trips // A_DAY, 2)
    # A zone's share of the traffic falls with its number, as Manhattan's share towers over the others'.
    zone = f"least((pow(hash(i * {{0}}) / 18446744073709551616.0, 2.5) * {ZONES})::BIGINT, {ZONES - 1})"
    with connect() as connection:
        connection.execute(
            f"""COPY (
                SELECT i AS trip_id, {zone.format(7)} AS pu_location_id, {zone.format(13)} AS do_location_id,
                    make_timestamptz({START} + (hash(i) % {days * DAY})::BIGINT) AS picked_up_at,
                    make_timestamptz({START} + (hash(i) % {days * DAY})::BIGINT + (hash(i * 3) % 3600000000)::BIGINT)
                        AS dropped_off_at,
                    (3 + hash(i * 5) % 9700 / 100.0)::DECIMAL(8, 2) AS fare
                FROM range({trips}) t(i) ORDER BY picked_up_at
            ) TO '{work / "trips.parquet"}'"""
        )
        read = f"FROM read_parquet('{work / 'trips.parquet'}')"
        for name, sql in {
            "pickup": f"""SELECT pu_location_id, time_bucket(INTERVAL 15 MINUTE, picked_up_at) + INTERVAL 15 MINUTE
                AS feature_at, count(*) AS trips_15m, sum(fare)::DOUBLE / count(*) AS mean_fare_15m
                {read} GROUP BY ALL""",
            "dropoff": f"""SELECT do_location_id, time_bucket(INTERVAL 30 MINUTE, dropped_off_at) + INTERVAL 30 MINUTE
                AS feature_at, count(*) AS trips_30m, isodow(feature_at) > 5 AS is_weekend {read} GROUP BY ALL""",
        }.items():
            key = GROUPS[name][0]
            connection.execute(
                f"COPY (SELECT *, feature_at AS published_at, 'all' AS snapshot_id FROM ({sql}) "
                f"ORDER BY {key}, feature_at) TO '{work / name}.parquet'"
            )


def relation(work: Path, group: str) -> str:
    """A feature group's rows, as SQL."""
    return f"SELECT * FROM read_parquet('{work / group}.parquet')"


def oracle(work: Path) -> str:
    """The checksum of the right answer: the last row of each zone at or before each trip."""
    joins = []
    for name, (key, features) in GROUPS.items():
        held = ", ".join(f"'{n}': {n}" for n in features)
        joins.append(
            f"""{name} AS (
                SELECT trip_id, held FROM (
                    SELECT trip_id, last_value(held IGNORE NULLS) OVER (
                        PARTITION BY {key} ORDER BY moment, kind ROWS UNBOUNDED PRECEDING) AS held
                    FROM (
                        SELECT {key}, feature_at AS moment, 0 AS kind, NULL::BIGINT AS trip_id, {{{held}}} AS held
                        FROM ({relation(work, name)})
                        UNION ALL
                        SELECT {key}, picked_up_at, 1, trip_id, NULL FROM read_parquet('{work / "trips.parquet"}')
                    )
                ) WHERE trip_id IS NOT NULL)"""
        )
    listed = ", ".join(
        f"{g}.held.{n} AS {n}" for g, (_, features) in GROUPS.items() for n in features
    )
    with connect() as connection:
        return checksum(
            connection.sql(
                f"WITH {', '.join(joins)} SELECT trip_id, {listed} FROM pickup JOIN dropoff USING (trip_id)"
            ).to_arrow_table()
        )


def checksum(answer: pa.Table) -> str:
    """Rows and the sum of the hashes of each trip's id and features."""
    with connect() as connection:
        connection.register("answer", answer)
        types = {"Int64": "BIGINT", "Float64": "DOUBLE", "Bool": "BOOLEAN"}
        values = [
            f"CASE WHEN {n}::VARCHAR = 'nan' THEN NULL ELSE {n} END::{types[kind]}"
            for _, features in GROUPS.values()
            for n, kind in features.items()
        ]
        sql = (
            f"SELECT count(*), sum(hash(trip_id::BIGINT, {', '.join(values)})::HUGEINT) FROM answer"
        )
        return str(connection.execute(sql).fetchall()[0])


def contend(name: str, work: Path) -> int:
    """Join the small set, then the measured one; a Parquet file is read back for its checksum."""
    import pyarrow.parquet as pq

    warnings.simplefilter("ignore")
    join = CONTENDERS[name]
    join(work / "warm")
    result, answer = measured(partial(join, work / "measured"))
    found = pq.read_table(answer) if isinstance(answer, Path) else answer
    # Ours names a feature `group__feature`.
    names = [column.rpartition("__")[2] for column in found.column_names]
    report(replace(result, checksum=checksum(found.rename_columns(names))))
    return 0


def snapshots(work: Path, group: str) -> list[Snapshot]:
    """What the planner knows of a group: that it is one released snapshot, and where its index would lie."""
    from featmill.warehouse.model import Snapshot

    moment = datetime(2027, 1, 1, tzinfo=UTC)
    location = str(work / group / "v1")
    return [Snapshot(group, "all", moment, moment, moment, "f", (), 1, "c", location, 0)]


def build(work: Path) -> None:
    """Build the groups' indexes, as a release does."""
    from featmill.warehouse.row_index_writer import IndexSource, build_index

    for name, (key, _) in GROUPS.items():
        source = IndexSource(snapshots(work, name), relation(work, name), (key,), "feature_at")
        build_index(source)


def featmill(engine: str, is_file: bool, work: Path) -> pa.Table | Path:
    """Ours, by one engine of the planner."""
    from featmill.training import planner
    from featmill.training.output import write_parquet

    views: list[dict[str, Any]] = [
        {
            "name": name,
            "relation": f"({relation(work, name)})",
            "snapshots": snapshots(work, name),
            "keys": [key],
            "event_time": "feature_at",
            "ttl_us": None,
            "features": [
                {"name": n, "ignore_nulls": False, "default_sql": "null"} for n in features
            ],
        }
        for name, (key, features) in GROUPS.items()
    ]
    spine = f"SELECT * FROM read_parquet('{work / 'trips.parquet'}')"
    with connect() as connection:
        reader = planner.plan(
            connection, planner.Join(spine, "picked_up_at", views), engine=engine
        ).reader(65_536)
        if is_file:
            out = work / f"{engine}.parquet"
            write_parquet(reader, out)
            return out
        return reader.read_all()


def feast(is_file: bool, work: Path) -> pa.Table | Path:
    """Feast's historical features, by its DuckDB store."""
    import pandas as pd
    import pyarrow.parquet as pq
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast import types as kinds

    store = FeatureStore(
        config=RepoConfig(
            project="bench",
            provider="local",
            registry=str(work / "feast.db"),
            offline_store={"type": "duckdb"},
            entity_key_serialization_version=3,
        )
    )
    objects: list[Any] = []
    for name, (key, features) in GROUPS.items():
        entity = Entity(name=name, join_keys=[key], value_type=ValueType.INT64)
        fields = [Field(name=n, dtype=getattr(kinds, kind)) for n, kind in features.items()]
        source = FileSource(path=str(work / f"{name}.parquet"), timestamp_field="feature_at")
        schema = [Field(name=key, dtype=kinds.Int64), *fields]
        objects += [
            entity,
            FeatureView(name=f"{name}_features", entities=[entity], schema=schema, source=source),
        ]
    store.apply(objects)
    spine = pd.read_parquet(work / "trips.parquet").rename(
        columns={"picked_up_at": "event_timestamp"}
    )
    wanted = [f"{name}_features:{n}" for name, (_, features) in GROUPS.items() for n in features]
    answer = store.get_historical_features(spine, features=wanted).to_arrow()
    if not is_file:
        return answer
    out = work / "feast.parquet"
    pq.write_table(answer, out, compression="zstd")
    return out


CONTENDERS: dict[str, Callable[[Path], pa.Table | Path]] = {
    "featmill indexed, Arrow": partial(featmill, "indexed", False),
    "featmill indexed, Parquet": partial(featmill, "indexed", True),
    "featmill asof, Arrow": partial(featmill, "asof", False),
    "featmill asof, Parquet": partial(featmill, "asof", True),
    "feast duckdb, Arrow": partial(feast, False),
    "feast duckdb, Parquet": partial(feast, True),
}


if __name__ == "__main__":
    sys.exit(main())
