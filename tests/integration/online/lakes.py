"""A lake of made-up snapshots whose visible rows are exported, as the steps do it."""

from __future__ import annotations

from datetime import timedelta

import pyarrow as pa

from exporters.changed_rows import row_source
from exporters.redis import ExportJob, export_view, verify_view
from exporters.rows import visible_rows
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


class Shop:
    """Snapshots of one feature table, each with a release."""

    def __init__(self, folder):
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

    def export(self, target, snapshot, *, table=TABLE, on_progress=None, **job):
        """Put what a lookup at the snapshot's as_of finds online."""
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
            return export_view(target, ExportJob(**(given | job)), source, on_progress=on_progress)

    def verify(self, target, snapshot, *, table=TABLE):
        """Compare the store with it."""
        released = self.registry.released_snapshots(table.name)
        with visible_rows(table, snapshot, released) as visible:
            return verify_view(target, PROJECT, table, visible.reader())
