"""What is exported of a release is what a lookup at its as_of finds (rules 12 to 14), over made-up releases."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from exporters import rows as rows_module
from exporters.rows import visible_rows
from featmill.contract.catalog import FeatureTable
from featmill.training.absences import absences
from featmill.training.templates import point_in_time_sql
from featmill.warehouse.columns import literal
from featmill.warehouse.model import Snapshot
from tests.unit.online.tables import feature_table

CONNECTION = duckdb.connect(config={"threads": 1})
CONNECTION.execute("SET TimeZone = 'UTC'")
START = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MICROSECOND = timedelta(microseconds=1)
TTLS = [None, None, MICROSECOND, DAY, DAY + MICROSECOND, 2 * DAY, 3 * DAY]
#: Keys that read the same when they are run together.
KEYS = [("a", 11), ("a1", 1)]
ZONED = pa.timestamp("us", "UTC")


@dataclass(frozen=True)
class Row:
    """A row of a snapshot."""

    key: tuple[str, int]
    at: datetime
    plain: int | None
    carried: str | None


@dataclass(frozen=True)
class Publication:
    """A snapshot with its rows."""

    as_of: datetime
    published_at: datetime
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Case:
    """A table's released snapshots, one of which is exported; `fewer` are those of another history."""

    ttl: timedelta | None
    carries: bool
    snapshots: tuple[Publication, ...]
    exported: int
    fewer: frozenset[int]

    @property
    def table(self) -> FeatureTable:
        table = feature_table(
            "load",
            keys={"code": "VARCHAR", "number": "INTEGER"},
            features={"plain": "BIGINT", "carried": "VARCHAR"},
        )
        plain, carried = table.features
        carried = carried.model_copy(update={"ignore_nulls": self.carries})
        return table.model_copy(update={"ttl": self.ttl, "features": (plain, carried)})


@st.composite
def cases(draw: st.DrawFn) -> Case:
    ttl = draw(st.sampled_from(TTLS))
    days = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
    # Ages that are whole days let rows of several snapshots begin at one moment.
    ages = [timedelta(0), DAY, 2 * DAY, 3 * DAY]
    ages += [] if ttl is None else [ttl - MICROSECOND, ttl, ttl + MICROSECOND, 2 * ttl]
    snapshots = []
    for day in sorted(days):
        as_of = START + day * DAY
        drawn = st.builds(
            Row,
            key=st.sampled_from(KEYS),
            at=st.sampled_from([as_of - age for age in ages]),
            plain=st.one_of(st.none(), st.integers(0, 99)),
            carried=st.one_of(st.none(), st.sampled_from("uvwxyz")),
        )
        found = st.lists(drawn, max_size=4, unique_by=lambda row: (row.key, row.at))
        published = START + draw(st.sampled_from([9, 9, 10, 11])) * DAY
        snapshots.append(Publication(as_of, published, tuple(draw(found))))
    exported = len(snapshots) - 1 - draw(st.sampled_from([0, 0, 0, 1])) % len(snapshots)
    fewer = draw(st.frozensets(st.integers(0, len(snapshots) - 1)))
    return Case(ttl, draw(st.booleans()), tuple(snapshots), exported, fewer | {exported})


def publication(day: int, *rows: Row) -> Publication:
    return Publication(START + day * DAY, START + (9 + day) * DAY, rows)


A, B = KEYS
#: The row that serves is almost a ttl old, and the value it carries was so when that row began.
CARRIED_FAR = Case(
    2 * DAY,
    True,
    (
        publication(0, Row(A, START, 1, "x")),
        publication(2, Row(A, START + DAY + MICROSECOND, 2, None)),
        publication(3, Row(A, START, 3, None)),
    ),
    exported=2,
    fewer=frozenset({1, 2}),
)
#: A row of a snapshot that serves another entity loses against its restatement.
TIED = Case(
    None,
    False,
    (
        publication(1, Row(A, START, 1, "x"), Row(B, START + DAY, 2, "y")),
        publication(2, Row(A, START, 3, "z"), Row(B, START, 4, "z")),
        publication(3, Row(A, START - DAY, 5, "v"), Row(B, START - DAY, 6, "w")),
    ),
    exported=2,
    fewer=frozenset({1, 2}),
)
#: No row of the earlier snapshot serves, and a value of it does.
FILLED = Case(
    None,
    True,
    (publication(0, Row(A, START, 1, "x")), publication(1, Row(A, START + DAY, 2, None))),
    exported=1,
    fewer=frozenset({1}),
)


@pytest.fixture(scope="module", autouse=True)
def files():
    """Snapshots as bare Parquet files: a Delta commit for each would take most of the time."""
    patched = pytest.MonkeyPatch()
    patched.setattr(rows_module, "relation_sql", relation_sql)
    yield
    patched.undo()


def relation_sql(snapshots: Sequence[Snapshot]) -> str:
    listed = ", ".join(literal(f"{s.location}/{s.snapshot_id}.parquet") for s in snapshots)
    return f"SELECT * FROM read_parquet([{listed}], union_by_name=true)"


def write(folder: Path, number: int, made: Publication) -> Snapshot:
    rows = made.rows
    snapshot = Snapshot(
        table="load",
        snapshot_id=f"s-{number:04}",
        as_of=made.as_of,
        cut_off=made.as_of,
        published_at=made.published_at,
        fingerprint="f",
        sources=(),
        rows=len(rows),
        content_hash="c",
        location=str(folder),
        delta_version=number,
    )
    table = pa.table(
        {
            "code": pa.array([row.key[0] for row in rows], pa.string()),
            "number": pa.array([row.key[1] for row in rows], pa.int32()),
            "feature_at": pa.array([row.at for row in rows], ZONED),
            "plain": pa.array([row.plain for row in rows], pa.int64()),
            "carried": pa.array([row.carried for row in rows], pa.string()),
            "published_at": pa.array([made.published_at] * len(rows), ZONED),
            "snapshot_id": pa.array([snapshot.snapshot_id] * len(rows), pa.string()),
        }
    )
    pq.write_table(table, folder / f"{snapshot.snapshot_id}.parquet")
    return snapshot


def looked_up(case: Case, released: list[Snapshot], at: datetime) -> list[tuple]:
    """What a training set says at one moment: the rows it calls ok, in key order."""
    view = {
        "name": "load",
        "relation": f"({relation_sql(released)})",
        "keys": ["code", "number"],
        "event_time": "feature_at",
        "ttl_us": None if case.ttl is None else case.ttl // MICROSECOND,
        "features": [
            {"name": "plain", "ignore_nulls": False, "default_sql": "null"},
            {"name": "carried", "ignore_nulls": case.carries, "default_sql": "null"},
        ],
    }
    spine = " UNION ALL ".join(
        f"SELECT {literal(code)} AS code, {number} AS number, TIMESTAMPTZ '{at}' AS at"
        for code, number in sorted(KEYS)
    )
    gone = absences(CONNECTION, released, str(view["relation"]), ["code", "number"])
    if gone is not None:
        event("entities vanished")
        view["gone"] = gone
    sql = point_in_time_sql(spine, "at", [view], status=True, hidden=[])
    return CONNECTION.execute(
        "SELECT code, number, load__feature_at, load__plain, load__carried "
        f"FROM ({sql}) WHERE load__status = 'ok' ORDER BY code, number"
    ).fetchall()


def read(reader: pa.RecordBatchReader) -> list[tuple]:
    columns = reader.read_all().to_pydict().values()
    return list(zip(*columns, strict=True))


@settings(max_examples=150)
@given(cases())
@example(CARRIED_FAR)
@example(TIED)
@example(FILLED)
def test_what_is_exported_is_what_a_lookup_at_the_as_of_finds(case):
    """Rules 11 to 14: none that the newest snapshot lacks, and none past its ttl."""
    with tempfile.TemporaryDirectory() as folder:
        snapshots = [write(Path(folder), n, made) for n, made in enumerate(case.snapshots)]
        exported = snapshots[case.exported]
        before = snapshots[: case.exported]

        with visible_rows(case.table, exported, snapshots) as visible:
            found = read(visible.reader())
            vanished = read(visible.vanished([*before, exported]))

        assert found == looked_up(case, [*before, exported], exported.as_of)
        assert visible.count == len(found)
        assert vanished == sorted(
            {row.key for made in case.snapshots[: case.exported + 1] for row in made.rows}
            - {row[:2] for row in found}
        )
        holds = [
            case.snapshots[n] for n, s in enumerate(snapshots) if s.snapshot_id in visible.holds
        ]
        assert {row[:2] for row in found} <= {row.key for made in holds for row in made.rows}
        event("earlier snapshots serve" if len(visible.holds) > 1 else "one snapshot serves")


@settings(max_examples=150)
@given(cases())
@example(CARRIED_FAR)
@example(TIED)
@example(FILLED)
def test_the_same_content_is_the_same_rows(case):
    """Rule 12: whatever was back-filled, withdrawn or toggled, nothing is `unchanged` that is not."""
    with tempfile.TemporaryDirectory() as folder:
        snapshots = [write(Path(folder), n, made) for n, made in enumerate(case.snapshots)]
        exported = snapshots[case.exported]
        found: dict[str, list[list[tuple]]] = {}
        for released in (snapshots, [snapshots[n] for n in sorted(case.fewer)]):
            with visible_rows(case.table, exported, released) as visible:
                found.setdefault(visible.content, []).append(read(visible.reader()))

        for same in found.values():
            assert same == same[:1] * len(same)
        event("one content" if len(found) == 1 else "two contents")
