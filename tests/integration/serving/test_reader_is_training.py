"""A read at as_of is what a training set says at that moment: values and their statuses (rules 12 to 14, 18, 20).

Before the snapshot's own as_of it says so of the one row of each entity that the store holds.
"""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from exporters import rows as rows_module
from exporters.redis import ExportJob, export_view
from exporters.rows import visible_rows
from featmill.contract.catalog import Catalog
from featmill.online.serving_state import PublishMode, ServedView, ServingState, put_state
from featmill.serving.reader import FeatureReader
from featmill.training.absences import absences
from featmill.training.templates import point_in_time_sql
from featmill.training.views import default_sql
from featmill.warehouse.columns import literal
from tests.integration.serving.stored import service, with_defaults
from tests.integration.serving.test_same_online_and_offline import (
    CARRIED_FAR,
    CONNECTION,
    DAY,
    FILLED,
    KEYS,
    MICROSECOND,
    START,
    TIED,
    Case,
    Row,
    cases,
    publication,
    relation_sql,
    write,
)

pytestmark = pytest.mark.redis

#: The last is in no snapshot.
ASKED = [*KEYS, ("never", 0)]
AFTER = [0 * DAY, MICROSECOND, DAY - MICROSECOND, DAY, DAY + MICROSECOND, 2 * DAY, 9 * DAY]
BEFORE = [-MICROSECOND, MICROSECOND - DAY, -DAY, -DAY - MICROSECOND, -2 * DAY, -9 * DAY]
#: Two rows of which one begins at the snapshot's own moment: their ttl ends within what follows, to the microsecond.
FRESH = Case(
    DAY,
    False,
    (
        publication(
            0, Row(KEYS[0], START, 1, "x"), Row(KEYS[1], START - DAY + MICROSECOND, 2, None)
        ),
    ),
    exported=0,
    fewer=frozenset({0}),
)


@pytest.fixture(scope="module", autouse=True)
def files():
    """Snapshots as bare Parquet files: a Delta commit for each would take most of the time."""
    patched = pytest.MonkeyPatch()
    patched.setattr(rows_module, "relation_sql", relation_sql)
    yield
    patched.undo()


def trained(table, released, at):
    """What a training set says of each asked entity: (status of its row, when that began, values with defaults)."""
    view = {
        "name": "load",
        "relation": f"({relation_sql(released)})",
        "keys": ["code", "number"],
        "event_time": "feature_at",
        "ttl_us": None if table.ttl is None else table.ttl // MICROSECOND,
        "features": [
            {
                "name": feature.name,
                "ignore_nulls": feature.ignore_nulls,
                "default_sql": default_sql(feature.default),
            }
            for feature in table.features
        ],
    }
    spine = " UNION ALL ".join(
        f"SELECT {place} AS place, {literal(code)} AS code, {number} AS number, TIMESTAMPTZ '{at}' AS at"
        for place, (code, number) in enumerate(ASKED)
    )
    gone = absences(CONNECTION, released, str(view["relation"]), ["code", "number"])
    if gone is not None:
        view["gone"] = gone
    sql = point_in_time_sql(spine, "at", [view], status=True, hidden=[])
    found = CONNECTION.execute(
        f"SELECT load__status, load__feature_at, load__plain, load__carried FROM ({sql}) ORDER BY place"
    ).fetchall()
    return tuple([row[place] for row in found] for place in range(4))


def held(found, at, defaults):
    """What a training set said at the export, at an earlier moment: a row that begins later is not there (rule 12)."""
    rows = [
        row if row[0] == "ok" and row[1] <= at else ("missing", None, *defaults)
        for row in zip(*found, strict=True)
    ]
    return tuple(list(column) for column in zip(*rows, strict=True))


def export(case, table, exported, released, target):
    """Put what is visible at the exported snapshot's as_of into the store."""
    with target.client() as client:
        client.flushall()
    with visible_rows(table, exported, released) as visible:
        job = ExportJob(
            project="shop",
            table=table,
            snapshot_id=exported.snapshot_id,
            release_id="r",
            as_of=exported.as_of,
            total_rows=visible.count,
            force=True,
        )
        export_view(target, job, visible.reader(), vanished=None)
        state = ServingState(
            epoch=1,
            mode=PublishMode.IN_PLACE,
            rows_project="shop",
            release_id="r",
            as_of=exported.as_of,
            flipped_at=exported.as_of,
            is_complete=True,
            views={"load": ServedView(snapshot_id=exported.snapshot_id, rows=visible.count)},
        )
    put_state(target, "shop", state)


def value_statuses(statuses, default):
    """Rule 18, as `featmill train` has it."""
    return [status if status == "ok" or default is None else "default" for status in statuses]


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    case=cases(),
    after=st.sampled_from(AFTER + BEFORE),
    defaults=st.tuples(st.sampled_from([None, 0, 7]), st.sampled_from([None, "", "none"])),
)
@example(case=FRESH, after=timedelta(0), defaults=(None, None))
@example(case=FRESH, after=MICROSECOND, defaults=(7, None))
@example(case=FRESH, after=DAY - MICROSECOND, defaults=(7, None))
@example(case=FRESH, after=DAY, defaults=(None, "none"))
@example(case=FRESH, after=-MICROSECOND, defaults=(7, None))
@example(case=FRESH, after=MICROSECOND - DAY, defaults=(None, "none"))
@example(case=FRESH, after=-DAY, defaults=(None, None))
@example(case=CARRIED_FAR, after=timedelta(0), defaults=(7, "none"))
@example(case=CARRIED_FAR, after=DAY, defaults=(None, "none"))
@example(case=TIED, after=DAY, defaults=(None, None))
@example(case=FILLED, after=9 * DAY, defaults=(0, ""))
def test_a_read_is_what_a_training_set_says_at_that_moment(case, after, defaults, embedded):
    plain, carried = defaults
    table = with_defaults(case.table, plain=plain, carried=carried)
    with tempfile.TemporaryDirectory() as folder:
        snapshots = [write(Path(folder), n, made) for n, made in enumerate(case.snapshots)]
        exported = snapshots[case.exported]
        released = snapshots[: case.exported + 1]
        export(case, table, exported, snapshots, embedded.target)
        at = exported.as_of + after
        at_export = trained(table, released, exported.as_of)
        is_before = at < exported.as_of
        found = held(at_export, at, defaults) if is_before else trained(table, released, at)
        wanted, _, plains, carrieds = found
    catalog = Catalog(
        project="shop",
        tables=(table,),
        services=(service("load:plain", "load:carried"),),
        sources=(),
    )
    # What had expired before it was exported is not in the store, so it is not known there that it ever was.
    online = [
        "missing" if before == "expired" else status
        for status, before in zip(wanted, at_export[0], strict=True)
    ]
    with FeatureReader.open(catalog, embedded.target) as reader:
        keys = {"code": [code for code, _ in ASKED], "number": [number for _, number in ASKED]}
        together = reader.read("ranking", keys, as_of=at)
        alone = [
            reader.read("ranking", {"code": code, "number": number}, as_of=at)
            for code, number in ASKED
        ]

    assert together.degraded is None
    for status in online:
        event(status)
    answered = together.to_dict()
    assert answered["values"] == {"plain": plains, "carried": carrieds}
    assert answered["statuses"] == {
        "plain": value_statuses(online, plain),
        "carried": value_statuses(online, carried),
    }
    rows = together.to_rows()
    assert [one.to_rows()[0] for one in alone] == rows
