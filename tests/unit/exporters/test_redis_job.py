"""The journal knows where a run goes on and what may still be there from earlier ones (rule 21)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from exporters.redis.job import ExportJob, base_of, first_record, is_live, last_record
from exporters.redis.report import Difference, Findings, ParityReport
from featmill import clock
from featmill.online.expiry import KeyExpiry
from featmill.online.live import LiveBase
from featmill.online.plan import plan_view
from tests.unit.online.tables import feature_table

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLE = feature_table(features={"a": "BIGINT", "b": "DOUBLE"})


def job_of(snapshot_id="s1", *, table=TABLE, rows=100, force=False, **more):
    return ExportJob(
        project="shop",
        table=table,
        snapshot_id=snapshot_id,
        release_id="r1",
        as_of=NOON,
        total_rows=rows,
        force=force,
        **more,
    )


def first(job, before=None):
    return first_record(job, plan_view(job.project, job.table), before)


def reached(record, position):
    return record.model_copy(update={"position": position})


def test_a_first_run_starts_at_row_0_and_replaces_nothing():
    with clock.frozen(NOON):
        record = first(job_of())

    assert (record.state, record.position, record.rows) == ("writing", 0, 100)
    assert (record.features, record.replaces, record.dropped) == (("a", "b"), (), ())
    assert (record.started_at, record.finished_at) == (NOON, None)


def test_a_finished_record_is_exactly_its_snapshot():
    record = first(job_of("s2"), last_record(first(job_of())))
    with clock.frozen(NOON):
        done = last_record(record)

    assert record.replaces == ("s1",)
    assert (done.is_complete, done.position, done.replaces) == (True, 100, ())
    assert done.finished_at == NOON


def test_the_same_snapshot_goes_on_where_it_stopped_as_another_writer():
    with clock.frozen(NOON):
        stopped = reached(first(job_of()), 40)
    with clock.frozen(NOON + timedelta(hours=1)):
        record = first(job_of(), stopped)

    assert (record.position, record.started_at) == (40, NOON)
    assert record.writer != stopped.writer


@pytest.mark.parametrize(
    "job",
    [
        job_of("s2"),
        job_of(rows=101),
        job_of(force=True),
        job_of(content="another"),
        job_of(table=feature_table(features={"a": "BIGINT"})),
    ],
)
def test_another_job_starts_at_row_0(job):
    assert first(job, reached(first(job_of()), 40)).position == 0


def test_what_unfinished_runs_left_is_remembered_until_one_finishes():
    one = last_record(first(job_of("s1")))
    two = first(job_of("s2", table=feature_table(features={"b": "DOUBLE", "c": "DATE"})), one)
    three = first(job_of("s3", table=feature_table(features={"a": "BIGINT"})), two)
    back = first(job_of("s1"), three)

    assert (two.replaces, two.dropped) == (("s1",), ("a",))
    assert (three.replaces, three.dropped) == (("s1", "s2"), ("b", "c"))
    assert (back.replaces, back.dropped) == (("s1", "s2", "s3"), ("c",))


def test_every_snapshot_that_rows_came_from_is_replaced():
    """Rule 12: a row of an earlier snapshot serves as long as it is visible."""
    one = last_record(first(job_of("s2", holds=("s1", "s2"), content="a")))
    shorter = first(job_of("s2", holds=("s2",), content="b"), one)
    resumed = first(job_of("s2", holds=("s2",), content="b"), reached(shorter, 40))

    assert shorter.replaces == ("s1", "s2")
    assert (resumed.replaces, resumed.position) == (("s1", "s2"), 40)


def test_a_record_from_before_it_named_its_snapshots_holds_its_own():
    old = last_record(first(job_of("s1"))).model_copy(update={"holds": (), "keys": ()})

    assert first(job_of("s2"), old).replaces == ("s1",)


def test_only_a_finished_run_of_the_same_rows_is_live():
    plan = plan_view("shop", TABLE)
    writing = first(job_of())
    done = last_record(writing)

    assert is_live(job_of(), plan, done)
    assert not is_live(job_of(), plan, writing)
    assert not is_live(job_of(force=True), plan, done)
    assert not is_live(job_of("s2"), plan, done)
    assert not is_live(job_of(rows=99), plan, done)
    assert not is_live(job_of(content="another"), plan, done)


BASE = LiveBase(snapshot_id="s1", content="a", rows=100, read_at=NOON)
EXPIRY = KeyExpiry(ttl_us=1_000, grace_us=500)


def base(job, before):
    return base_of(job, plan_view(job.project, job.table), before)


def test_what_is_whole_and_says_what_it_is_can_be_compared_with():
    with clock.frozen(NOON):
        done = last_record(first(job_of(content="a")))

    assert base(job_of("s2", content="b"), done) == BASE


@pytest.mark.parametrize(
    ("job", "before", "reason"),
    [
        (job_of("s2"), None, "nothing is online yet"),
        (job_of("s2", force=True), last_record(first(job_of(content="a"))), "--force"),
        (job_of("s2"), last_record(first(job_of())), "does not say what decided"),
        (job_of("s2"), first(job_of(content="a")), "snapshot s1 has not finished"),
        (job_of(content="a"), first(job_of(content="a")), "an export of every row"),
        (job_of("s2", expiry=EXPIRY), last_record(first(job_of(content="a"))), "another time"),
    ],
)
def test_every_row_is_written_where_what_is_there_is_unknown(job, before, reason):
    assert reason in base(job, before)


def test_a_killed_difference_goes_on_from_the_base_it_had():
    job = job_of("s2", content="b")
    plan = plan_view("shop", TABLE)
    done = last_record(first(job_of(content="a")))
    stopped = reached(first_record(job, plan, done, BASE, 30), 20)

    assert base(job, stopped) == BASE
    assert first_record(job, plan, stopped, BASE, 30).position == 20
    assert first_record(job, plan, stopped, BASE, 31).position == 0, "another stream of rows"
    assert first_record(job, plan, stopped).position == 0, "of all rows now"
    assert (stopped.to_write, stopped.replaces) == (30, ("s1",))
    finished = last_record(stopped)
    assert (finished.base, finished.differing, finished.position) == (None, None, 100)


def test_keys_that_may_have_been_let_go_are_known_until_every_row_was_written():
    plan = plan_view("shop", TABLE)
    expiring = last_record(first(job_of(expiry=EXPIRY)))
    staying = first(job_of(), expiring)

    assert (expiring.key_life_us, expiring.may_expire) == (1_500, True)
    assert not is_live(job_of(), plan, expiring)
    assert (staying.key_life_us, staying.may_expire) == (None, True)
    assert first(job_of("s2"), staying).may_expire
    assert not last_record(staying).may_expire
    assert first(job_of(keeps=True)).may_expire


def test_differences_beyond_the_first_twenty_are_only_counted():
    findings = Findings()
    for number in range(25):
        findings.add(Difference(str(number), "a", "1", "2"))

    assert (findings.total, len(findings.shown), findings.is_full) == (25, 20, True)


@pytest.mark.parametrize(
    ("record", "differences", "equal", "incomplete"),
    [
        (None, 0, False, False),
        (None, 1, False, False),
        (last_record(first(job_of())), 0, True, False),
        (first(job_of()), 0, False, True),
    ],
)
def test_a_view_is_equal_if_nothing_differs_and_no_run_is_unfinished(
    record, differences, equal, incomplete
):
    report = ParityReport("clicks", record, 1, 3, differences, (), 0.1)

    assert (report.is_equal, report.is_incomplete) == (equal, incomplete)
