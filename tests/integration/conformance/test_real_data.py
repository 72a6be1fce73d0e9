"""Answers that three other implementations agreed on, over public data sets, exactly (rules 4, 8, 12)."""

from __future__ import annotations

import duckdb
import pytest

from featmill.contract.types import parse_type
from featmill.training import planner
from featmill.training.spine import MOMENT, read_spine
from featmill.training.templates import point_in_time_sql, render
from featmill.training.windows_at import How, windows_of

HOURS_3_INCLUSIVE = 3 * 3600 * 10**6 + 1
WINDOWS = ("1h", "24h", "7d")
#: Side -> its key, and what is counted distinct under which name.
SIDES = {"p": ("person_id", "contents", "content_id"), "c": ("content_id", "people", "person_id")}
WHERE = {"events": None, "views": "event_type = 'VIEW'", "likes": "event_type = 'LIKE'"}
DUPLICATE = "event_ts_utc, event_type, content_id, person_id, session_id"


@pytest.fixture
def connection():
    with duckdb.connect(config={"threads": 2}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def existing(path):
    if not path.is_file():
        pytest.skip(f"no real data at {path}")
    return path


@pytest.mark.parametrize("engine", ["macro", "interval"])
def test_the_weather_of_each_flight(connection, real_data, engine):
    """r3: 336,776 flights, the newest weather of the same airport that is not older than 3 hours."""
    flights = existing(real_data / "nycflights13" / "flight_events_bitemporal.parquet")
    weather = existing(real_data / "nycflights13" / "weather.parquet")
    answers = existing(real_data / "cases/real/r3_nycflights_weather_asof.expected.parquet")
    names = ("temp", "wind_speed", "visib", "precip")
    rows = (
        f"SELECT origin, timezone('UTC', time_hour_utc) AS feature_at, {', '.join(names)}, "
        f"TIMESTAMPTZ '2014-01-01' AS published_at, 's' AS snapshot_id FROM '{weather}'"
    )
    view = {
        "name": "weather",
        "relation": f"({rows})",
        "keys": ["origin"],
        "event_time": "feature_at",
        "ttl_us": HOURS_3_INCLUSIVE,
        "features": [{"name": n, "ignore_nulls": False, "default_sql": "null"} for n in names],
    }
    spine = read_spine(
        connection, flights, "event_time", {"origin": parse_type("varchar")}, zone="UTC"
    )
    if engine == "macro":
        sql = point_in_time_sql(spine.sql, MOMENT, [view], status=True, hidden=[MOMENT])
        found = connection.sql(sql).to_arrow_table()
    else:
        join = planner.Join(spine.sql, MOMENT, [view], status=True, hidden=(MOMENT,))
        found = planner.plan(connection, join, engine=engine).reader(65_536).read_all()

    columns = ", ".join(f"weather__{name} AS {name}" for name in names)
    at = "CASE WHEN weather__status = 'ok' THEN timezone('UTC', weather__feature_at) END AS obs_ts"
    connection.register("found", found)
    ours = f"SELECT flight_row, {at}, {columns} FROM found"
    assert_same(connection, ours, f"FROM '{answers}'", 336_776)
    unmatched = connection.execute(
        "SELECT count(*) FROM found WHERE weather__status <> 'ok'"
    ).fetchall()
    assert unmatched == [(842,)]


@pytest.mark.parametrize("engine", ["sql", "kernel"])
@pytest.mark.parametrize("kind", ["raw", "dedup"])
def test_the_windows_at_each_label(connection, real_data, kind, engine):
    """r2: 4,000 labels, counts and distinct counts over 1h, 24h and 7d of the person and of the content."""
    events = existing(real_data / "deskdrop" / "interactions.parquet")
    labels = existing(real_data / "cases/real/r2_deskdrop.labels.parquet")
    answers = existing(real_data / f"cases/real/r2_deskdrop.expected_{kind}_lc_ro.parquet")
    connection.execute(f"CREATE TABLE given AS FROM '{events}'")
    relation = "given"
    if kind == "dedup":
        kept = render(
            "deduplicated",
            "given",
            event_id=DUPLICATE,
            ingested_at="row_id",
            event_at="event_ts_utc",
        )
        connection.execute(f"CREATE TABLE kept AS {kept}")
        relation = "kept"
    connection.execute(
        f"CREATE VIEW events AS SELECT *, event_ts_utc AS event_at, event_ts_utc AS ingested_at, "
        f"row_id AS event_id FROM {relation}"
    )
    spine = f"SELECT * FROM '{labels}' ORDER BY label_id"
    parts = ["SELECT label_id FROM spine"]
    connection.execute(f"CREATE TABLE spine AS {spine}")
    for side, (key, distinct, of) in SIDES.items():
        view = {
            "name": side,
            "keys": [key],
            "events": "(SELECT * FROM events)",
            "event_at": "event_at",
            "ingested_at": "ingested_at",
            "event_id": "event_id",
            "features": list(features(distinct, of)),
        }
        windows = windows_of(connection, ("SELECT * FROM spine", "ts"), view, How(engine))
        assert windows.engine == engine
        table = windows.reader().read_all()
        connection.register(f"found_{side}", table)
        names = ", ".join(
            f'found_{side}."{name}" AS {name.replace("__", "_")}' for name in table.column_names
        )
        parts.append(f"SELECT {names} FROM found_{side}")
    ours = " POSITIONAL JOIN ".join(f"({part})" for part in parts)
    columns = [row[0] for row in connection.execute(f"DESCRIBE FROM '{answers}'").fetchall()]

    assert_same(connection, f"SELECT {', '.join(columns)} FROM {ours}", f"FROM '{answers}'", 4_000)


def features(distinct, of):
    """The declared windows of one side; a window without events counts 0 (rule 5)."""
    for window in WINDOWS:
        for name, where in WHERE.items():
            yield declared(f"{name}_{window}", "count", window, where=where)
        yield declared(f"{distinct}_{window}", "count_distinct", window, value=of)


def declared(name, aggregate, window, *, value=None, where=None):
    undeclared = dict.fromkeys(("scale", "n", "calendar", "zone", "of"))
    return {
        **undeclared,
        "name": name,
        "data_type": "BIGINT",
        "aggregate": aggregate,
        "window": window,
        "value": value,
        "where": where,
        "hop": "exact",
        "delay": "0s",
        "default": 0,
    }


def assert_same(connection, ours, theirs, rows):
    """The same bag of rows, every value exactly."""
    count, differing = connection.execute(
        f"SELECT (SELECT count(*) FROM ({ours})), "
        f"(SELECT count(*) FROM ({ours} EXCEPT ALL {theirs}))"
    ).fetchall()[0]

    assert (count, differing) == (rows, 0)
    assert connection.execute(f"SELECT count(*) FROM ({theirs})").fetchall() == [(rows,)]
