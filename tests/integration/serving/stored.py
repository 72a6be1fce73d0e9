"""A store with rows of tables that a test writes by hand, and readers of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb

from exporters.redis import ExportJob, export_view
from featmill.contract.catalog import (
    Catalog,
    Fallback,
    FeatureRef,
    FeatureService,
    ServingPolicy,
)
from featmill.online.serving_state import (
    PublishMode,
    ServedView,
    ServingState,
    next_epoch,
    put_state,
)
from tests.unit.online.tables import feature_table

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
#: Long enough for a busy machine: what is tested with it is not the deadline.
PATIENT = ServingPolicy(deadline=timedelta(seconds=5))

USERS = feature_table("users", features={"visits": "BIGINT", "city": "VARCHAR", "rate": "DOUBLE"})
ORDERS = feature_table("orders", features={"total": "DOUBLE", "city": "VARCHAR"})
PRODUCTS = feature_table("products", keys={"product_id": "BIGINT"}, features={"price": "DOUBLE"})


def with_defaults(table, **defaults):
    """The table with declared defaults."""
    features = tuple(
        f.model_copy(update={"default": defaults[f.name], "has_default": True})
        if f.name in defaults
        else f
        for f in table.features
    )
    return table.model_copy(update={"features": features})


def with_ttl(table, ttl):
    return table.model_copy(update={"ttl": ttl})


def refs(*names):
    return tuple(
        FeatureRef(view=view, feature=feature) for view, feature in (n.split(":") for n in names)
    )


def service(*features, name="ranking", policy=PATIENT, fallbacks=(), **more):
    """A service of `view:feature` names; `fallbacks` are pairs of them."""
    pairs = [refs(*pair) for pair in fallbacks]
    return FeatureService(
        name=name,
        description="",
        owner=None,
        features=refs(*features),
        fallbacks=tuple(Fallback(feature=one, source=other) for one, other in pairs),
        policy=policy,
        **more,
    )


class Stored:
    """Tables, services, and what of them is in the store."""

    def __init__(self, target, tables=(USERS,), services=()):
        self.target = target
        self.tables = tuple(tables)
        self.services = tuple(services)
        self._views: dict[str, ServedView] = {}

    @property
    def catalog(self):
        return Catalog(project="shop", tables=self.tables, services=self.services, sources=())

    def put(self, table, *rows, snapshot="s1", rows_project="shop"):
        """Write rows: keys, event time, features, in the table's order."""
        job = ExportJob(
            project=rows_project,
            table=table,
            snapshot_id=snapshot,
            release_id="r",
            as_of=NOON,
            total_rows=len(rows),
            force=True,
        )
        kinds = {key.name: key.type.sql for key in table.join_keys}
        kinds |= {table.event_time: "TIMESTAMPTZ"} | {f.name: f.type.sql for f in table.features}
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            typed = ", ".join(f'"{name}" {kind}' for name, kind in kinds.items())
            connection.execute(f"CREATE TABLE given ({typed})")
            if rows:
                marks = ", ".join("?" for _ in kinds)
                connection.executemany(f"INSERT INTO given VALUES ({marks})", rows)
            order = ", ".join(f'"{name}"' for name in sorted(table.key_names))
            reader = connection.sql(f"SELECT * FROM given ORDER BY {order}").to_arrow_reader(1_000)
            export_view(self.target, job, reader, vanished=None)
        self._views[table.name] = ServedView(snapshot_id=snapshot, rows=len(rows))

    def serve(self, *, rows_project="shop", release="r1", is_complete=True, replaced=()):
        """Promote what was put, or say that some views are being replaced."""
        views = {
            name: view.model_copy(update={"snapshot_id": None}) if name in replaced else view
            for name, view in self._views.items()
        }
        state = ServingState(
            epoch=next_epoch(self.target, "shop"),
            mode=PublishMode.IN_PLACE if rows_project == "shop" else PublishMode.GENERATION,
            rows_project=rows_project,
            release_id=release,
            as_of=NOON,
            flipped_at=NOON,
            is_complete=is_complete,
            views=views,
        )
        put_state(self.target, "shop", state)


def words(answer):
    """The statuses of each feature in words."""
    return answer.to_dict()["statuses"]


def values(answer):
    return answer.to_dict()["values"]
