"""A snapshot's identity with the parts that a test does not care about filled in."""

from __future__ import annotations

from datetime import UTC, datetime

from featmill.warehouse.model import Snapshot, SourceVersion


def snapshot(
    *, table: str = "load", day: int = 5, ordinal: int = 0, location: str = "", rows: int = 1
) -> Snapshot:
    """The `ordinal`-th snapshot of a day of March 2026, published an hour after the one before."""
    as_of = datetime(2026, 3, day, tzinfo=UTC)
    return Snapshot(
        table=table,
        snapshot_id=f"202603{day:02}T000000Z-{ordinal:04}-aa",
        as_of=as_of,
        cut_off=as_of,
        published_at=datetime(2026, 3, 9, ordinal, tzinfo=UTC),
        fingerprint="f" * 64,
        sources=(
            SourceVersion("yard.scans", 3, "d", as_of),
            SourceVersion("yard.docks", 1, "e", None),
        ),
        rows=rows,
        content_hash="c" * 64,
        location=location,
        delta_version=-1,
    )
