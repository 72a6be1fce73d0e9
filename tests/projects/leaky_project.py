"""The outer project `leaky`: three feature tables with a planted leak each, and one without."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from featmill.settings import Settings
from orchestration.dbt_process import DbtProcess

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

#: Between the second and the third row of each table lies the moment of the tests.
AT = "2026-03-05"
SOURCES: dict[str, tuple[tuple[str, ...], Sequence[Sequence[Any]]]] = {
    "rides": (
        ("ride_id", "bike_id", "station_id", "minutes", "started_at", "ingested_at"),
        [
            ("r1", "B1", "S1", 10, "2026-03-01 08:00:00", "2026-03-01 08:01:00"),
            ("r2", "B2", "S2", 20, "2026-03-04 09:00:00", "2026-03-04 09:01:00"),
            ("r3", "B1", "S2", 30, "2026-03-05 10:00:00", "2026-03-05 10:01:00"),
            ("r4", "B2", "S1", 40, "2026-03-06 11:00:00", "2026-03-06 11:01:00"),
        ],
    ),
    "stations": (
        ("station_id", "district", "updated_at", "ingested_at"),
        [
            ("S1", "harbour", "2026-02-01 00:00:00", "2026-02-01 00:00:00"),
            ("S2", "old town", "2026-02-01 00:00:00", "2026-02-01 00:00:00"),
            # The station moved after the moment.
            ("S1", "station hill", "2026-03-06 00:00:00", "2026-03-06 00:00:00"),
        ],
    ),
    "breakdowns": (
        ("bike_id", "broke_at", "ingested_at"),
        [
            ("B1", "2026-03-02 12:00:00", "2026-03-02 12:00:00"),
            ("B1", "2026-03-04 12:00:00", "2026-03-04 12:00:00"),
            ("B2", "2026-03-06 12:00:00", "2026-03-06 12:00:00"),
        ],
    ),
}


def make_leaky(folder: Path) -> Settings:
    """A copy of the project below `folder` with its sources; nothing is built."""
    root, sources = folder / "leaky project", folder / "leaky sources"
    ignored = shutil.ignore_patterns("target", "logs", "dbt_packages", "package-lock.yml")
    shutil.copytree(HERE / "leaky", root, ignore=ignored)
    (root / "packages.yml").write_text(f"packages:\n  - local: '{REPOSITORY}'\n")
    sources.mkdir()
    for name, (columns, rows) in SOURCES.items():
        with (sources / f"{name}.csv").open("w", newline="") as opened:
            csv.writer(opened).writerows([columns, *rows])
    settings = Settings(project_dir=root, home=folder / "home", sources=str(sources))
    DbtProcess(settings).deps()
    return settings
