"""`featmill show`: rows of one snapshot, chosen by id, by moment or as the newest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import pytest

from featmill import clock
from featmill.cli.show import show
from featmill.errors import LakeError, NoRelease, UsageError
from featmill.warehouse.publisher import PublishOrder, publish
from featmill.warehouse.registry import open_registry
from featmill.warehouse.snapshot_rows import choose_snapshot, read_rows

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Three days of a table, the second stored as changes, the third not released."""
    monkeypatch.setenv("FEATMILL_HOME", str(tmp_path / "home"))
    registry = open_registry(tmp_path / "home" / "lake")
    found = []
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for day in range(3):
            as_of = START + timedelta(days=day)
            order = PublishOrder(
                table="load",
                sql=f"SELECT range AS k, TIMESTAMP '{as_of:%F}' AS at, CASE range WHEN 1 THEN {day} END AS n "
                "FROM range(4)",
                as_of=as_of, cut_off=as_of, join_keys=("k",), tenant="default", version="1",
                fingerprint="f", sources=(), event_time="at", storage="changes",
            )  # fmt: skip
            with clock.frozen(as_of + timedelta(hours=6)):
                found.append(publish(connection, registry.lake, order)[0])
                if day < 2:
                    registry.commit(as_of, found[-1:], "shop")
    return registry, found


def test_the_newest_released_snapshot_is_shown(made, capsys):
    show("load")

    said = capsys.readouterr().out
    assert made[1][1].snapshot_id in said
    assert "4 of 4 rows" in said
    assert "NULL" in said


def test_a_snapshot_or_a_moment_can_be_asked_for(made, capsys):
    """Rule 22: a moment reads what was released then; an id also what never was."""
    _, (first, _, third) = made

    show("load", at="2026-03-01T06:00:00Z", key=["k=1"])
    said = capsys.readouterr().out
    assert first.snapshot_id in said
    assert "1 of 1 rows" in said
    show("load", snapshot=third.snapshot_id, limit=2)
    said = capsys.readouterr().out
    assert third.snapshot_id in said
    assert "2 of 4 rows" in said


def test_rows_come_in_one_order_and_with_their_own_moments(made):
    """Also those that the snapshot does not store itself."""
    found = read_rows(made[1][1], {}, 10)

    assert [(row[0], row[1].day, row[2]) for row in found.rows] == [
        (0, 2, None),
        (1, 2, 1),
        (2, 2, None),
        (3, 2, None),
    ]


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"table": "nope"}, UsageError, "no feature table 'nope'"),
        ({"key": ["k"]}, UsageError, "--key k is not column=value"),
        ({"key": ["x=1"]}, UsageError, "load has no column x"),
        ({"at": "soon"}, UsageError, "--at: 'soon' is no moment"),
        ({"at": "2026-03-01T06:00:00"}, UsageError, "is no moment"),
        ({"at": "2026-03-01"}, NoRelease, "load had not been released at 2026-03-01 00:00:00"),
        ({"snapshot": "x"}, LakeError, "load has no snapshot 'x'"),
    ],
)
def test_what_is_not_there_is_refused(made, asked, error, said):
    with pytest.raises(error, match=said):
        show(**{"table": "load", **asked})


def test_a_snapshot_and_a_moment_are_not_both_asked_for(made):
    with pytest.raises(UsageError, match="a snapshot and a moment"):
        choose_snapshot(made[0], "load", snapshot_id="x", at=START)
