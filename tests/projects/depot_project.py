"""The outer project `depot`, copied, given sources and run: in this process or in one of its own.

It takes this repository as a local package, as somebody else's project would. Nothing in it is named as in the demo.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from featmill.settings import Settings
from featmill.warehouse.model import Release, Snapshot
from featmill.warehouse.registry import Registry, open_registry
from orchestration.dbt_process import BuildOutcome, DbtProcess

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
TABLES = ("dock__load", "van__trips")
_OURS = ("FEATMILL_HOME", "FEATMILL_SOURCES", "FEATMILL_AS_OF", "FEATMILL_CUT_OFF")

SCAN_COLUMNS = (
    "scan_id",
    "depot_code",
    "dock_no",
    "kind",
    "weight_kg",
    "scanned_at",
    "ingested_at",
)

#: One scan a row, in `SCAN_COLUMNS`' order; '' is NULL. (N, 11) and (N1, 1) read the same run together.
SCANS: tuple[tuple[Any, ...], ...] = (
    ("s01", "N", 1, "box", "2.5", "2026-03-01 08:00:00", "2026-03-01 08:00:05"),
    ("s02", "N", 1, "bag", "20", "2026-03-02 09:30:00", "2026-03-02 09:31:00"),
    ("s03", "N", 11, "box", "1.125", "2026-03-02 10:00:00", "2026-03-02 10:00:00"),
    ("s04", "N1", 1, "tub", "33.4", "2026-03-03 11:00:00", "2026-03-03 11:05:00"),
    ("s05", "N", 1, "box", "", "2026-03-04 23:29:59.999999", "2026-03-04 23:30:00"),
    ("s06", "N", 1, "bag", "7.75", "2026-03-04 23:30:00", "2026-03-04 23:31:00"),
    ("s07", "N", 11, "bag", "0.1", "2026-03-04 12:00:00", "2026-03-04 12:00:01"),
    # Rule 8: the first ingested of an id counts, whatever comes first in the file.
    ("s08", "N1", 1, "late copy", "99", "2026-03-04 06:00:00", "2026-03-05 07:00:00"),
    ("s08", "N1", 1, "box", "4", "2026-03-04 06:00:00", "2026-03-04 06:00:30"),
    # Happened before an as_of of March 4, learnt of after it.
    ("s09", "N", 1, "box", "12", "2026-03-03 20:00:00", "2026-03-05 09:00:00"),
    ("s10", "N", 11, "box", "5", "2026-03-05 15:00:00", "2026-03-06 05:00:00"),
    # Rule 10: each of these is refused, for another reason.
    ("", "N", 1, "box", "1", "2026-03-02 00:00:00", "2026-03-02 00:00:00"),
    ("r1", "", 1, "box", "1", "2026-03-02 00:00:00", "2026-03-02 00:00:00"),
    ("r2", "N", "eleven", "box", "1", "2026-03-02 00:00:00", "2026-03-02 00:00:00"),
    ("r3", "N", 1, "box", "1", "", "2026-03-02 00:00:00"),
    ("r4", "N", 1, "box", "1", "2026-03-02 00:00:00", ""),
    ("r5", "N", 1, "box", "1", "2026-03-03 00:10:00.000001", "2026-03-03 00:00:00"),
    ("r6", "N", 1, "box", "-1", "2026-03-02 00:00:00", "2026-03-02 00:00:00"),
    # Exactly the allowed skew ahead is no refusal.
    ("s11", "N", 1, "tub", "3", "2026-03-03 00:10:00", "2026-03-03 00:00:00"),
)

#: trip_no, van_plate, fuel_litres, ended_at, loaded_at
TRIPS: tuple[tuple[Any, ...], ...] = (
    (1, "AB-1", "10.50", "2026-03-01 10:00:00", "2026-03-01 10:01:00"),
    (2, "AB-1", "7.25", "2026-03-02 10:00:00", "2026-03-02 10:01:00"),
    (3, "AB-2", "3.00", "2026-03-03 23:59:59.999999", "2026-03-04 00:00:00"),
    (4, "AB-1", None, "2026-03-04 11:00:00", "2026-03-04 11:30:00"),
    (5, "AB-2", "8.00", "2026-03-05 00:00:00", "2026-03-05 00:00:10"),
)


def _collecting(lines: list[str]) -> Callable[[Any], None]:
    """dbt calls it with each event."""
    return lambda event: lines.append(event.info.msg)


def moment(text: str) -> datetime:
    """A UTC moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@dataclass(frozen=True)
class Invocation:
    """What one dbt command came to: each node's status by name, every message, and all that was logged."""

    is_success: bool
    statuses: Mapping[str, str]
    messages: Mapping[str, str]
    error: str
    log: str

    @property
    def skipped(self) -> set[str]:
        """The nodes that did not run, because what they descend from failed."""
        return {name for name, status in self.statuses.items() if status == "skipped"}


@dataclass
class Depot:
    """A copy of the project with a home and sources of its own."""

    root: Path
    home: Path
    sources: Path
    _process: DbtProcess | None = field(default=None, repr=False)

    # -- sources and definitions

    def write_scans(self, scans: Sequence[Sequence[Any]] = SCANS) -> None:
        """Write the CSV source."""
        with (self.sources / "scans.csv").open("w", newline="") as opened:
            csv.writer(opened).writerows([SCAN_COLUMNS, *scans])

    def write_trips(self, trips: Sequence[Sequence[Any]] = TRIPS) -> None:
        """Write the Delta source anew: several versions, of which the newest counts."""
        import pyarrow as pa
        from deltalake import write_deltalake

        no, plate, fuel, ended, loaded = list(zip(*trips, strict=True)) or [()] * 5
        moments = pa.timestamp("us", "UTC")
        table = pa.table(
            {
                "trip_no": pa.array(no, pa.int64()),
                "van_plate": pa.array(plate, pa.string()),
                "fuel_litres": pa.array(
                    [None if f is None else Decimal(f) for f in fuel], pa.decimal128(8, 2)
                ),
                "ended_at": pa.array([moment(text) for text in ended], moments),
                "loaded_at": pa.array([moment(text) for text in loaded], moments),
            }
        )
        write_deltalake(str(self.sources / "trips"), table, mode="overwrite")

    def edit(self, file: str, old: str, new: str) -> None:
        """Change a text that must be there, and parse again at the next run."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new), encoding="utf-8")
        self._process = None

    def add(self, file: str, text: str) -> None:
        """Add a file, and parse again at the next run."""
        (self.root / file).write_text(text, encoding="utf-8")
        self._process = None

    # -- running

    @property
    def settings(self) -> Settings:
        """The settings of this copy."""
        return Settings(project_dir=self.root, home=self.home, sources=str(self.sources))

    def build(self, *as_ofs: str | None, **environment: str) -> list[BuildOutcome]:
        """`DbtProcess.build` in this process, parsed once per definition."""
        with self.environment(**environment):
            self._process = self._process or DbtProcess(self.settings)
            return self._process.build(as_ofs or (None,))

    def build_one(self, as_of: str | None = None, **environment: str) -> BuildOutcome:
        """One build whose every node must succeed."""
        (outcome,) = self.build(as_of, **environment)
        assert not outcome.failures, outcome.failures
        return outcome

    def dbt(self, *arguments: str, **environment: str) -> Invocation:
        """Any dbt command, in this process."""
        from dbt.cli.main import dbtRunner

        lines: list[str] = []
        where = [
            "--project-dir",
            str(self.root),
            "--profiles-dir",
            str(self.root),
            "--log-level",
            "none",
        ]
        before = Path.cwd()
        with self.environment(**environment):
            try:
                done = dbtRunner(callbacks=[_collecting(lines)]).invoke([*arguments, *where])
            finally:
                os.chdir(before)
        results = [r for r in getattr(done.result, "results", None) or [] if hasattr(r, "node")]
        return Invocation(
            is_success=done.success,
            statuses={r.node.name: str(r.status) for r in results},
            messages={r.node.name: r.message or "" for r in results},
            error=str(done.exception or ""),
            log="\n".join(lines),
        )

    def command(self, *arguments: str, **environment: str) -> list[str]:
        """The command line of a dbt process of its own."""
        where = ["--project-dir", str(self.root), "--profiles-dir", str(self.root)]
        return [sys.executable, "-m", "dbt.cli.main", *arguments, *where]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Any dbt command, in a process of its own, from the project's folder."""
        with self.environment(**environment):
            return subprocess.run(
                self.command(*arguments),
                cwd=self.root,
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )

    @contextmanager
    def environment(self, **more: str) -> Iterator[None]:
        """The variables of this copy, and no others of ours."""
        wanted = {"FEATMILL_HOME": str(self.home), "FEATMILL_SOURCES": str(self.sources), **more}
        before = {name: os.environ.get(name) for name in {*_OURS, *wanted}}
        for name in _OURS:
            os.environ.pop(name, None)
        os.environ.update(wanted)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value

    # -- what came of it

    @property
    def registry(self) -> Registry:
        """The releases."""
        return open_registry(self.settings.lake_dir)

    @property
    def releases(self) -> list[Release]:
        """Every release."""
        return self.registry.releases()

    def snapshots(self, table: str) -> list[Snapshot]:
        """Every snapshot of a table, released or not."""
        return self.registry.lake.snapshots(table)

    def state(self) -> dict[str, Any]:
        """What must not change where nothing is published: every snapshot and every release."""
        lake = {table: self.snapshots(table) for table in self.registry.lake.tables()}
        return {"snapshots": lake, "releases": self.releases}

    def candidate(self, model: str, columns: str = "*") -> list[tuple[Any, ...]]:
        """A model's rows in the build database, in order."""
        with duckdb.connect(str(self.settings.build_database), read_only=True) as connection:
            return connection.execute(f"SELECT {columns} FROM {model} ORDER BY ALL").fetchall()

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        """What people see: a query on the read-only features database, in UTC."""
        with duckdb.connect(str(self.settings.features_database), read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql).fetchall()


def make_depot(folder: Path, package: Path = REPOSITORY) -> Depot:
    """A copy of the project below `folder`, with `package` as its featmill and the default sources.

    The folders have a space in their names: paths are not identifiers.
    """
    root = folder / "depot project"
    ignored = shutil.ignore_patterns("target", "logs", "dbt_packages", "package-lock.yml")
    shutil.copytree(HERE / "depot", root, ignore=ignored)
    (root / "packages.yml").write_text(f"packages:\n  - local: '{package}'\n")
    depot = Depot(root=root, home=folder / "depot home", sources=folder / "depot sources")
    depot.sources.mkdir()
    depot.write_scans()
    depot.write_trips()
    installed = depot.dbt("deps")
    assert installed.is_success, installed.log
    return depot


def _make_template(folder: Path) -> Path:
    """A depot built once, to copy from; its place is also that of each copy, so dbt parses only what changed."""
    make_depot(folder / "used").build_one()
    shutil.copytree(folder / "used", folder / "kept", symlinks=True)
    return folder


_templates: list[Path] = []


def fresh_depot(factory: pytest.TempPathFactory) -> Depot:
    """A depot as it was after its first build, at 2026-03-06: one release of two tables.

    One at a time: the next takes its place.
    """
    if not _templates:
        _templates.append(_make_template(factory.mktemp("depot")))
    used, kept = _templates[0] / "used", _templates[0] / "kept"
    shutil.rmtree(used)
    shutil.copytree(kept, used, symlinks=True)
    return Depot(used / "depot project", used / "depot home", used / "depot sources")
