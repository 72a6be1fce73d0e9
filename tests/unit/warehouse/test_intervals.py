"""The interval ledger over made-up snapshots (rule 9), and late rows over a real DuckDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.errors import LakeError
from featmill.warehouse.attempts import Attempt, Attempts
from featmill.warehouse.intervals import (
    Definition,
    Known,
    State,
    TimedSource,
    late_rows,
    ledger,
)
from featmill.warehouse.model import Snapshot

DAY = datetime(2026, 3, 1, tzinfo=UTC)
SCANS = TimedSource("yard.scans", "scans", "ingested_at", "scanned_at")
DOCKS = Definition("dock__load", "now", (SCANS,))


def snapshot(as_of: datetime = DAY, cut_off: datetime = DAY, fingerprint: str = "now") -> Snapshot:
    return Snapshot(
        table="dock__load", snapshot_id="s", as_of=as_of, cut_off=cut_off, published_at=DAY,
        fingerprint=fingerprint, sources=(), rows=1, content_hash="c", location="/", delta_version=0,
    )  # fmt: skip


def state(found: Snapshot | None, **known) -> tuple[State, str]:
    released = {} if found is None else {"dock__load": {DAY: found}}
    (interval,) = ledger([DOCKS], [DAY], released, Known(**known))
    return interval.state, interval.because


FAILED = Attempt(DAY, {"dock__load": "test_a, test_b"})
GONE = DAY + timedelta(days=90)
BECAUSE_GONE = "retention removed it on 2026-05-30"
OTHER_FAILED = Attempt(DAY, {"van__trips": "test_c"})


@pytest.mark.parametrize(
    ("found", "known", "wanted", "because"),
    [
        (None, {}, State.MISSING, ""),
        (snapshot(), {}, State.COMPLETE, ""),
        (snapshot(fingerprint="then"), {}, State.STALE, "the definition changed"),
        (
            snapshot(),
            {"late": {("dock__load", DAY): 1200}},
            State.LATE,
            "1,200 rows arrived after its cut-off",
        ),
        (snapshot(), {"late": {("van__trips", DAY): 1}}, State.COMPLETE, ""),
        (
            snapshot(fingerprint="then"),
            {"late": {("dock__load", DAY): 1}},
            State.STALE,
            "the definition changed",
        ),
        (None, {"attempts": {DAY: FAILED}}, State.FAILED, "test_a, test_b"),
        (None, {"attempts": {DAY: OTHER_FAILED}}, State.BLOCKED, "van__trips failed"),
        (snapshot(fingerprint="then"), {"attempts": {DAY: FAILED}}, State.FAILED, "test_a, test_b"),
        (snapshot(), {"attempts": {DAY: FAILED}}, State.COMPLETE, ""),
        (None, {"attempts": {DAY + timedelta(days=1): FAILED}}, State.MISSING, ""),
        (None, {"expired": {("dock__load", DAY): GONE}}, State.EXPIRED, BECAUSE_GONE),
        (snapshot(), {"expired": {("dock__load", DAY): GONE}}, State.COMPLETE, ""),
        (None, {"expired": {("van__trips", DAY): GONE}}, State.MISSING, ""),
    ],
)
def test_each_state_has_its_cause(found, known, wanted, because):
    """Rule 9."""
    assert state(found, **known) == (wanted, because)


MINUTES = st.integers(0, 6)


@given(
    st.lists(st.tuples(st.none() | MINUTES, st.none() | MINUTES), max_size=12),
    st.lists(st.tuples(MINUTES, MINUTES), max_size=4, unique_by=lambda s: s[0]),
    st.booleans(),
)
def test_late_rows_are_those_that_a_build_would_read_now_and_did_not_then(rows, cuts, is_timed):
    """Rules 4 and 9: ingested after the cut-off, happened before as_of; unknown times of an event count."""

    def at(minute: int | None) -> Any:
        return None if minute is None else DAY + timedelta(minutes=minute)

    source = SCANS if is_timed else replace(SCANS, event_at=None)
    snapshots = {at(a): snapshot(at(a), at(c)) for a, c in cuts}
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE TABLE scans (scanned_at TIMESTAMPTZ, ingested_at TIMESTAMPTZ)")
        if rows:
            values = [[at(happened), at(arrived)] for happened, arrived in rows]
            connection.executemany("INSERT INTO scans VALUES (?, ?)", values)
        found = late_rows(
            connection, [replace(DOCKS, sources=(source,))], {"dock__load": snapshots}
        )

    wanted = {}
    for as_of, cut in cuts:
        late = sum(
            arrived is not None
            and arrived > cut
            and (not is_timed or happened is None or happened < as_of)
            for happened, arrived in rows
        )
        if late:
            wanted["dock__load", at(as_of)] = late
    assert found == wanted


def test_a_text_with_an_offset_is_the_moment_it_says(tmp_path):
    """Rule 1: a CSV source holds texts."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE scans AS SELECT '2026-02-28T22:30:00-01:00' AS scanned_at, "
            "'2026-03-01T01:00:01+01:00' AS ingested_at"
        )
        found = late_rows(connection, [DOCKS], {"dock__load": {DAY: snapshot()}})

    assert found == {("dock__load", DAY): 1}


def test_the_newest_attempt_of_an_as_of_is_kept_until_a_release_clears_it(tmp_path):
    notes, later = Attempts(tmp_path), DAY + timedelta(hours=6)
    assert notes.all() == {}

    notes.note(OTHER_FAILED)
    notes.note(FAILED)
    notes.note(replace(FAILED, as_of=later))

    assert notes.all() == {DAY: FAILED, later: replace(FAILED, as_of=later)}
    notes.clear(DAY)
    notes.clear(DAY)
    assert list(notes.all()) == [later]


def test_a_broken_note_is_named(tmp_path):
    notes = Attempts(tmp_path)
    notes.note(FAILED)
    next(notes.location.glob("*.json")).write_text("{")

    with pytest.raises(LakeError, match="is no note of a failed build"):
        notes.all()
