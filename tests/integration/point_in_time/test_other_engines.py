"""The lookup in the SQL of other warehouses: it parses in each, and Spark's own answer is DuckDB's."""

from __future__ import annotations

import os
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from featmill.training import templates
from featmill.training.templates import point_in_time_sql, render

START = datetime(2026, 3, 1, tzinfo=UTC)
LABELS = {"label_id": pa.int64(), "code": pa.string(), "group": pa.int64()}
COLUMNS = ["label_id", "code", "group", "asked_at"]


def feature(name, *, ignore_nulls=False, default="null"):
    return {"name": name, "ignore_nulls": ignore_nulls, "default_sql": default}


VIEWS: list[dict[str, Any]] = [
    {
        "name": "by_both",
        "relation": "published",
        "keys": ["code", "group"],
        "event_time": "valid_at",
        "ttl_us": 40_000_000,
        "features": [
            feature("order", default="-1"),
            feature("user id", ignore_nulls=True, default="'it''s a \\ default'"),
        ],
    },
    {
        "name": "by_code",
        "relation": "of_code",
        "keys": ["code"],
        "event_time": "valid_at",
        "ttl_us": None,
        "features": [feature("order"), feature("user id", ignore_nulls=True)],
    },
]


#: A snapshot's id begins with its as_of; the last has a fraction of a second.
SNAPSHOTS = {
    f"20260301T00{n // 6:02}{n % 6 * 10:02}Z-0000-aa": START + timedelta(seconds=10 * n)
    for n in (2, 5, 8)
} | {"20260301T000200.500000Z-0000-aa": START + timedelta(seconds=120, milliseconds=500)}
LISTED = ", ".join(f"('{name}', TIMESTAMPTZ '{at}')" for name, at in SNAPSHOTS.items())


def gone(view):
    """What of a view had vanished when, as DuckDB is told (rule 11)."""
    held = (
        f"(SELECT snapshot_id, as_of, max(published_at) AS known FROM (VALUES {LISTED}) AS listed(snapshot_id, as_of) "
        f"JOIN {view['relation']} AS published USING (snapshot_id) GROUP BY ALL)"
    )
    return f"({render('absences_sql', {**view, 'snapshots_sql': held})})"


VIEWS[0]["gone"] = gone(VIEWS[0])


def sql_of(engine):
    """What `featmill.lookup_sql` dispatches to on this engine."""
    text = templates._path("lookup_sql").read_text(encoding="utf-8")
    environment = templates._environment()
    exported = "{% set exported = " + engine + "__lookup_sql %}"
    macro = vars(environment.from_string(text + exported).module)["exported"]
    try:
        macro("labels", "asked_at", ["code", "group"], VIEWS, True)
    except templates._Returned as returned:
        return str(returned.value)
    raise AssertionError("it returned nothing")


@pytest.mark.parametrize("engine", ["duckdb", "snowflake", "bigquery", "spark"])
def test_the_sql_parses_in_its_own_dialect(engine):
    import sqlglot

    (parsed,) = sqlglot.parse(sql_of(engine), dialect=engine)

    # Snowflake takes a plain name in upper case, whether it is a keyword or not; no other name (below).
    names = [column.alias_or_name for column in parsed.selects]
    if engine == "snowflake":
        names = [name if " " in name else name.lower() for name in names]
    assert [name for name in names if name.startswith("by_")] == [
        "by_both__order",
        "by_both__user id",
        "by_both__status",
        "by_both__valid_at",
        "by_code__order",
        "by_code__user id",
        "by_code__status",
        "by_code__valid_at",
    ]


def test_snowflake_joins_by_asof_and_the_others_do_not_know_it():
    assert "asof join" in sql_of("snowflake")
    match = 'match_condition (spine."ASKED_AT" >= rows_1."VALID_AT")'
    assert match in sql_of("snowflake")
    assert "asof" not in sql_of("bigquery") + sql_of("spark")
    assert "qualify" not in sql_of("bigquery") + sql_of("spark") + sql_of("snowflake")


@pytest.mark.parametrize(
    ("engine", "written"),
    [
        ("duckdb", ('"order"', '"user id"', '"group"')),
        ("spark", ("`order`", "`user id`", "`group`")),
        ("bigquery", ("`order`", "`user id`", "`group`")),
        # What `order` means there without quotes is ORDER; a name that needs quotes is as it was created.
        ("snowflake", ('"ORDER"', '"user id"', '"GROUP"')),
    ],
)
def test_names_are_quoted_as_the_engine_does(engine, written):
    for name in written:
        assert f".{name}" in sql_of(engine)


def test_a_text_that_a_backslash_would_change_is_escaped():
    assert "'it''s a \\\\ default'" in sql_of("snowflake")
    assert r"'it\'s a \\ default'" in sql_of("spark")


def data(seed):
    """Published rows with ties, NULLs and colliding keys, and labels at and around their edges."""
    chance = random.Random(seed)
    keys = [("a", 11), ("a1", 1), ("a", 1), ("", 11), ("A", 1)]

    def rows(named):
        found: list[tuple] = []
        for key in named:
            for _ in range(chance.randint(0, 6)):
                at = START + timedelta(seconds=10 * chance.randint(0, 9))
                found.append(
                    (
                        *key,
                        at,
                        chance.choice([None, chance.randint(0, 9)]),
                        chance.choice([None, "x", "y"]),
                        START + timedelta(days=1, microseconds=len(found)),
                        chance.choice(list(SNAPSHOTS)),
                    )
                )
        return found

    asked = [
        START + timedelta(seconds=10 * n, microseconds=by)
        for n in range(-1, 15)
        for by in (-1, 0, 1)
    ]
    labels = [(n, *key, at) for n, (key, at) in enumerate((k, t) for k in keys for t in asked)]
    labels += labels[:5]
    return labels, rows(keys), rows([(code,) for code, _ in keys])


def tables(seed):
    labels, both, code = data(seed)
    time = pa.timestamp("us", "UTC")
    moments = {"asked_at": time, "valid_at": time, "published_at": time}
    kinds = (
        LABELS | moments | {"order": pa.int64(), "user id": pa.string(), "snapshot_id": pa.string()}
    )
    columns = ["valid_at", "order", "user id", "published_at", "snapshot_id"]

    def table(names, rows):
        values: list = list(zip(*rows, strict=True)) or [[] for _ in names]
        return pa.table({n: pa.array(v, kinds[n]) for n, v in zip(names, values, strict=True)})

    return {
        "labels": table(COLUMNS, labels),
        "published": table(["code", "group", *columns], both),
        "of_code": table(["code", *columns], code),
    }


def by_duckdb(given, views=VIEWS):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name, table in given.items():
            connection.register(name, table)
        sql = point_in_time_sql("select * from labels", "asked_at", views, status=True, hidden=[])
        return connection.sql(sql).to_arrow_table()


@pytest.fixture(scope="module")
def spark(tmp_path_factory):
    sql = pytest.importorskip(
        "pyspark.sql", reason="pyspark is not installed: uv sync --group spark"
    )
    folder = tmp_path_factory.mktemp("spark")
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    try:
        session = (
            sql.SparkSession.builder.master("local[1]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.session.timeZone", "UTC")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.warehouse.dir", str(folder))
            .getOrCreate()
        )
    except Exception as error:
        pytest.skip(f"Spark does not start: {error}")
    yield session
    session.stop()


def by_spark(session, given, folder):
    import pyarrow.parquet as pq

    for name, table in given.items():
        path = str(folder / f"{name}.parquet")
        pq.write_table(table, path)
        session.read.parquet(path).createOrReplaceTempView(name)
    return session.sql(sql_of("spark"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_spark_answers_what_duckdb_answers(spark, tmp_path, seed):
    """Rules 12 to 15, ties, ttl to the microsecond, NULLs and defaults; the order is the engine's own."""
    given = tables(seed)
    expected = by_duckdb(given)

    found = by_spark(spark, given, tmp_path)

    assert found.columns == expected.schema.names
    assert told(found.toArrow()) == told(expected)
    statuses = {row["by_both__status"] for row in expected.to_pylist()}
    assert statuses == {"ok", "expired", "missing"}


@pytest.mark.parametrize("seed", range(2))
def test_the_data_above_has_entities_that_vanish(seed):
    """Rule 11: else the comparison would prove nothing of it."""
    given = tables(seed)
    ignorant = [{name: said for name, said in view.items() if name != "gone"} for view in VIEWS]

    assert told(by_duckdb(given)) != told(by_duckdb(given, ignorant))


@pytest.mark.slow
def test_spark_stops_at_a_null_in_the_spine(spark, tmp_path):
    """Rule 15."""
    given = tables(0)
    labels = given["labels"].to_pylist()
    labels[3]["code"] = None
    given["labels"] = pa.Table.from_pylist(labels, schema=given["labels"].schema)

    with pytest.raises(Exception, match="the spine has NULLs in code"):
        by_spark(spark, given, tmp_path).collect()


def told(table):
    """Rows that can be sorted and compared: moments are in UTC, whatever the zone they are shown in."""
    rows = table.to_pylist()
    for row in rows:
        for name in ("asked_at", "by_both__valid_at", "by_code__valid_at"):
            row[name] = row[name] and row[name].astimezone(UTC)
    return sorted(repr(tuple(row.values())) for row in rows)
