"""A lake of made-up snapshots whose visible rows are exported, as the steps do it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from unittest.mock import patch

import pyarrow as pa

from exporters.changed_rows import row_source
from exporters.redis import ExportJob, export_view, verify_view, writing
from exporters.rows import visible_rows
from featmill.online.codec import pieces
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import open_registry
from tests.integration.online.publications import AS_OF, PROJECT, TABLE

ZONED = pa.timestamp("us", "UTC")


def moment(day):
    """The as_of of a day's snapshot."""
    return AS_OF + timedelta(days=day)


def as_of_day(rows, day):
    """The rows with the event time of that day."""
    place = rows.schema.get_field_index("feature_at")
    return rows.set_column(place, "feature_at", pa.array([moment(day)] * rows.num_rows, ZONED))


def replaced(rows, column, values):
    """The rows with a column's values replaced where `values` (user: value) says so."""
    place = rows.schema.get_field_index(column)
    users = rows["user_id"].to_pylist()
    found = [
        values.get(user, old) for user, old in zip(users, rows[column].to_pylist(), strict=True)
    ]
    return rows.set_column(
        place, rows.schema.field(column), pa.array(found, rows.schema.field(column).type)
    )


#: What the export of this thread sleeps after each thousand rows.
PACE = threading.local()


def slow_pieces(batch):
    """As the codec cuts batches, into pieces of a thousand rows, with the pauses."""
    for start in range(0, batch.num_rows, 1_000):
        yield from pieces(batch.slice(start, 1_000))
        time.sleep(getattr(PACE, "seconds", 0.0))


@contextmanager
def paced(seconds):
    """Exports of this thread take longer, and mark every thousand rows."""
    if not seconds:
        yield
        return
    PACE.seconds = seconds
    with patch.object(writing, "pieces", slow_pieces), patch.object(writing, "_MARK_ROWS", 1_000):
        yield
    PACE.seconds = 0.0


EXPORTER = """
import sys
from pathlib import Path
from featmill.online.connection import OnlineTarget
from tests.integration.online.lakes import Shop
url, folder, snapshot_id, epoch, pace = sys.argv[1:]
shop = Shop(Path(folder))
(snapshot,) = [s for s in shop.registry.lake.snapshots("clicks") if s.snapshot_id == snapshot_id]
shop.export(OnlineTarget.from_url(url), snapshot, epoch=int(epoch), pace=float(pace))
print("done", flush=True)
"""


@contextmanager
def exporter(target, shop, snapshot, repository, *, epoch, pace=0.25):
    """A process that exports the snapshot; killed at the end if it still runs."""
    url = f"unix://{target.socket_path}"
    if target.hosts:
        url = "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in target.hosts)
    given = [url, str(shop.folder), snapshot.snapshot_id, str(epoch), str(pace)]
    process = subprocess.Popen(
        [sys.executable, "-c", EXPORTER, *given],
        cwd=repository,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class Shop:
    """Snapshots of one feature table, each with a release."""

    def __init__(self, folder):
        self.folder = folder
        self.registry = open_registry(folder / "lake")
        self._published = 0

    def publish(self, day, rows, *, table=TABLE):
        """Publish and release a table's rows."""
        self._published += 1
        as_of = moment(day)
        made = Snapshot(
            table=table.name,
            snapshot_id=f"{as_of:%Y%m%dT%H%M%SZ}-{self._published:04}-aa",
            as_of=as_of,
            cut_off=as_of,
            published_at=moment(30) + timedelta(seconds=self._published),
            fingerprint="f",
            sources=(),
            rows=rows.num_rows,
            content_hash="c",
            location=str(self.registry.lake.location(table.name)),
            delta_version=-1,
        )
        published_at = pa.array([made.published_at] * rows.num_rows, ZONED)
        ids = pa.array([made.snapshot_id] * rows.num_rows)
        stored = rows.append_column("published_at", published_at).append_column("snapshot_id", ids)
        snapshot = self.registry.lake.append(stored.to_reader(), made)
        self.registry.commit(as_of, [snapshot], "shop")
        return snapshot

    def export(self, target, snapshot, *, table=TABLE, pace=0.0, **job):
        """Put what a lookup at the snapshot's as_of finds online, pausing so long after each thousand rows."""
        released = self.registry.released_snapshots(table.name)
        with visible_rows(table, snapshot, released) as visible:
            given = {
                "project": PROJECT,
                "table": table,
                "snapshot_id": snapshot.snapshot_id,
                "release_id": f"release of {snapshot.snapshot_id}",
                "as_of": snapshot.as_of,
                "total_rows": visible.count,
                "content": visible.content,
                "holds": visible.holds,
            }
            source = row_source(visible, table, self.registry)
            with paced(pace):
                return export_view(target, ExportJob(**(given | job)), source)

    def verify(self, target, snapshot, *, table=TABLE):
        """Compare the store with it."""
        released = self.registry.released_snapshots(table.name)
        with visible_rows(table, snapshot, released) as visible:
            return verify_view(target, PROJECT, table, visible.reader())
