"""Snapshots of a made-up feature table, and what a store holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from exporters.redis import ExportJob, export_view, verify_view
from tests.unit.online.tables import feature_table

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
PROJECT = "shop"
TABLE = feature_table(
    "clicks", features={"count_7d": "BIGINT", "rate_7d": "DOUBLE", "city": "VARCHAR"}
)


def snapshot(count, *, day=0, first=0):
    """Rows of users `first`, `first` + 1, ...: every value but the key depends on `day`."""
    users = np.arange(first, first + count)
    cities = pa.array([None if u % 7 == 0 else f"city {day} {u}" for u in users], pa.string())
    moment = AS_OF + timedelta(days=day)
    return pa.table(
        {
            "user_id": pa.array(users, pa.int64()),
            "feature_at": pa.array([moment] * count, pa.timestamp("us", "UTC")),
            "count_7d": pa.array(users * 10 + day, pa.int64()),
            "rate_7d": pa.array(users / 3 + day),
            "city": cities,
        }
    )


def job(rows, snapshot_id="s1", **changes):
    """The job that exports `rows` as a snapshot."""
    given = {
        "project": PROJECT,
        "table": TABLE,
        "snapshot_id": snapshot_id,
        "release_id": f"release of {snapshot_id}",
        "as_of": AS_OF,
        "total_rows": rows.num_rows,
    }
    return ExportJob(**(given | changes))


def export(target, rows, snapshot_id="s1", *, vanished=None, on_progress=None, **changes):
    """Export `rows` in small batches, as a database would hand them out."""
    reader = rows.to_reader(max_chunksize=1_000)
    made = job(rows, snapshot_id, **changes)
    return export_view(target, made, reader, vanished=vanished, on_progress=on_progress)


def verify(target, rows, *, project=PROJECT, table=TABLE):
    """Compare the store with `rows`."""
    return verify_view(target, project, table, rows.to_reader(max_chunksize=1_000))


def dump(target):
    """Every hash of the store but the live records."""
    with target.client() as client:
        keys = [key for key in client.scan_iter(count=10_000) if not key.startswith(b"featmill:")]
        pipe = client.pipeline(transaction=False)
        for key in keys:
            pipe.hgetall(key)
        return dict(zip(keys, pipe.execute(), strict=True))
