"""What `featmill backfill` and `featmill intervals` print and refuse; what they do: `tests/integration/chain`."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from featmill.cli import console
from featmill.cli.backfill import backfill, read_dates
from featmill.cli.intervals import intervals
from featmill.errors import AsOfError, ContractError, UsageError
from featmill.warehouse.intervals import Interval, State
from orchestration.backfill import Backfill, DateBuilt
from orchestration.dbt_process import BuildOutcome, NodeResult

DAY = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def printed(monkeypatch):
    """What reaches standard output, 160 columns wide."""
    from io import StringIO

    from rich.console import Console

    text = StringIO()
    monkeypatch.setattr(console, "out", Console(file=text, width=160))
    return text


def given(monkeypatch, found) -> None:
    monkeypatch.setattr(Backfill, "intervals", lambda *_: found)


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        (("yesterday", "2026-03-05", "1d"), AsOfError, "yesterday"),
        (("2026-03-01T06:00:00", "2026-03-05", "1d"), AsOfError, "with its zone"),
        (("2026-03-01", "2026-03-05", "1 day"), ContractError, "is not a duration"),
        (("2026-03-01", "2026-03-05", "0d"), UsageError, "longer than nothing"),
        (("2026-03-05", "2026-03-01", "1d"), UsageError, "there is no date"),
        (("1026-03-05", "2026-03-01", "1h"), UsageError, "too many"),
    ],
)
def test_a_range_that_is_none_is_refused(asked, error, said):
    """Rule 1: a moment without its zone is none."""
    with pytest.raises(error, match=said) as refused:
        read_dates(*asked)

    assert refused.value.exit_code == 2


def test_a_range_holds_both_ends():
    dates = read_dates("2026-03-01", "2026-03-02T12:00:00+02:00", "6h").as_ofs()

    assert dates == [DAY + timedelta(hours=6) * n for n in range(6)]
    assert read_dates("2026-03-01", "2026-03-01", "1d").as_ofs() == [DAY]


def test_half_a_range_is_refused():
    with pytest.raises(UsageError, match="a range has two ends"):
        intervals(first="2026-03-01")


def test_the_calendar_has_a_sign_for_each_day_and_a_word_for_each_trouble(monkeypatch, printed):
    states = [State.COMPLETE, State.LATE, State.STALE, State.MISSING, State.FAILED, State.BLOCKED]
    given(
        monkeypatch,
        [
            Interval("dock__load", DAY + timedelta(days=n), state, f"because {n}")
            for n, state in enumerate(states)
        ],
    )

    intervals()

    lines = [line.rstrip() for line in printed.getvalue().splitlines()]
    assert lines[0] == "dock__load  1 complete, 1 late, 1 stale, 1 missing, 1 failed, 1 blocked"
    assert lines[2] == "  2026-03 ● ◐ ○ · ✗ ▪"
    assert lines[1].split() == ["1", "5", "10", "15", "20", "25", "30"]
    told = "\n".join(lines[4:])
    assert [n for n in range(6) if f"because {n}" in told] == [1, 2, 4, 5]
    assert told.index("because 4") < told.index("because 5") < told.index("because 2")


def test_a_moment_that_is_no_day_is_listed(monkeypatch, printed):
    given(monkeypatch, [Interval("dock__load", DAY + timedelta(hours=6), State.COMPLETE)])

    intervals()

    assert "2026-03-01 06:00:00" in printed.getvalue()


def test_many_troubles_are_cut_short_and_json_has_them_all(monkeypatch, printed, capsys):
    found = [Interval("dock__load", DAY + timedelta(days=n), State.LATE, "late") for n in range(31)]
    given(monkeypatch, found)

    intervals()
    intervals(as_json=True)

    assert "and 11 more: --json has them all" in printed.getvalue()
    said = json.loads(capsys.readouterr().out)
    assert len(said) == 31
    assert said[0] == {
        "table": "dock__load", "as_of": "2026-03-01T00:00:00+00:00", "state": "late", "because": "late",
        "late_rows": 0, "snapshot": None, "fingerprint": None, "cut_off": None,
    }  # fmt: skip


def test_nothing_built_yet_says_what_to_do(monkeypatch, printed):
    given(monkeypatch, [])

    intervals()

    assert printed.getvalue().startswith("nothing has been built yet; featmill backfill --from")


def test_a_backfill_prints_a_line_for_each_date(monkeypatch, printed):
    results = (
        NodeResult("model.p.a", "a", "published", "success", 0.1, "published 3 rows as snapshot x"),
        NodeResult(
            "model.p.b", "b", "published", "success", 0.1, "unchanged: 3 rows as snapshot y"
        ),
    )

    def run(self, dates, *, force, late, watch):
        assert (force, late) == (False, False)
        done = []
        for n, as_of in enumerate(dates.as_ofs()):
            outcome = BuildOutcome(as_of.isoformat(), results, (f"released r{n} (2 tables)",))
            done.append(DateBuilt(as_of, ("a", "b"), outcome, 1.5, n + 1, 2, by_dbt=n == 0))
        watch.on_plan(2, 5, 1)
        for built in done:
            watch.on_node(results[0], 1, 2)
            watch.on_date(built)
        return done

    monkeypatch.setattr(Backfill, "run", run)

    backfill(first="2026-03-01", last="2026-03-01T12:00:00Z", step="12h")

    assert printed.getvalue().splitlines() == [
        "5 dates asked for, 2 complete, 1 expired, 2 to build",
        "1/2  2026-03-01    1.5 s  2 tables  released r0 (2 tables)  dbt build",
        "2/2  2026-03-01 12:00:00    1.5 s  2 tables, 1 new  released r1 (2 tables)",
        "2 dates built in 3.0 s",
    ]
