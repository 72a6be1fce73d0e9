"""The steps over a lake and a catalogue that a test writes by hand: what dbt would build takes seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from exporters.redis.entity_keys import are_entities
from exporters.redis.generations import read_generations
from featmill.contract.catalog import Catalog
from featmill.online.codec import redis_keys
from featmill.online.decode import value_text
from featmill.online.plan import plan_view
from featmill.online.serving_state import PublishMode, read_state
from featmill.settings import Settings
from featmill.warehouse import promotions
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import open_registry
from orchestration import online_steps, promotion
from tests.unit.online.tables import feature_table

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLICKS = feature_table("clicks", features={"count_7d": "BIGINT", "city": "VARCHAR"})
ORDERS = feature_table("orders", features={"total": "DOUBLE"})


def day(number):
    """Noon of a day of March 2026."""
    return NOON + timedelta(days=number - 1)


def carrying(table, *names):
    """The table with `ignore_nulls` on these features."""
    features = tuple(f.model_copy(update={"ignore_nulls": f.name in names}) for f in table.features)
    return table.model_copy(update={"features": features})


class Chain:
    """A lake, the declarations of `tables`, and a store."""

    def __init__(self, folder, target, monkeypatch):
        url = target.url if target.socket_path is None else f"unix://{target.socket_path}"
        self.settings = Settings(
            project_dir=folder / "project", home=folder / "home", redis_url=url
        )
        self.registry = open_registry(self.settings.lake_dir)
        self.target = target
        self.tables = (CLICKS,)
        self._published = 0
        monkeypatch.setattr(online_steps, "load_catalog", lambda _: self.catalog)

    @property
    def catalog(self):
        return Catalog(project="shop", tables=self.tables, services=(), sources=())

    def snapshot(self, table, as_of, rows, *, columns=None):
        """Publish rows: tuples of the table's columns, keys first, then event time, then features."""
        self._published += 1
        columns = columns or _columns(table)
        snapshot = Snapshot(
            table=table.name,
            snapshot_id=f"{as_of:%Y%m%dT%H%M%SZ}-{self._published:04}-aa",
            as_of=as_of,
            cut_off=as_of,
            published_at=day(20) + timedelta(seconds=self._published),
            fingerprint="f",
            sources=(),
            rows=len(rows),
            content_hash="c",
            location=str(self.registry.lake.location(table.name)),
            delta_version=-1,
        )
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            typed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
            connection.execute(f"CREATE TABLE given ({typed})")
            if rows:
                marks = ", ".join("?" for _ in columns)
                connection.executemany(f"INSERT INTO given VALUES ({marks})", rows)
            reader = connection.sql(
                f"SELECT *, TIMESTAMPTZ '{snapshot.published_at}' AS published_at, "
                f"'{snapshot.snapshot_id}' AS snapshot_id FROM given"
            ).to_arrow_reader(1_000)
            return self.registry.lake.append(reader, snapshot)

    def release(self, *snapshots):
        """Release snapshots of one as_of; the release's id."""
        return self.registry.commit(snapshots[0].as_of, snapshots, "shop")[0].release_id

    def publish(self, table, as_of, rows, **more):
        """A snapshot and a release of it alone; the release's id."""
        return self.release(self.snapshot(table, as_of, rows, **more))

    def export(self, release_id=None, **more):
        return online_steps.export(self.settings, release_id, with_feast=False, **more)

    def verify(self, release_id=None):
        return online_steps.verify(self.settings, release_id)

    def promote(self, release_id=None, *, mode="generation", **more):
        wanted = promotion.Wanted(release_id, PublishMode(mode), with_feast=False, **more)
        return promotion.promote_as(self.settings, wanted)

    def rollback(self, release_id=None):
        return promotion.rollback(self.settings, release_id)

    def serving(self, project="shop"):
        """The serving state of a Feast project."""
        return read_state(self.target, project)

    def served(self, number, *, project="shop", table=CLICKS):
        """What a reader that follows the pointer finds of one entity: the values as text, None where it is missing."""
        state = self.serving(project)
        plan = plan_view(state.rows_project, table)
        entity = pa.record_batch({"user_id": pa.array([number], pa.int64())})
        with self.target.client() as client:
            values = client.hmget(redis_keys(plan, entity)[0].as_py(), plan.fields)
        if values[-1] is None:
            return None
        return tuple(value_text(value) for value in values[:-1])

    def lose(self, number, rows_project=None):
        """Take one entity out of the store behind featmill's back, as eviction does."""
        plan = plan_view(rows_project or self.serving().rows_project, CLICKS)
        entity = pa.record_batch({"user_id": pa.array([number], pa.int64())})
        with self.target.client() as client:
            assert client.delete(redis_keys(plan, entity)[0].as_py()) == 1

    def generations(self, project="shop"):
        """Rows project -> (release, state) of every generation."""
        found = read_generations(self.target, project, self.serving(project))
        return {name: (known.release_id, known.state.value) for name, known in found.items()}

    def entities(self, rows_project):
        """How many entities the store holds under a rows project."""
        with self.target.client() as client:
            keys = pa.array(list(client.scan_iter(count=10_000)), pa.large_binary())
        return int(are_entities(rows_project, keys).sum())

    def ledger(self):
        """Kind and release of every entry, oldest first."""
        return [(entry.kind, entry.release_id) for entry in promotions.ledger(self.registry.lake)]

    def view(self, exported, name="clicks"):
        """What became of one view."""
        (found,) = [view for view in exported.views if view.view == name]
        return found

    def keys(self):
        """How many entities the store holds."""
        with self.target.client() as client:
            return sum(1 for key in client.scan_iter() if not key.startswith(b"featmill:"))


def _columns(table):
    kinds = {key.name: key.type.sql for key in table.join_keys}
    kinds[table.event_time] = "TIMESTAMPTZ"
    return kinds | {feature.name: feature.type.sql for feature in table.features}
