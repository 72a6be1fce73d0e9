"""A lake, its releases and its ledger of promotions, each made at a moment that a test says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb

from exporters.rows import visible_rows
from featmill import clock
from featmill.contract.catalog import Catalog, FeatureRef
from featmill.training.training_set import (
    TrainingRequest,
    build_training_set,
    training_frame,
)
from featmill.warehouse import promotions
from featmill.warehouse.lake import Lake
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import Registry
from tests.unit.online.tables import feature_table

CLICKS = feature_table("clicks", features={"count_7d": "BIGINT", "city": "VARCHAR"})
START = datetime(2026, 3, 1, tzinfo=UTC)


def hour(number):
    """Hours since the start of March 2026."""
    return START + timedelta(hours=number)


class LedgerLake:
    """One feature table `clicks`, and everything that happened to it."""

    def __init__(self, folder, table=CLICKS):
        self.registry = Registry(Lake(folder / "lake"))
        self.table = table
        self._published = 0

    @property
    def lake(self):
        return self.registry.lake

    def publish(self, as_of, rows, *, at):
        """Publish and release `(user_id, feature_at, count_7d, city)` rows; the release."""
        self._published += 1
        location = str(self.lake.location("clicks"))
        name = f"{as_of:%Y%m%dT%H%M%SZ}-{self._published:04}-aa"
        snapshot = Snapshot("clicks", name, as_of, as_of, at, "f", (), len(rows), "c", location, -1)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(
                "CREATE TABLE given (user_id BIGINT, feature_at TIMESTAMPTZ, count_7d BIGINT, city VARCHAR)"
            )
            if rows:
                connection.executemany("INSERT INTO given VALUES (?, ?, ?, ?)", rows)
            reader = connection.sql(
                f"SELECT *, TIMESTAMPTZ '{at}' AS published_at, '{name}' AS snapshot_id FROM given"
            ).to_arrow_reader(1_000)
            snapshot = self.lake.append(reader, snapshot)
        with clock.frozen(at):
            return self.registry.commit(as_of, [snapshot], "shop")[0]

    def live(self, release, *, at):
        """Put a release online; its rows as the exporter would write them, by user."""
        with clock.frozen(at):
            promotions.record_live(self.lake, release, ["clicks"], at)
        snapshot = self.lake.snapshot("clicks", release.snapshots["clicks"])
        released = self.registry.released_snapshots("clicks", at=at)
        with visible_rows(self.table, snapshot, released) as visible:
            return {row["user_id"]: row for row in visible.reader().read_all().to_pylist()}

    def record(self, kind, release_id="", *, at):
        """A rollback, an outage or its end."""
        with clock.frozen(at):
            promotions.record(self.lake, kind, release_id)

    def train(self, spine, mode="served", **more):
        """The rows of a spine of `(user_id, moment)`: `(count_7d, city, status)` each."""
        import pyarrow as pa

        users, moments = zip(*spine, strict=True)
        frame = pa.table(
            {
                "user_id": pa.array(users, pa.int64()),
                "asked_at": pa.array(moments, pa.timestamp("us", "UTC")),
            }
        )
        rows = self.rows(frame, status=True, mode=mode, **more).to_pylist()
        assert [(row["user_id"], row["asked_at"]) for row in rows] == list(spine)
        return [
            (row["clicks__count_7d"], row["clicks__city"], row["clicks__status"]) for row in rows
        ]

    @property
    def catalog(self):
        """The declarations."""
        return Catalog(project="shop", tables=(self.table,), services=(), sources=())

    def request(self, spine, **more):
        """A request for every feature; the spine's time is `asked_at`."""
        names = [feature.name for feature in self.table.features]
        features = tuple(FeatureRef(view="clicks", feature=name) for name in names)
        return TrainingRequest(spine, "asked_at", features, **more)

    def rows(self, spine, kind="arrow", **more):
        """The training set over a spine, as a frame."""
        return training_frame(self.catalog, self.registry, self.request(spine, **more), kind)

    def build(self, spine, out, **more):
        """The training set over a spine, as a file."""
        return build_training_set(self.catalog, self.registry, self.request(spine, out=out, **more))
