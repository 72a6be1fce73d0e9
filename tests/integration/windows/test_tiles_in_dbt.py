"""Tiles in dbt builds: an incremental run ends where a full recompute ends, whatever happened before (rules 7 to 9)."""

from __future__ import annotations

import subprocess
import sys

import pytest

from orchestration.dbt_process import BuildOutcome
from tests.projects.depot_project import SCANS, Depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

TILES = "{{ featmill.tiles(ref('stg_yard__scans'), event_at='scanned_at', event_id='scan_id') }}"
MODEL = "models/intermediate/int_scans__tiles.sql"
FEATURES = "models/features/feat_dock__load"
LATE = ("s20", "N", 1, "box", "2", "2026-03-02 09:00:00", "2026-03-06 06:00:00")
NEW = ("s21", "N1", 1, "bag", "30", "2026-03-05 06:00:00", "2026-03-06 06:00:01")
DATES = ("2026-03-04", "2026-03-05", "2026-03-05T07:13:00Z", "2026-03-06")

#: The process dies after the tiles have changed and before their transaction is committed.
KILLED = """
import os, signal, sys
from dbt.adapters.duckdb.connections import DuckDBConnectionManager
committed = DuckDBConnectionManager.commit
def commit(self):
    cursor = self.get_thread_connection().handle.cursor()
    tables = cursor.execute("select count(*) from duckdb_tables() where table_name = 'int_scans__tiles'").fetchall()
    newest = "select max(tile_cut_off) > '2026-03-06 05:30' from int_scans__tiles"
    done = tables[0][0] and cursor.execute(newest).fetchall()
    if done and done[0][0]:
        os.kill(os.getpid(), signal.SIGKILL)
    return committed(self)
DuckDBConnectionManager.commit = commit
from dbt.cli.main import cli
cli(sys.argv[1:])
"""


def use_tiles(depot: Depot) -> None:
    depot.add(MODEL, TILES)
    depot.edit(
        f"{FEATURES}.sql",
        "event_id='scan_id',",
        "event_id='scan_id', tiles=ref('int_scans__tiles'),",
    )
    given = "- input: ref('stg_yard__scans')"
    depot.edit(
        f"{FEATURES}.yml",
        given,
        f"- input: ref('int_scans__tiles')\n        rows: []\n      {given}",
    )


def without_tiles(depot: Depot) -> None:
    depot.edit(f"{FEATURES}.sql", " tiles=ref('int_scans__tiles'),", "")
    (depot.root / MODEL).unlink()
    given = "- input: ref('int_scans__tiles')\n        rows: []\n      "
    depot.edit(f"{FEATURES}.yml", given, "")


def rows(depot: Depot) -> list[tuple]:
    return depot.candidate("feat_dock__load")


def said(outcome: BuildOutcome) -> str:
    """What the build said of the tiles."""
    (line,) = [line for line in outcome.said if line.startswith("int_scans__tiles")]
    return line.removeprefix("int_scans__tiles tiled ")


def content(depot: Depot) -> dict[str, str]:
    """The newest content of each as_of: what a full recompute and a build from tiles must agree in."""
    return {str(s.as_of): s.content_hash for s in depot.snapshots("dock__load")}


def test_builds_from_tiles_publish_what_a_full_recompute_publishes(depot):
    """First built anew, then from what is there; at midnight, within a hop, and within a tile."""
    for as_of in DATES:
        depot.build_one(as_of)
    before = content(depot)
    use_tiles(depot)

    told = [said(depot.build_one(as_of)) for as_of in DATES]

    assert content(depot) == before
    assert len(depot.snapshots("dock__load")) == 2 * len(before), (
        "another definition is a correction"
    )
    assert told[0] == "anew"
    assert all(text.endswith("(0 tiles)") for text in told[1:])


def test_late_and_new_events_touch_their_tiles_and_a_corrected_one_all(depot):
    use_tiles(depot)
    depot.build_one()
    corrected, others = SCANS[5], [*SCANS[:5], *SCANS[6:]]
    states = []
    for scans in (
        [*SCANS, LATE, NEW],
        [*others, (*corrected[:4], "9.5", *corrected[5:]), LATE, NEW],
        [*others, LATE],
    ):
        depot.write_scans(scans)
        states.append((said(depot.build_one("2026-03-06")), rows(depot)))

    assert [told for told, _ in states] == [
        "what was ingested after 2026-03-06 05:00:00 (2 tiles)",
        "anew",
        "anew",
    ]
    without_tiles(depot)
    depot.build_one("2026-03-06")
    assert rows(depot) == states[-1][1]
    assert len({str(held) for _, held in states}) == 3, "each change changed a value"


def test_an_earlier_cut_off_and_a_full_refresh_are_built_anew(depot):
    use_tiles(depot)
    depot.build_one("2026-03-05")

    assert said(depot.build_one("2026-03-05", FEATMILL_CUT_OFF="2026-03-05T06:00:00Z")) == "anew"
    done = depot.dbt("run", "-s", "int_scans__tiles", "--full-refresh", FEATMILL_AS_OF="2026-03-05")
    assert "int_scans__tiles tiled anew" in done.log


def test_another_declaration_is_built_anew_and_a_snapshot_does_not_depend_on_the_width(depot):
    use_tiles(depot)
    depot.build_one("2026-03-05T07:13:00Z")
    before = content(depot)
    depot.edit(f"{FEATURES}.yml", "delay: 30m", "delay: 30m\n          tile: 6h")

    assert said(depot.build_one("2026-03-05T07:13:00Z")) == "anew"
    assert content(depot) == before


def test_a_killed_run_leaves_the_tiles_it_found(depot):
    use_tiles(depot)
    depot.build_one("2026-03-05")
    depot.write_scans([*SCANS, LATE, NEW])
    command = depot.command("run", "-s", "+int_scans__tiles")
    with depot.environment(FEATMILL_AS_OF="2026-03-05"):
        killed = subprocess.run(
            [sys.executable, "-c", KILLED, *command[3:]],
            cwd=depot.root,
            capture_output=True,
            check=False,
            timeout=120,
        )
    assert killed.returncode == -9, killed.stdout[-2000:]

    assert depot.candidate("int_scans__tiles", "max(tile_cut_off)::varchar") == [
        ("2026-03-06 05:00:00",)
    ]
    assert said(depot.build_one("2026-03-06")).endswith("(2 tiles)")


def test_features_over_tiles_of_other_events_are_refused(depot):
    """The feature table alone is computed anew, and the tiles are not those of the events any more."""
    use_tiles(depot)
    depot.build_one("2026-03-05")
    depot.write_scans([*SCANS, LATE, NEW])

    done = depot.dbt("run", "-s", "+feat_dock__load", "--exclude", "int_scans__tiles")

    assert "build them together" in done.messages["feat_dock__load"]


def test_tiles_that_no_feature_table_reads_are_refused(depot):
    depot.add(MODEL, TILES)

    done = depot.dbt("run", "-s", "+int_scans__tiles")

    assert "holds the tiles of one feature table" in done.messages["int_scans__tiles"]
