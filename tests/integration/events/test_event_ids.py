"""An event without an id cannot be told from its copies (rule 8): it is refused by name, never taken in silence."""

from __future__ import annotations

import duckdb
import pytest

from tests.integration.windows.rendered import macros

EVENTS = """
    CREATE TABLE events AS SELECT * FROM (VALUES
        ('a', 1, TIMESTAMP '2026-03-01', TIMESTAMP '2026-03-01'),
        ('a', 1, TIMESTAMP '2026-03-01', TIMESTAMP '2026-03-02'),
        (NULL, 2, TIMESTAMP '2026-03-01', TIMESTAMP '2026-03-01'),
        (NULL, 2, TIMESTAMP '2026-03-01', TIMESTAMP '2026-03-01')
    ) AS t (id, line, event_at, ingested_at)
"""


@pytest.fixture
def connection():
    with duckdb.connect() as opened:
        opened.execute(EVENTS)
        yield opened


@pytest.mark.parametrize("event_id", ["id", "line, id"])
def test_events_without_an_id_stop_the_query_that_would_keep_their_copies(connection, event_id):
    told = r"events without their id.*rule 8.*featmill\.refusal\(keys="
    sql = macros().deduplicated("events", event_id=event_id)

    with pytest.raises(duckdb.Error, match=told):
        connection.execute(sql).fetchall()


@pytest.mark.parametrize("event_id", ["id", "line, id"])
def test_what_is_refused_for_its_id_does_not(connection, event_id):
    featmill = macros()
    reason = featmill.refusal(keys=["id"])
    accepted = f"(SELECT * FROM events WHERE {reason} IS NULL) AS accepted"

    refused = connection.execute(f"SELECT {reason} FROM events WHERE id IS NULL").fetchall()
    kept = connection.execute(featmill.deduplicated(accepted, event_id=event_id)).fetchall()

    assert refused == [("no id",)] * 2
    assert [row[0] for row in kept] == ["a"]
