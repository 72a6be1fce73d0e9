"""Published tables and spines of any shape: what a lookup finds by the letter of rules 12 to 16, and by an engine."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from featmill.training import planner
from featmill.warehouse.row_index_writer import IndexSource, build_index
from tests.unit.warehouse.snapshots import snapshot

#: As DuckDB hands moments out.
UTC = ZoneInfo("UTC")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86400 * 10**6
START = 20512 * DAY
ZONED = pa.timestamp("us", "UTC")
#: Keys that read the same when they are run together, and NULL's neighbours.
KEYS = [("a", 11), ("a1", 1), ("a", 1), ("", 11), ("A", -1), ("ä", 2**62)]
KEY_COLUMNS = {"both": ("code", "number"), "text": ("code",), "integer": ("number",)}
#: Feature -> its type and some values.
VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "whole": (pa.int64(), [0, -1, 2**62]),
    "small": (pa.int16(), [1, -300]),
    "price": (pa.decimal128(10, 2), [Decimal("0.10"), Decimal("-99999999.99")]),
    "rate": (pa.float64(), [0.1, -0.0, float("inf"), 5e-324]),
    "flag": (pa.bool_(), [True, False]),
    "word": (pa.string(), ["", "x", "naïve", "a\0b"]),
    "bytes": (pa.binary(), [b"", b"\xff\x00"]),
    "day": (pa.date32(), [EPOCH.date(), datetime(2026, 3, 1, tzinfo=UTC).date()]),
    "moment": (ZONED, [EPOCH, EPOCH + timedelta(microseconds=START + 1)]),
    "numbers": (pa.list_(pa.int64()), [[], [1, None, 3], [7]]),
    "words": (pa.list_(pa.string()), [[], ["a", "", None], ["long enough to be no inline text"]]),
    "nested": (pa.list_(pa.list_(pa.float64())), [[], [[1.5], [], None]]),
}
DEFAULTS = {
    "whole": ("-1", -1),
    "small": ("7", 7),
    "flag": ("true", True),
    "word": ("'it''s'", "it's"),
}


@dataclass(frozen=True)
class Row:
    """A row of a published table: moments in microseconds since the epoch."""

    key: tuple[str, int]
    at: int
    published: int
    snapshot: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Case:
    """A published table, its declaration and a spine; `shape` says what its snapshots guarantee."""

    shape: str
    key: str
    rows: tuple[Row, ...]
    ttl: int | None
    features: tuple[tuple[str, bool, bool], ...]
    spine: tuple[tuple[int, tuple[str, int], int], ...]

    def engines(self) -> list[str]:
        """The engines that can join it. `dirty` snapshots hold ties of their own, so nothing is known of them."""
        able = ["asof", "interval"]
        if self.shape != "dirty":
            able.append("indexed")
        return [*able, "equi"] if self.shape == "dense" else able


@st.composite
def cases(draw: st.DrawFn) -> Case:
    shape = draw(st.sampled_from(["dirty", "overlapping", "dense"]))
    key = draw(st.sampled_from(sorted(KEY_COLUMNS)))
    ttl = draw(st.sampled_from([None, 1, 2, DAY, 3 * DAY]))
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=3, unique=True))
    features = tuple(
        (name, draw(st.booleans()), name in DEFAULTS and draw(st.booleans())) for name in names
    )
    values = st.tuples(*(st.one_of(st.none(), st.sampled_from(VALUES[name][1])) for name in names))
    rows = draw(st.lists(_row(shape, values), max_size=25, unique_by=_identity(shape, key)))
    edges = [row.at for row in rows] + [START + 2 * DAY]
    edges += [row.at + ttl for row in rows if ttl is not None]
    near = st.builds(
        lambda edge, by: edge + by, st.sampled_from(edges), st.sampled_from([-1, 0, 1])
    )
    known = st.sampled_from([row.key for row in rows] or KEYS)
    keys = st.one_of(known, known, st.sampled_from([*KEYS, ("zz", 0)]))
    spine = draw(st.lists(st.tuples(st.integers(0, 3), keys, near), min_size=1, max_size=12))
    spine += draw(st.lists(st.sampled_from(spine), max_size=3))
    return Case(shape, key, tuple(rows), ttl, features, tuple(spine))


def _row(shape: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    """`dense`: each snapshot has one event time. Otherwise times and snapshots have nothing to do with each other."""
    day = st.integers(0, 4)
    ordinals = st.sampled_from(["s-0000", "s-0001", "s-0002"])
    edges = st.one_of(day, day).map(lambda n: START + n * DAY)

    def dense(key: tuple[str, int], n: int, held: tuple[Any, ...]) -> Row:
        return Row(key, START + n * DAY, START + (n + 1) * DAY, f"s-{n:04d}", held)

    if shape == "dense":
        return st.builds(dense, st.sampled_from(KEYS), day, values)
    return st.builds(
        Row,
        key=st.sampled_from(KEYS),
        at=st.one_of(edges, edges.map(lambda at: at + 1)),
        published=st.sampled_from([START + 9 * DAY, START + 9 * DAY + 1]),
        snapshot=ordinals,
        values=values,
    )


def _identity(shape: str, key: str) -> Any:
    """What the gate lets a snapshot hold once; in a dirty table only the whole of rule 13 tells rows apart."""

    def identity(row: Row) -> tuple[Any, ...]:
        own = (_shown(key, row.key), row.at, row.snapshot)
        return (*own, row.published) if shape == "dirty" else own

    return identity


def _shown(key: str, value: tuple[str, int]) -> tuple[Any, ...]:
    return {"both": value, "text": value[:1], "integer": value[1:]}[key]


def expected(case: Case) -> list[tuple[Any, ...]]:
    """Rules 12 to 15 as they are written, one row of the spine at a time."""
    return [
        (label, *_shown(case.key, key), _moment(at), *_found(case, key, at))
        for label, key, at in case.spine
    ]


def _found(case: Case, key: tuple[str, int], at: int) -> tuple[Any, ...]:
    newest: dict[int, Row] = {}
    for row in sorted(case.rows, key=lambda row: (row.published, row.snapshot)):
        if _shown(case.key, row.key) == _shown(case.key, key) and row.at <= at:
            newest[row.at] = row
    defaults = [DEFAULTS[n][1] if has_default else None for n, _, has_default in case.features]
    if not newest:
        return (*defaults, "missing", None)
    last = max(newest)
    if case.ttl is not None and not at < last + case.ttl:
        return (*defaults, "expired", _moment(last))
    alive = [found for found in sorted(newest) if case.ttl is None or last < found + case.ttl]
    values = []
    for i, (_, carries, _) in enumerate(case.features):
        held = [newest[found].values[i] for found in (alive if carries else [last])]
        values.append(next((value for value in reversed(held) if value is not None), None))
    return (*values, "ok", _moment(last))


def _moment(at: int) -> datetime:
    return EPOCH + timedelta(microseconds=at)


def computed(case: Case, engine: str, *, status: bool = True) -> pa.Table:
    """The same by one engine."""
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        pq.write_table(_published(case), f"{folder}/rows.parquet")
        pq.write_table(_spine(case), f"{folder}/spine.parquet")
        relation = f"SELECT * FROM read_parquet('{folder}/rows.parquet')"
        view = _view(case, relation)
        if case.shape != "dirty":
            view["snapshots"] = [replace(snapshot(), location=f"{folder}/table/v1")]
        if engine == "indexed":
            keys = KEY_COLUMNS[case.key]
            build_index(IndexSource(view["snapshots"], relation, keys, "valid_at"))
        spine = f"SELECT * FROM read_parquet('{folder}/spine.parquet')"
        join = planner.Join(spine, "at", [view], status=status)
        plan = planner.plan(connection, join, engine=engine)
        return plan.reader(5).read_all()


def _view(case: Case, relation: str) -> dict[str, Any]:
    return {
        "name": "view",
        "relation": f"({relation})",
        "keys": list(KEY_COLUMNS[case.key]),
        "event_time": "valid_at",
        "ttl_us": case.ttl,
        "features": [
            {
                "name": name,
                "ignore_nulls": carries,
                "default_sql": DEFAULTS[name][0] if has_default else "null",
            }
            for name, carries, has_default in case.features
        ],
    }


def _published(case: Case) -> pa.Table:
    columns = {
        "number": pa.array([row.key[1] for row in case.rows], pa.int64()),
        "code": pa.array([row.key[0] for row in case.rows], pa.string()),
        "valid_at": pa.array([row.at for row in case.rows], ZONED),
        "published_at": pa.array([row.published for row in case.rows], ZONED),
        "snapshot_id": pa.array([row.snapshot for row in case.rows], pa.string()),
    }
    for i, (name, _, _) in enumerate(case.features):
        columns[name] = pa.array([row.values[i] for row in case.rows], VALUES[name][0])
    return pa.table(columns)


def _spine(case: Case) -> pa.Table:
    columns = {"label": pa.array([label for label, _, _ in case.spine], pa.int64())}
    if case.key != "integer":
        columns["code"] = pa.array([key[0] for _, key, _ in case.spine], pa.string())
    if case.key != "text":
        columns["number"] = pa.array([key[1] for _, key, _ in case.spine], pa.int64())
    return pa.table({**columns, "at": pa.array([at for _, _, at in case.spine], ZONED)})
