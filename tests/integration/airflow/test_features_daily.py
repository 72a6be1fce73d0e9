"""The daily DAG for real: `dag.test()` on a small dbt project with its own online store.

Rules 2 (the date is an argument) and 20 (a failed gate leaves the last good release serving).
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from featmill.online.live import read_live
from featmill.online.server import online_target
from featmill.warehouse.registry import open_registry

pytestmark = [
    pytest.mark.airflow,
    pytest.mark.dbt,
    pytest.mark.redis,
    pytest.mark.xdist_group("airflow"),
]

TASKS = ("build", "gate", "publish", "export", "verify")
RIDERS = 17


@pytest.fixture(scope="module")
def first_day(run_dag):
    """A run that a person started for a date."""
    return run_dag(snapshot_date="2026-01-27")


def test_a_run_goes_through_every_step(first_day):
    assert first_day.states == dict.fromkeys(TASKS, "success")
    assert first_day.tries == dict.fromkeys(TASKS, 1)
    assert first_day.state == "success"


def test_the_snapshot_is_the_date_that_was_given(first_day, project):
    release = open_registry(project.settings.lake_dir).find(first_day.returned["publish"])

    assert release.as_of == datetime(2026, 1, 27, tzinfo=UTC)


def test_steps_hand_on_the_release(first_day):
    returned = first_day.returned

    assert returned["gate"] == 2
    assert returned["export"]["release_id"] == returned["publish"]
    assert returned["verify"]["release_id"] == returned["publish"]
    assert returned["verify"]["entities"] == RIDERS


def test_what_is_online_is_the_release(first_day, project):
    release = open_registry(project.settings.lake_dir).find(first_day.returned["publish"])

    (live,) = online(project)

    assert live.is_complete
    assert (live.snapshot_id,) == tuple(release.snapshots.values())


def test_a_failed_test_stops_the_run_at_the_gate(first_day, project, run_dag):
    released = releases(project)
    serving = online(project)
    at = datetime(2026, 1, 30, 12)  # noqa: DTZ001 - as source files hold it: UTC, no zone
    project.append(("paid", 3, "-10000.00", at, at))

    done = run_dag(partition="2026-01-31")

    assert done.states == {
        "build": "success",
        "gate": "failed",
        "publish": "upstream_failed",
        "export": "upstream_failed",
        "verify": "upstream_failed",
    }
    assert done.tries["gate"] == 1
    assert done.returned["build"]["as_of"] == "2026-01-31"
    assert releases(project) == released
    assert online(project) == serving


@pytest.fixture(scope="module")
def day_before(first_day, project, run_dag):
    """A backfill's run, at a time when something else has the build database open."""
    serving = online(project)
    done = run_dag(partition="2026-01-26", held_until_retry=project.settings.build_database)
    return done, serving


def test_a_held_database_is_tried_again(day_before):
    done, _ = day_before

    assert done.tries["build"] == 2
    assert done.states["build"] == "success"


def test_a_backfill_never_moves_what_is_online(day_before, project):
    done, serving = day_before

    assert done.state == "success"
    assert {task: done.states[task] for task in TASKS[2:]} == {
        "publish": "success",
        "export": "skipped",
        "verify": "skipped",
    }
    assert datetime(2026, 1, 26, tzinfo=UTC) in [r.as_of for r in releases(project)]
    assert online(project) == serving


def releases(project):
    return open_registry(project.settings.lake_dir).releases()


def online(project):
    return list(read_live(online_target(project.settings), "rides").values())
