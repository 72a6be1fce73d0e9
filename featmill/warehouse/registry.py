"""The registry of releases: the commit point over several Delta tables.

Delta tables cannot commit together. A release is one row appended to one small Delta table; until it is there, readers
see the release before it, whatever the tables already hold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from featmill import clock
from featmill.errors import LakeError, NoRelease, UsageError
from featmill.warehouse.delta_log import Commit, DeltaLog
from featmill.warehouse.identity import release_id
from featmill.warehouse.lake import Lake, newest_per_as_of
from featmill.warehouse.model import Release, Snapshot


class _ReleaseLog(DeltaLog):
    """The releases in the order they were made; each commit's file is read once."""

    releases: list[Release]

    def forget(self) -> None:
        """Begin anew."""
        self.releases = []

    def take(self, commit: Commit) -> None:
        """Learn the commit's releases.

        Raises:
            LakeError: it cannot be read, or takes releases away.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if commit.removed:
            raise LakeError(
                f"the registry at {self.location}: version {commit.version} removed releases ({commit.operation})",
                hint="the registry is append-only; restore its log",
            )
        try:
            # Not as a dataset: that imports pandas, which takes longer than what many commands do.
            files = [pq.ParquetFile(file.path) for file in commit.added]
            rows = [row for file in files for row in file.read().to_pylist()]
            self.releases += [
                Release(**{**row, "snapshots": json.loads(row["snapshots"])}) for row in rows
            ]
        except (pa.ArrowException, OSError, TypeError, KeyError, ValueError) as error:
            raise LakeError(f"the registry at {self.location} cannot be read: {error}") from error


class Registry:
    """The releases of one lake."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.location = lake.root / "_registry" / "releases"

    def releases(self) -> list[Release]:
        """Every release, oldest as_of first, of one as_of in the order they were made."""
        releases = _ReleaseLog.of(self.location).releases
        return sorted(releases, key=lambda r: (r.as_of, r.released_at))

    def newest(self) -> Release:
        """The release with the latest as_of, of several the one made last.

        Raises:
            NoRelease: nothing has been released yet.
        """
        releases = self.releases()
        if not releases:
            raise NoRelease(
                "nothing has been released yet",
                hint="build first: `dbt build` or `featmill build` publishes tables whose tests pass",
            )
        return releases[-1]

    def find(self, wanted: str | None) -> Release:
        """A release by its id, or the newest where None is wanted.

        Raises:
            NoRelease: there is no such release.
        """
        if wanted is None:
            return self.newest()
        for release in self.releases():
            if release.release_id == wanted:
                return release
        raise NoRelease(
            f"there is no release {wanted!r}", hint="featmill snapshots lists what there is"
        )

    def commit(
        self, as_of: datetime, snapshots: Sequence[Snapshot], project: str
    ) -> tuple[Release, bool]:
        """Release these snapshots together; `(release, False)` where the newest of this as_of is the same set.

        Raises:
            LakeError: the registry could not be written, or is another project's; no release was made.
        """
        releases = self.releases()
        others = {release.project for release in releases} - {project}
        if others:
            raise LakeError(
                f"the registry at {self.location} belongs to project {', '.join(sorted(others))}, not {project}",
                hint="give each project a FEATMILL_HOME of its own",
            )
        members = {snapshot.table: snapshot.snapshot_id for snapshot in snapshots}
        wanted = release_id(as_of, members)
        same_moment = [release for release in releases if release.as_of == as_of]
        if same_moment and same_moment[-1].release_id == wanted:
            return same_moment[-1], False
        # Of one as_of the release made last is the newest, even where a clock stepped back.
        earliest = [release.released_at + timedelta(microseconds=1) for release in same_moment[-1:]]
        released_at = max([clock.now(), *earliest])
        release = Release(
            release_id=wanted,
            as_of=as_of,
            released_at=released_at,
            project=project,
            snapshots=members,
        )
        self._append(release)
        return release, True

    def released_snapshots(
        self, table: str, *, at: datetime | None = None, release: str | None = None
    ) -> list[Snapshot]:
        """The snapshots of a table that stand in a release; of each as_of the one its newest release holds.

        Only those of the model version that was released last: another version is another definition and schema, and
        its rows answer for nothing here.

        Args:
            table: the table's name.
            at: read the registry as it stood at this moment: releases made up to it, itself included. Aware.
            release: read the registry as it stood when this release had just been made.

        Raises:
            NoRelease: there is no such release.
            UsageError: both are asked for, or a moment without a zone.
        """
        newest_release = {found.as_of: found for found in self._releases_at(at, release)}
        members = {release.snapshots.get(table) for release in newest_release.values()}
        found = [s for s in self.lake.snapshots(table) if s.snapshot_id in members]
        if not found:
            return []
        current = max(found, key=lambda s: s.published_at).location
        return newest_per_as_of([s for s in found if s.location == current])

    def _releases_at(self, at: datetime | None, release: str | None) -> list[Release]:
        """The releases there were at a moment, oldest as_of first, of one as_of in the order they were made."""
        if at is not None and release is not None:
            raise UsageError("a moment and a release were asked for", hint="give one of them")
        if at is not None and at.tzinfo is None:
            raise UsageError(
                f"{at.isoformat(sep=' ')} has no zone", hint="a moment is UTC (rule 1): add +00:00"
            )
        if release is not None:
            # Made first: what is read by a release is the same after it was released once more (rule 22).
            made = _ReleaseLog.of(self.location).releases
            position = [m.release_id for m in made].index(self.find(release).release_id)
            return sorted(made[: position + 1], key=lambda r: (r.as_of, r.released_at))
        releases = self.releases()
        return releases if at is None else [found for found in releases if found.released_at <= at]

    def _append(self, release: Release) -> None:
        import pyarrow as pa
        from deltalake import write_deltalake
        from deltalake.exceptions import DeltaError

        moment = pa.timestamp("us", "UTC")
        row = pa.table(
            {
                "release_id": pa.array([release.release_id], pa.string()),
                "as_of": pa.array([release.as_of], moment),
                "released_at": pa.array([release.released_at], moment),
                "project": pa.array([release.project], pa.string()),
                "snapshots": pa.array([json.dumps(release.snapshots, sort_keys=True)], pa.string()),
            }
        )
        self.location.mkdir(parents=True, exist_ok=True)
        try:
            log = _ReleaseLog.of(self.location)
            write_deltalake(
                log.delta_table() if log.is_table else str(self.location),
                row,
                mode="append",
                # Releases are read from the first commit on, so the log keeps all of them.
                configuration={
                    "delta.appendOnly": "true",
                    "delta.logRetentionDuration": "interval 36500 days",
                },
            )
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"the registry at {self.location} could not be written: {error}"
            ) from error


def open_registry(lake_dir: Path) -> Registry:
    """The registry of the lake at `lake_dir`."""
    return Registry(Lake(lake_dir))
