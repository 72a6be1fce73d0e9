"""Every engine gives one answer to the bit, and it is the one that rules 12 to 16 define."""

from __future__ import annotations

import pytest
from hypothesis import event, given, settings

from tests.unit.training.engines.oracle import DAY, START, Case, Row, cases, computed, expected


def plain(table) -> list[str]:
    """Rows as texts: -0.0 is not 0.0, NaN is itself."""
    return [repr(tuple(row.values())) for row in table.to_pylist()]


@settings(max_examples=100, deadline=None)
@given(cases())
def test_every_engine_equals_the_definition(case):
    """Rules 12 to 16: rows, values, statuses, times found, types and the spine's order."""
    event(case.shape)
    wanted = [repr(row) for row in expected(case)]
    schema = None

    for engine in case.engines():
        found = computed(case, engine)
        assert plain(found) == wanted, engine
        schema = schema or found.schema
        assert found.schema == schema, engine


@settings(max_examples=40, deadline=None)
@given(cases())
def test_prefilters_leave_out_nothing_that_a_label_may_find(case):
    """Rules 12 and 14: without a status, what had expired before the spine begins is not read."""
    wanted = [repr(row[:-2]) for row in expected(case)]

    for engine in case.engines():
        assert plain(computed(case, engine, status=False)) == wanted, engine


@pytest.mark.parametrize("engine", ["asof", "equi", "interval", "indexed"])
def test_a_key_that_newer_snapshots_lack_is_found_in_an_older_one(engine):
    """Rule 12: equality with the newest snapshot is not all there is to a dense table."""
    rows = (
        Row(("a", 1), START, START + DAY, "s-0000", (7,)),
        Row(("b", 2), START + DAY, START + 2 * DAY, "s-0001", (8,)),
    )
    labels = ((0, ("a", 1), START + DAY + 5), (1, ("b", 2), START + DAY - 1))
    case = Case("dense", "both", rows, None, (("whole", False, False),), labels)

    found = computed(case, engine).column("view__whole").to_pylist()

    assert found == [7, None]
