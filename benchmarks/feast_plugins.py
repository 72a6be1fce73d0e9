"""Feast with our plug-ins against Feast with its own stores: the same SDK calls, rows and server.

    python -m benchmarks.feast_plugins --size s|m|l [--rounds 3]

`materialize`: `FeatureStore.materialize` of one view into an embedded Valkey; what either wrote is compared hash by
hash. `history`: `get_historical_features` of four features, the labels as a DataFrame, without a row index; the answer
is compared with that of a window over all rows. `read`: `get_online_features` and `to_dict`, one row or a hundred at a
time, of what `materialize` wrote; a thousand calls or a hundred.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import export, point_in_time
from benchmarks.harness import Measured, check_goals, judged, measured, report, run_rounds, show

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView

    from featmill.contract.catalog import FeatureTable

#: Size -> (entities to materialise, labels, rows of history, rounds).
SIZES = {
    "s": (10_000, 20_000, 100_000, 1),
    "m": (100_000, 100_000, 1_000_000, 3),
    "l": (100_000, 1_000_000, 1_000_000, 3),
}
#: Rows of one read -> how many reads.
READS = {1: 1_000, 100: 100}
PLUGINS = "exporters.feast.plugins"
MOST_SECONDS = 900.0
WARM = "warm"


def main() -> int:
    """Run as the parent, or as one contender of one round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    parser.add_argument("--rounds", type=int, help="instead of the size's")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.contender is not None:
        warnings.simplefilter("ignore")
        report(CONTENDERS[given.contender](given.work))
        return 0
    with tempfile.TemporaryDirectory(prefix="featmill-bench-") as folder:
        return run(Path(folder), given.size, given.rounds or SIZES[given.size][3])


def run(work: Path, size: str, rounds: int) -> int:
    """Measure every comparison of a size; 1 where a goal was missed or an answer of ours was wrong."""
    from featmill.online.server import EmbeddedServer

    entities, labels, rows, _ = SIZES[size]
    prepare(work, entities, labels, rows)
    titles = {
        "materialize": f"materialize, {entities:,} entities x {len(export.COLUMNS)} features",
        "history": f"history, {labels:,} labels, {rows:,} rows",
        **{f"read {n}": f"{calls:,} reads of {n} rows" for n, calls in READS.items()},
    }
    sound = True
    server = EmbeddedServer(work / "online")
    server.start()
    try:
        for case, title in titles.items():
            ours, theirs = f"{case}: featmill", f"{case}: feast"
            found = run_rounds(
                "benchmarks.feast_plugins",
                [ours, theirs],
                work,
                rounds=rounds,
                seconds=MOST_SECONDS,
            )
            wanted = found[theirs].best.checksum if found[theirs].best is not None else None
            if case == "history":
                wanted = point_in_time.oracle(work / "history")
            outcomes = judged(found, str(wanted))
            show(f"{title}; best of {rounds}", outcomes, theirs)
            sound = check_goals("feast_plugins", f"{size}, {case}", outcomes) and sound
            sound = sound and outcomes[ours].verdict == "ok"
    finally:
        server.stop()
    return 0 if sound else 1


def prepare(work: Path, entities: int, labels: int, rows: int) -> None:
    """Parquet files for Feast, and the same rows as released snapshots for us."""
    import pyarrow.parquet as pq

    for name, count in (("measured", entities), (WARM, export.WARM_ROWS)):
        path = work / f"{name}.parquet"
        pq.write_table(export.made_up(count), path)
        publish(work, name, f"SELECT *, 's1' AS snapshot_id FROM '{path}'")
    point_in_time.make(work / "history", labels, rows, (False, 0))
    point_in_time.make(work / "history_warm", 1_000, 10_000, (False, 0))
    for name in ("history", "history_warm"):
        publish(work, name, f"SELECT * FROM '{work / name / 'rows.parquet'}'")


def publish(work: Path, table: str, rows: str) -> None:
    """Commit the rows to a lake, a snapshot for each `snapshot_id` they name, and release it."""
    from featmill.warehouse.model import Snapshot, Vanished
    from featmill.warehouse.registry import open_registry

    registry = open_registry(work / table / "home" / "lake")
    before = ""
    with point_in_time.connect() as connection:
        connection.execute(f"CREATE VIEW given AS {rows}")
        found = connection.execute(
            "SELECT snapshot_id, max(feature_at), count(*) FROM given GROUP BY ALL ORDER BY 1"
        ).fetchall()
        has_time = "published_at" in [c[0] for c in connection.execute("DESCRIBE given").fetchall()]
        published = "" if has_time else ", feature_at AS published_at"
        for snapshot_id, as_of, count in found:
            snapshot = Snapshot(
                table=table,
                snapshot_id=snapshot_id,
                as_of=as_of.astimezone(UTC),
                cut_off=as_of.astimezone(UTC),
                published_at=as_of.astimezone(UTC),
                fingerprint="f",
                sources=(),
                rows=count,
                content_hash="c",
                location=str(registry.lake.location(table)),
                delta_version=-1,
                vanished=Vanished(since=before, entities=0) if before else None,
            )
            reader = connection.sql(
                f"SELECT *{published} FROM given WHERE snapshot_id = '{snapshot_id}'"
            ).to_arrow_reader(65_536)
            registry.commit(snapshot.as_of, [registry.lake.append(reader, snapshot)], "bench")
            before = snapshot_id


def store_of(work: Path, table: str, database: int, *, plugins: bool) -> FeatureStore:
    """A Feast repository in memory over one table, with our plug-ins or Feast's own stores."""
    from feast import FeatureStore, RepoConfig

    online = export.target_of(work, database).feast_online_config()
    config: dict[str, Any] = {"offline_store": {"type": "duckdb"}, "online_store": online}
    if plugins:
        config = {
            "offline_store": {
                "type": f"{PLUGINS}.offline_store.FeatmillOfflineStore",
                "home": str(work / table / "home"),
            },
            "online_store": online | {"type": f"{PLUGINS}.online_store.FeatmillOnlineStore"},
            "batch_engine": {"type": f"{PLUGINS}.compute_engine.FeatmillComputeEngine"},
        }
    return FeatureStore(
        config=RepoConfig(
            project=export.PROJECT,
            provider="local",
            registry=str(work / f"{table}-{plugins}.db"),
            entity_key_serialization_version=3,
            **config,
        )
    )


def view_of(table: FeatureTable, path: Path, *, plugins: bool) -> tuple[Any, FeatureView]:
    """The entity and the view of a table over its file, or over its snapshots."""
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast import types as kinds

    source = FileSource(path=str(path), timestamp_field="feature_at")
    if plugins:
        from exporters.feast.plugins.source import FeatmillSource, declaration_of

        source = FeatmillSource(
            name=table.name, timestamp_field="feature_at", declaration=declaration_of(table)
        )
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
    columns = [("user_id", "Int64"), *((f.name, f.type.feast) for f in table.features)]
    view = FeatureView(
        name=table.name,
        entities=[user],
        schema=[Field(name=name, dtype=getattr(kinds, kind)) for name, kind in columns],
        ttl=table.ttl or timedelta(0),
        source=source,
    )
    return user, view


def materialize(plugins: bool, work: Path) -> Measured:
    """Put the table online, after a small one."""
    database = export.DATABASES["featmill" if plugins else "feast"]
    start, end = export.AS_OF - timedelta(days=1), export.AS_OF + timedelta(days=1)

    def online(name: str) -> FeatureStore:
        store = store_of(work, name, database, plugins=plugins)
        # The view bears one name, whichever rows it has: both stores must write the same bytes.
        path = work / f"{name}.parquet"
        store.apply([*view_of(export.declared(name), path, plugins=plugins)])
        return store

    online(WARM).materialize(start, end)
    store = online("measured")
    with export.target_of(work, database).client() as client:
        client.flushdb()
    result, _ = measured(partial(store.materialize, start, end))
    return replace(result, checksum=str(export.checksum(export.target_of(work, database))))


def history(plugins: bool, work: Path) -> Measured:
    """Look the labels up, after a few."""
    import pandas as pd

    def look_up(name: str) -> Any:  # noqa: ANN401 - an Arrow table
        if not plugins:
            return point_in_time.feast("duckdb", work / name)
        table = export.declared(name).model_copy(
            update={"ttl": point_in_time.ttl(work / name), "features": _history_features()}
        )
        store = store_of(work, name, export.WARM_DATABASE, plugins=True)
        store.apply([*view_of(table, work, plugins=True)])
        labels = pd.read_parquet(work / name / "labels.parquet")
        wanted = [f"{name}:{feature}" for feature in point_in_time.VALUES]
        return store.get_historical_features(labels, wanted).to_arrow()

    look_up("history_warm")
    result, answer = measured(partial(look_up, "history"))
    return replace(result, checksum=point_in_time.checksum(answer))


def _history_features() -> Any:  # noqa: ANN401 - a tuple of features
    from featmill.contract.types import parse_type

    like = export.declared("like").features[0]
    kinds = {"Float64": "DOUBLE", "Int64": "BIGINT"}
    return tuple(
        like.model_copy(update={"name": name, "type": parse_type(kinds[kind])})
        for name, kind in point_in_time.VALUES.items()
    )


def read(rows: int, plugins: bool, work: Path) -> Measured:
    """Read rows that `materialize` wrote, a number of times."""
    database = export.DATABASES["featmill" if plugins else "feast"]
    store = store_of(work, "measured", database, plugins=plugins)
    features = [f"measured:{name}" for name in export.COLUMNS]

    def once(call: int) -> dict[str, Any]:
        asked = [{"user_id": (call * 7_919 + n * 31) % 10_000} for n in range(rows)]
        found: dict[str, Any] = store.get_online_features(features, asked).to_dict()
        return found

    once(0)
    result, answers = measured(lambda: [once(call) for call in range(READS[rows])])
    text = json.dumps([sorted(answer.items()) for answer in answers], default=str)
    return replace(result, checksum=hashlib.sha256(text.encode()).hexdigest())


CONTENDERS: dict[str, Callable[[Path], Measured]] = {
    f"{case}: {name}": partial(action, plugins)
    for case, action in (
        ("materialize", materialize),
        ("history", history),
        *((f"read {rows}", partial(read, rows)) for rows in READS),
    )
    for name, plugins in (("featmill", True), ("feast", False))
}


if __name__ == "__main__":
    sys.exit(main())
