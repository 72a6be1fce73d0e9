"""Which engine the planner takes, from what it counts."""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb
import pytest

from featmill.training.engines.choice import FEW_ROWS
from featmill.training.planner import Join, plan
from featmill.warehouse.model import Snapshot

DAYS = 10
MOMENT = datetime(2026, 3, 20, tzinfo=UTC)


def chosen(folder, rows, labels):
    """The choice for dense daily snapshots of so many rows, and so many labels."""
    dense = (
        "SELECT e AS k, make_timestamptz(d * 86400000000) AS valid_at, e AS n, "
        "make_timestamptz(d * 86400000000) AS published_at, 's' || d AS snapshot_id "
        f"FROM range({DAYS}) AS day(d), range({rows // DAYS}) AS entity(e)"
    )
    view = {
        "name": "v",
        "relation": f"({dense})",
        "snapshots": [
            Snapshot(
                "v", "all", MOMENT, MOMENT, MOMENT, "f", (), 1, "c", str(folder / "v" / "v1"), 0
            )
        ],
        "keys": ["k"],
        "event_time": "valid_at",
        "ttl_us": None,
        "features": [{"name": "n", "ignore_nulls": False, "default_sql": "null"}],
    }
    spine = f"SELECT i AS k, make_timestamptz(i) AS asked_at FROM range({labels}) AS label(i)"
    with duckdb.connect() as connection:
        (choice,) = plan(connection, Join(spine, "asked_at", [view])).explain()
    return choice


@pytest.mark.parametrize(
    ("rows", "labels", "engine"),
    [
        (FEW_ROWS, 10, "equi"),
        (FEW_ROWS, FEW_ROWS // 2, "equi"),
        (FEW_ROWS, FEW_ROWS // 2 + 1, "asof"),
        (FEW_ROWS, FEW_ROWS * 3, "asof"),
        (FEW_ROWS // 2, 10, "asof"),
    ],
)
def test_equality_is_taken_for_at_most_one_label_in_two_rows(tmp_path, rows, labels, engine):
    assert chosen(tmp_path, rows, labels).engine == engine


def test_the_reason_says_which_side_was_too_large(tmp_path):
    assert "so many labels" in chosen(tmp_path, FEW_ROWS, FEW_ROWS).why
