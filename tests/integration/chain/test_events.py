"""What becomes of dirty rows: duplicates, the future, NULLs and text where numbers belong (rules 8, 10 and 20)."""

from __future__ import annotations

import pytest

from tests.projects.depot_project import SCANS

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A depot that no test changes."""
    from tests.projects.depot_project import make_depot

    depot = make_depot(tmp_path_factory.mktemp("built"))
    depot.build_one()
    return depot


def test_of_duplicates_the_first_ingested_counts(built):
    """Rule 8: whatever comes first in the file."""
    kept = built.candidate("stg_yard__scans", "kind, weight_kg, scan_id")

    assert [row for row in kept if row[2] == "s08"] == [("box", 4.0, "s08")]
    assert len({row[2] for row in kept}) == len(kept)


def test_refused_rows_lie_in_quarantine_with_the_reason(built):
    """Rule 10, and a text where a number belongs."""
    assert built.candidate("stg_yard__quarantine", "refused_because, scan_id") == [
        ("from the future", "r5"),
        ("lighter than a parcel", "r6"),
        ("no depot_code", "r1"),
        ("no dock_no", "r2"),
        ("no event time", "r3"),
        ("no ingestion time", "r4"),
        ("no scan_id", None),
    ]


def test_every_row_is_accepted_or_in_quarantine(built):
    """Rule 9: nothing is dropped in silence; the one duplicate has its twin."""
    (accepted,), (refused,) = (
        built.candidate(model, "count(*)")[0]
        for model in ("stg_yard__scans", "stg_yard__quarantine")
    )

    assert accepted + refused == len(SCANS) - 1


def test_an_event_exactly_the_allowed_skew_ahead_is_accepted(built):
    """Rule 10: s11 lies ten minutes ahead, r5 one microsecond more."""
    accepted = {row[0] for row in built.candidate("stg_yard__scans", "scan_id")}

    assert "s11" in accepted
    assert "r5" not in accepted


def test_entities_of_a_declared_model_all_have_a_row(built):
    """Rules 5 and 20: a dock never used counts 0; an aggregate without a default is NULL."""
    columns = "depot_code, dock_no, parcels_24h, weight_kg_24h, weight_kg_max_3d, kinds_3d, last_kind_lifetime"

    assert built.candidate("feat_dock__load", columns) == [
        ("N", 1, 2, 7.75, 12.0, 3, "bag"),
        ("N", 11, 1, 5, 5.0, 2, "box"),
        ("N1", 1, 0, None, 33.4, 2, "box"),
        ("S", 7, 0, None, None, 0, "none"),
    ]


def test_entities_without_a_model_are_those_with_an_event(built):
    """Rules 4, 5 and 20: AB-1 drove earlier, so it is there with an empty window; t itself is outside."""
    columns = "van_plate, trips_1d, fuel_litres_1d, last_fuel_litres_1d"

    assert built.candidate("feat_van__trips", columns) == [
        ("AB-1", 0, None, None),
        ("AB-2", 1, 8, 8),
    ]


def test_too_many_refused_rows_stop_the_table(depot):
    """Rule 10: the gate on the share."""
    before = depot.state()
    depot.edit("models/staging/stg_yard__typed_scans.yml", "at_most: 0.6", "at_most: 0.1")

    (outcome,) = depot.build()

    assert [r.kind for r in outcome.failures] == ["test"]
    assert "quarantine_share" in outcome.failures[0].name
    assert depot.releases == before["releases"]


def test_a_column_of_the_wrong_type_is_refused_row_by_row(depot):
    """Every moment of the CSV is text that is no moment: the rows go to quarantine and are counted."""
    depot.write_scans([(*row[:5], "not a time", row[6]) for row in SCANS])

    (outcome,) = depot.build()

    assert "quarantine_share" in outcome.failures[0].name
    assert set(depot.candidate("stg_yard__typed_scans", "refused_because")) == {("no event time",)}
