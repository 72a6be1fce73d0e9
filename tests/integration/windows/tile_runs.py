"""Builds of a feature table from tiles and from its events, as dbt runs them, over one DuckDB relation `events`.

The SQL is what the macros render; what the materialization `tiled` decides between is done here in its order. Whether
dbt does the same is for `test_tiles_in_dbt.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import duckdb

from tests.integration.windows.aggregate_oracle import COLUMNS
from tests.integration.windows.rendered import macros

NAMES = {"event_at": "seen_at", "ingested_at": "known_at", "event_id": "scan_id"}
EVENTS = (
    "CREATE TABLE events (scan_id VARCHAR, code VARCHAR, dock INTEGER, eur DECIMAL(12, 2), kind VARCHAR, "
    "pieces INTEGER, kg DOUBLE, seen_at TIMESTAMP, known_at TIMESTAMP)"
)


@dataclass(frozen=True)
class Shape:
    """A feature table's declaration: each column takes the next of `windows`, `window: 7d` and what else shapes it."""

    tile: str | None
    hop: str
    delay: str
    windows: tuple[tuple[tuple[str, str], ...], ...]
    columns: tuple[str, ...] = tuple(COLUMNS)

    @property
    def table(self) -> dict[str, Any]:
        declared = {"join_keys": ["code", "dock"], "hop": self.hop, "delay": self.delay}
        return declared if self.tile is None else declared | {"tile": self.tile}

    @property
    def width(self) -> int:
        """How long a tile is, in microseconds."""
        return int(_rendered(self, False).plan["width"])

    @property
    def node(self) -> dict[str, Any]:
        columns = {}
        for number, name in enumerate(self.columns):
            kind, feature = COLUMNS[name]
            feature = feature | dict(self.windows[number % len(self.windows)])
            columns[name] = {
                "name": name,
                "data_type": kind,
                "config": {"meta": {"feature": feature}},
            }
        return {
            "columns": columns,
            "config": {"event_time": "valid_at", "meta": {"feature_table": self.table}},
        }


@cache
def _rendered(shape: Shape, has_entities: bool) -> SimpleNamespace:
    """The SQL of a shape, with `@as_of` and `@cut_off` where the moments stand."""
    node = SimpleNamespace(**shape.node)
    node.config = SimpleNamespace(**node.config)
    featmill = macros(
        _feature_node=lambda: node,
        as_of=lambda: "timestamp '@as_of'",
        cut_off=lambda: "timestamp '@cut_off'",
    )
    features = featmill._declared_windows(node)
    plan = featmill._tile_plan(shape.table, features, **NAMES)
    entities = "docks" if has_entities else None
    return SimpleNamespace(
        plan=plan | {"events": "events"},
        tiles=featmill._tiles_sql(plan, "events", "timestamp '@cut_off'"),
        full=featmill.windows("events", entities=entities, **NAMES),
        tiled=featmill._windows_of_tiles(node, "tiles", "events", entities, plan, features),
    )


class TileRuns:
    """The builds of one feature table, one after another."""

    def __init__(self, shape: Shape, *, has_entities: bool = False) -> None:
        self.has_entities = has_entities
        self.declare(shape)
        self.connection = duckdb.connect(config={"threads": 1})
        self.connection.execute(f"SET TimeZone = 'UTC'; {EVENTS}")
        self.connection.execute(
            "CREATE TABLE docks AS SELECT 'N' AS code, unnest([1, 1, 11, 12]) AS dock"
        )
        self.has_tiles = False

    def __enter__(self) -> TileRuns:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def declare(self, shape: Shape) -> None:
        """Declare the table, or declare it anew: what was built stays."""
        self.sql = _rendered(shape, self.has_entities)

    def count(self, relation: str) -> int:
        """Its rows; 0 where it is not there yet."""
        if relation == "tiles" and not self.has_tiles:
            return 0
        return int(self.connection.execute(f"SELECT count(*) FROM {relation}").fetchall()[0][0])

    def build(self, cut_off: str) -> int | None:
        """Bring the tiles up to a cut-off: how many were computed anew, None where all were."""
        featmill = macros(run_query=self._rows)
        now, sql = f"timestamp '{cut_off}'", self.sql.tiles.replace("@cut_off", cut_off)
        bookmark = (
            featmill._tiles_bookmark("tiles", sql, self.sql.plan, now) if self.has_tiles else None
        )
        self.has_tiles = True
        if bookmark is None:
            self.connection.execute(f"CREATE OR REPLACE TABLE tiles AS {sql}")
            return None
        touched = featmill._touched_tiles(self.sql.plan, bookmark, now)
        self.connection.execute(featmill._retile_sql("tiles", sql, self.sql.plan, touched))
        return int(touched["count"])

    def full(self, as_of: str, cut_off: str) -> list[str]:
        """The feature table's rows from all events; texts, so that equal means equal to the bit."""
        return self._table(self.sql.full, as_of, cut_off)

    def tiled(self, as_of: str, cut_off: str) -> list[str]:
        """The same from the tiles."""
        return self._table(self.sql.tiled, as_of, cut_off)

    def _table(self, sql: str, as_of: str, cut_off: str) -> list[str]:
        sql = sql.replace("@as_of", as_of).replace("@cut_off", cut_off)
        found = self.connection.execute(f"SELECT * FROM ({sql}) ORDER BY code, dock").fetchall()
        return [repr(row) for row in found]

    def _rows(self, sql: str) -> SimpleNamespace:
        return SimpleNamespace(rows=self.connection.execute(sql).fetchall())
