"""A spine as a file, a frame or SQL; a training set as a file or a frame: the same rows whichever it is."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill.errors import NoRelease, SpineError, UsageError
from featmill.training.spine_source import sql_spine
from featmill.training.training_set import Label, open_training_set
from featmill.warehouse.features_database import write_features_database
from tests.integration.point_in_time.ledgers import CLICKS, LedgerLake, hour

NAMES = ["user_id", "asked_at", "label", "clicks__count_7d", "clicks__city"]


@pytest.fixture
def lake(tmp_path):
    """One release at hour 24."""
    lake = LedgerLake(tmp_path)
    lake.publish(hour(24), [(1, hour(24), 7, "a"), (2, hour(24), None, "b")], at=hour(25))
    return lake


@pytest.fixture
def spine():
    """Four labels, out of order, one of them twice."""
    return pa.table(
        {
            "user_id": pa.array([2, 1, 9, 1], pa.int64()),
            "asked_at": pa.array(
                [hour(30), hour(24), hour(30), hour(24)], pa.timestamp("us", "UTC")
            ),
            "label": [0.5, 1.5, None, 1.5],
        }
    )


EXPECTED = [(2, 0.5, None, "b"), (1, 1.5, 7, "a"), (9, None, None, None), (1, 1.5, 7, "a")]


def plain(table):
    assert table.schema.names == NAMES
    rows = table.select([name for name in NAMES if name != "asked_at"]).to_pylist()
    return [tuple(row.values()) for row in rows]


class Exported:
    """A frame of a library that we do not know, which speaks Arrow."""

    def __init__(self, table):
        self._table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self._table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize("kind", ["arrow", "reader", "pandas", "polars", "capsule", "parquet"])
def test_every_kind_of_spine_gives_the_same_rows(lake, spine, tmp_path, kind):
    """Rule 15: its rows, columns and order."""
    given = spine
    if kind == "reader":
        given = spine.to_reader()
    elif kind == "pandas":
        given = spine.to_pandas()
    elif kind == "polars":
        given = pytest.importorskip("polars").from_arrow(spine)
    elif kind == "capsule":
        given = Exported(spine)
    elif kind == "parquet":
        given = tmp_path / "spine.parquet"
        pq.write_table(spine, given)

    rows = plain(lake.rows(given))

    # pandas has no NULL in a column of floats.
    assert [tuple(None if v != v else v for v in row) for row in rows] == EXPECTED


@pytest.mark.parametrize("kind", ["arrow", "polars", "parquet"])
def test_a_time_in_nanoseconds_gives_the_same_rows_and_stays_as_it_is(lake, spine, tmp_path, kind):
    """Rules 1 and 15, also as a file and for the moment of a label."""
    finer = spine.set_column(1, "asked_at", spine["asked_at"].cast(pa.timestamp("ns", "UTC")))
    given = finer
    if kind == "polars":
        given = pytest.importorskip("polars").from_arrow(finer)
    elif kind == "parquet":
        given = tmp_path / "spine.parquet"
        pq.write_table(finer, given)
    label = Label(timedelta(hours=-6), at="asked_at")

    made = lake.build(given, tmp_path / "set.parquet", label=label)

    answer = pq.read_table(made.path)
    assert plain(answer) == EXPECTED
    assert answer.schema.field("asked_at").type == pa.timestamp("ns", "UTC")


@pytest.mark.parametrize("kind", ["arrow", "reader", "pandas", "polars"])
@pytest.mark.parametrize("second", ["User_ID", "user_id"])
def test_a_frame_with_two_columns_of_one_name_is_refused(lake, spine, kind, second):
    """Rule 15: columns whose names differ only in case are one to SQL, which would call one of them otherwise."""
    given = spine.append_column(second, spine["user_id"])
    if kind == "reader":
        given = given.to_reader()
    elif kind == "pandas":
        given = given.to_pandas()
    elif kind == "polars":
        if second == "user_id":
            pytest.skip("polars itself refuses it")
        given = pytest.importorskip("polars").from_arrow(given)

    with pytest.raises(SpineError, match=f"has more than one column user_id, {second}"):
        lake.rows(given)


@pytest.mark.parametrize("given", [[1, 2], {"user_id": [1]}, 7])
def test_what_is_no_spine_is_refused(lake, given):
    with pytest.raises(SpineError, match="is not a spine"):
        lake.rows(given)


def test_a_frame_without_a_key_is_refused_by_its_kind(lake, spine):
    """Rule 16."""
    with pytest.raises(SpineError, match="Table has no column user_id"):
        lake.rows(spine.drop_columns(["user_id"]))
    other = spine.set_column(0, "user_id", pa.array(["2", "1", "9", "1"]))
    with pytest.raises(SpineError, match="key user_id is VARCHAR, the contract says BIGINT"):
        lake.rows(other)


def test_sql_reads_the_features_database_and_files(lake, spine, tmp_path):
    """What it selects and the order it comes in; a view of the database is there by its name."""
    database = tmp_path / "features.duckdb"
    write_features_database(database, lake.registry)
    pq.write_table(spine, tmp_path / "spine.parquet")
    text = (
        f"select s.*, c.city as known from read_parquet('{tmp_path}/spine.parquet') s "
        "left join clicks c using (user_id) order by s.label desc nulls last, s.user_id;"
    )

    rows = lake.rows(sql_spine(text, database)).to_pylist()

    assert [(row["user_id"], row["known"], row["clicks__count_7d"]) for row in rows] == [
        (1, "a", 7),
        (1, "a", 7),
        (2, "b", None),
        (9, None, None),
    ]


@pytest.mark.parametrize(
    "text", ["select * from nowhere", "selct 1", "drop table x", "select 1; select 2"]
)
def test_sql_that_fails_is_told_in_duckdb_s_words(lake, text):
    with pytest.raises(SpineError, match="the spine's SQL fails: ") as refused:
        lake.rows(sql_spine(text))

    assert "COPY" not in refused.value.message


def test_a_set_may_be_a_frame_of_any_kind(lake, spine):
    pandas = lake.rows(spine, "pandas")
    polars = lake.rows(spine, "polars")

    assert list(pandas.columns) == NAMES == polars.columns
    assert pandas["clicks__city"].tolist()[:2] == ["b", "a"]
    assert polars["clicks__count_7d"].to_list() == [None, 7, None, 7]
    with pytest.raises(UsageError, match="there is no frame 'dask'"):
        lake.rows(spine, "dask")


def test_a_set_may_be_read_batch_by_batch(lake):
    """Nothing is held but the batch that is being read."""
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        long = connection.sql(
            f"SELECT range % 3 AS user_id, TIMESTAMPTZ '{hour(30)}' AS asked_at FROM range(200000)"
        ).to_arrow_table()

    with open_training_set(lake.catalog, lake.registry, lake.request(long)) as rows:
        sizes = [batch.num_rows for batch in rows.reader]

    assert sum(sizes) == 200_000
    assert max(sizes) <= 65_536


def test_each_value_has_a_status_of_its_own_on_request(tmp_path, spine):
    """Rules 18 and 20: a declared default is `default`, whatever the lookup did not find."""
    count, city = CLICKS.features
    counted = count.model_copy(update={"has_default": True, "default": 0})
    lake = LedgerLake(
        tmp_path,
        CLICKS.model_copy(update={"ttl": timedelta(hours=3), "features": (counted, city)}),
    )
    lake.publish(hour(24), [(1, hour(24), 7, "a"), (2, hour(24), 1, None)], at=hour(25))

    rows = lake.rows(spine, value_status=True, status=True, source_times=True).to_pylist()

    assert [
        (row["clicks__count_7d"], row["clicks__count_7d__status"], row["clicks__city__status"])
        for row in rows
    ] == [(0, "default", "expired"), (7, "ok", "ok"), (0, "default", "missing"), (7, "ok", "ok")]
    assert [row["clicks__status"] for row in rows] == ["expired", "ok", "missing", "ok"]
    assert [row["clicks__feature_at"] for row in rows] == [hour(24), hour(24), None, hour(24)]


def test_a_label_that_is_not_mature_is_refused_or_dropped_and_counted(lake, spine, tmp_path):
    """Rule 17: mature where its moment plus the horizon is not after the cut-off, which is hour 24."""
    early = spine.set_column(
        1,
        "asked_at",
        pa.array([hour(14), hour(15), hour(4), hour(14)], pa.timestamp("us", "UTC")),
    )
    ten = timedelta(hours=10)

    assert len(lake.rows(early.take([0, 2, 3]), label=Label(ten))) == 3
    with pytest.raises(SpineError, match="1 rows have a label that is not mature") as refused:
        lake.rows(early, label=Label(ten))
    assert "--immature drop" in str(refused.value.hint)
    made = lake.build(early, tmp_path / "set.parquet", label=Label(ten, immature="drop"))
    assert (made.rows, made.labels) == (3, {"mature": 3, "immature": 1})
    assert pq.read_table(made.path).column("user_id").to_pylist() == [2, 9, 1]


def test_a_label_s_horizon_may_begin_elsewhere(lake, spine):
    """Rule 17: at a column of its own, checked as a time."""
    signed = spine.append_column(
        "signed_at", pa.array([hour(1), hour(2), hour(3), None], pa.timestamp("us", "UTC"))
    )
    label = Label(timedelta(hours=22), at="signed_at", immature="drop")

    assert lake.rows(signed.slice(0, 3), label=label).column("label").to_pylist() == [0.5, 1.5]
    with pytest.raises(SpineError, match="NULLs in signed_at in 1 rows"):
        lake.rows(signed, label=label)
    with pytest.raises(SpineError, match="has no column signed_on"):
        lake.rows(signed, label=Label(timedelta(hours=1), at="signed_on"))
    with pytest.raises(SpineError, match="time column label is DOUBLE"):
        lake.rows(signed, label=Label(timedelta(hours=1), at="label"))


def test_a_set_may_be_read_as_the_registry_stood(lake, spine):
    """Rule 22: by a release, by a snapshot of it, and by a moment."""
    (first,) = lake.registry.releases()
    before = lake.rows(spine).to_pylist()
    lake.publish(hour(24), [(1, hour(24), 8, "c")], at=hour(40))
    lake.publish(hour(28), [(1, hour(28), 9, "d"), (2, hour(28), 9, "d")], at=hour(41))

    assert lake.rows(spine).to_pylist() != before
    assert lake.rows(spine, release=first.release_id).to_pylist() == before
    assert lake.rows(spine, release=first.snapshots["clicks"]).to_pylist() == before
    assert lake.rows(spine, at=hour(39)).to_pylist() == before
    assert lake.rows(spine, at=hour(40)).to_pylist() != before
    with pytest.raises(NoRelease, match="clicks had not been released by 2026-03-01 05:00:00 UTC"):
        lake.rows(spine, at=hour(5))
    with pytest.raises(NoRelease, match="no release and no released snapshot 'nope'"):
        lake.rows(spine, release="nope")
    with pytest.raises(UsageError, match="give one"):
        lake.rows(spine, release="x", at=hour(5))
    with pytest.raises(UsageError, match="takes no --snapshot"):
        lake.rows(spine, release="x", mode="served")
