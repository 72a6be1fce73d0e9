"""What is wrong on purpose: as much as declared, and only in the declared way."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

SAMPLE = Path(__file__).parents[3] / "seeds" / "sample"

MEASURES = {
    "late": "select count(*) from events where ingested_at - event_at > interval 100 minutes",
    "duplicate": "select count(*) - count(distinct event_id) from events",
    "null_key": "select count(*) from events where user_id is null",
    "null_time": "select count(*) from events where event_at is null",
    "future": "select count(*) from events where event_at > ingested_at",
}


@pytest.mark.parametrize("kind", MEASURES)
def test_the_planted_rows_are_in_the_file(dirty, kind):
    planted = dirty.events.planted[kind]
    assert dirty.value(MEASURES[kind]) == planted
    assert planted / dirty.events.rows == pytest.approx(getattr(dirty.shares, kind), rel=0.1)


# A row is out of order where one that was ingested later stands before it.
OUT_OF_ORDER = """
    with numbered as (
        select *, row_number() over () as place from events
    ),
    compared as (
        select ingested_at < max(ingested_at) over (order by place) as is_behind from numbered
    )
    select count(*) filter (where is_behind) from compared
"""


def test_out_of_order_rows_are_displaced_in_the_file(dirty):
    planted = dirty.events.planted["out_of_order"]
    assert dirty.value(OUT_OF_ORDER) == pytest.approx(planted, rel=0.05)
    assert planted / dirty.events.rows == pytest.approx(dirty.shares.out_of_order, rel=0.1)


def test_without_shares_nothing_is_wrong(clean):
    assert set(clean.events.planted.values()) == {0}
    assert [clean.value(query) for query in MEASURES.values()] == [0] * len(MEASURES)
    assert clean.value(OUT_OF_ORDER) == 0


def test_a_repeat_differs_in_nothing_but_when_it_was_ingested(dirty):
    copies, exact, different = dirty.one("""
        with pairs as (
            select
                count(*) as copies,
                count(distinct ingested_at) as ingested,
                count(distinct (columns(* exclude (event_id, ingested_at))))
            from events
            group by event_id
            having copies > 1
        )
        select
            max(copies),
            count(*) filter (where ingested = 1) / count(*),
            count(*) filter (where greatest(columns(* exclude (copies, ingested))) > 1)
        from pairs
    """)
    assert copies == 2
    assert exact == pytest.approx(0.5, abs=0.05)
    assert different == 0


def test_late_rows_are_hours_to_five_days_late(dirty):
    least, most = dirty.one(
        "select min(ingested_at - event_at), max(ingested_at - event_at) from events "
        "where ingested_at - event_at > interval 100 minutes"
    )
    assert least.total_seconds() >= 2 * 3600
    assert most.total_seconds() <= 5 * 86400 + 1800


def test_the_committed_sample_has_every_fault():
    with duckdb.connect() as connection:
        connection.execute(f"create view events as from '{SAMPLE / 'events.csv'}'")
        found = [
            connection.execute(query).fetchall()[0][0]
            for query in (*MEASURES.values(), OUT_OF_ORDER)
        ]
    assert min(found) > 0
