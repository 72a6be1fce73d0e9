"""Random dirty events: late, repeated, tied, out of order, empty, at a window's edges; and what is accepted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import strategies as st

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - moments are UTC (rule 1)
UNITS = {"s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
SKEW = 5 * UNITS["m"]
#: The epoch itself (hops are aligned to it), a day's end, and the hour that Europe skips.
BASES = [0, 20512 * UNITS["d"], 20541 * UNITS["d"] + UNITS["h"]]
WINDOWS = ["1s", "90s", "1h", "24h", "7d", "lifetime"]
HOPS = ["exact", "1s", "5m", "1h", "1d"]
DELAYS = ["0s", "1s", "30m", "1d"]
#: (calendar, zone, a UTC moment in microseconds): zones that skip or repeat midnight or another hour, on those days.
CALENDARS = [
    (calendar, zone, (datetime.fromisoformat(day) - EPOCH) // timedelta(microseconds=1))
    for calendar in ("day", "week", "month")
    for zone, day in [
        ("UTC", "2026-02-28T23:59"),
        ("Europe/London", "2026-03-29T01:00"),
        ("Europe/London", "2026-10-26T00:00"),
        ("America/Sao_Paulo", "2018-11-04T03:00"),
        ("Asia/Beirut", "2024-03-30T22:00"),
        ("Asia/Beirut", "2024-10-26T21:00"),
        ("America/Havana", "2024-11-03T05:00"),
        ("America/Asuncion", "2023-10-01T04:30"),
        ("Australia/Lord_Howe", "2026-04-04T15:00"),
        ("Asia/Kolkata", "2026-01-31T18:30"),
        ("Pacific/Apia", "2011-12-30T10:00"),
    ]
]


@dataclass(frozen=True)
class Scan:
    """An event as it arrives: moments in microseconds since the epoch, None where they are missing."""

    scan_id: str | None
    code: str | None
    dock: int
    cents: int | None
    kind: str | None
    at: int | None
    known: int | None
    pieces: int | None = None
    grams: int | None = None


@dataclass(frozen=True)
class Case:
    """A feature table's declaration, a run's moments and its events.

    `window` is a duration, `lifetime`, or a calendar and its zone such as `day Europe/London`.
    """

    window: str
    hop: str
    delay: str
    as_of: int
    cut_off: int
    scans: tuple[Scan, ...]

    @property
    def declared(self) -> dict[str, str]:
        """The window's keys of meta.feature."""
        calendar, _, zone = self.window.partition(" ")
        return {"calendar": calendar, "zone": zone} if zone else {"window": self.window}


def microseconds(duration: str) -> int:
    return int(duration[:-1]) * UNITS[duration[-1]]


def bounds(case: Case) -> tuple[int | None, int]:
    """Rule 4 as it is written: floor(t - w, hop) <= event_at < t, both shifted back by the delay."""
    end = case.as_of - microseconds(case.delay)
    if case.window == "lifetime":
        return None, end
    calendar, _, zone = case.window.partition(" ")
    if zone:
        return first_instant(end, calendar, zone), end
    start = end - microseconds(case.window)
    return (start if case.hop == "exact" else start - start % microseconds(case.hop)), end


def first_instant(moment: int, calendar: str, zone: str) -> int:
    """The first instant of the local day, ISO week or month that holds a moment: midnight, or what there is of it."""
    there = ZoneInfo(zone)
    day = (EPOCH + timedelta(microseconds=moment)).replace(tzinfo=UTC).astimezone(there).date()
    if calendar == "week":
        day -= timedelta(days=day.weekday())
    if calendar == "month":
        day = day.replace(day=1)
    # PEP 495: fold 0 is the first of two midnights, and in a gap the clock's time before it.
    midnights = [
        datetime(day.year, day.month, day.day, tzinfo=there, fold=fold).astimezone(UTC)
        for fold in (0, 1)
    ]
    found = min(m for m in midnights if m.astimezone(there).date() == day)
    return (found.replace(tzinfo=None) - EPOCH) // timedelta(microseconds=1)


def rarely(value: Any, otherwise: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One example in twelve is `value`: more, and no row would be sound."""
    return st.integers(0, 11).flatmap(lambda n: st.just(value) if n == 11 else otherwise)


@st.composite
def cases(draw: st.DrawFn, *, calendars: bool = True, at_least: int = 2) -> Case:
    window, hop, delay = (draw(st.sampled_from(from_)) for from_ in (WINDOWS, HOPS, DELAYS))
    base = draw(st.sampled_from(BASES))
    if calendars and draw(st.integers(0, 3)) == 0:
        calendar, zone, base = draw(st.sampled_from(CALENDARS))
        window, hop = f"{calendar} {zone}", "exact"
    hop_us = 1 if hop == "exact" else microseconds(hop)
    offset = st.one_of(
        st.just(0), st.integers(0, 3).map(lambda n: n * hop_us), st.integers(-(10**9), 10**9)
    )
    as_of = base + draw(offset)
    frame = Case(window, hop, delay, as_of, as_of + draw(st.sampled_from([0, 1, UNITS["d"]])), ())
    start, end = bounds(frame)
    edges = [as_of, end, end - UNITS["d"] if start is None else start]
    edges += [end - microseconds(window)] if window in WINDOWS[:-1] else []
    near = st.builds(
        lambda edge, by: edge + by, st.sampled_from(edges), st.sampled_from([-1, 0, 1])
    )
    within = st.integers(end - UNITS["d"] if start is None else start, end)
    at = rarely(None, st.one_of(near, within, st.integers(as_of - UNITS["d"], as_of + UNITS["h"])))
    soon = st.sampled_from([0, 1, UNITS["s"]]).map(lambda by: ("after", by))
    early = st.sampled_from([-SKEW, -SKEW - 1, -SKEW + 1]).map(lambda by: ("after", by))
    late = st.sampled_from([-1, 0, 1]).map(lambda by: ("cut off", by))
    known = rarely(None, st.one_of(soon, soon, soon, early, late))

    def scan(scan_id, code, dock, cents, kind, at, known, pieces, grams) -> Scan:
        where = {"after": at if at is not None else as_of, "cut off": frame.cut_off}
        known = known and where[known[0]] + known[1]
        return Scan(scan_id, code, dock, cents, kind, at, known, pieces, grams)

    scans = st.lists(
        st.builds(
            scan,
            scan_id=st.one_of(
                st.sampled_from(["a", "b", "c", "d", "e", "B", "10", "9"]), st.none()
            ),
            code=rarely(None, st.sampled_from(["N", "N", "N1", ""])),
            dock=st.sampled_from([1, 11]),
            cents=st.one_of(st.integers(-500, 500), st.integers(-500, 500), st.none()),
            kind=st.sampled_from(["box", "bag", None]),
            at=at,
            known=known,
            pieces=st.sampled_from([0, 1, 2, -1, 50_000, 2**31 - 1, -(2**31), None]),
            grams=st.one_of(st.integers(-9999, 9999), st.none()),
        ),
        min_size=at_least,
        max_size=16,
        # Of copies that tie in both moments the content decides, which only SQL knows.
        unique_by=lambda s: (s.scan_id, s.at, s.known),
    )
    return Case(window, hop, delay, as_of, frame.cut_off, tuple(draw(scans)))


def accepted(scans: Sequence[Scan]) -> list[Scan]:
    """Rules 8 and 10: no NULLs, nothing from the future, of each id the first ingested."""
    sound = [
        s
        for s in scans
        if None not in (s.scan_id, s.code, s.at, s.known) and s.at <= s.known + SKEW
    ]
    first: dict[str | None, Scan] = {}
    for scan in sorted(sound, key=lambda s: (s.known, s.at)):
        first.setdefault(scan.scan_id, scan)
    return list(first.values())


def arrow(scans: Sequence[Scan]) -> pa.Table:
    moment = pa.timestamp("us")
    eur = [None if s.cents is None else Decimal(s.cents) / 100 for s in scans]
    kilograms = [None if s.grams is None else s.grams / 1000 for s in scans]
    return pa.table(
        {
            "scan_id": pa.array([s.scan_id for s in scans], pa.string()),
            "code": pa.array([s.code for s in scans], pa.string()),
            "group": pa.array([s.dock for s in scans], pa.int32()),
            "eur": pa.array(eur, pa.decimal128(12, 2)),
            "kind": pa.array([s.kind for s in scans], pa.string()),
            "pieces": pa.array([s.pieces for s in scans], pa.int32()),
            "kg": pa.array(kilograms, pa.float64()),
            "seen_at": pa.array([s.at for s in scans], moment),
            "known_at": pa.array([s.known for s in scans], moment),
        }
    )
