"""The DAG as Airflow parses it, and its steps without Airflow.

Rule 2 (the date is an argument) and the promises of the factory: one writer, retries only where
they can help, a quick parse.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from types import SimpleNamespace

import psutil
import pytest

from featmill.errors import AsOfError, BuildError, BuildLocked, SettingError, UsageError
from orchestration import airflow_steps

PARSE_LIMIT = 1.0

#: Parses the DAG's file as Airflow's processor does: in a process that has imported Airflow.
PROBE = """
import json, runpy, sys, time
from datetime import datetime, timezone

import airflow.dag_processing.processor
from airflow.sdk import DAG
from airflow.serialization.encoders import coerce_to_core_timetable

began = time.perf_counter()
dag = runpy.run_path(sys.argv[1])["dag"]
seconds = time.perf_counter() - began
imported = sorted({name.partition(".")[0] for name in sys.modules})

from featmill import errors

def decided(name):
    error = getattr(errors, name)("told")
    return dag.get_task("build").retry_policy.evaluate(error, 1, 4).action.value

def days(*bounds):
    earliest, latest = (datetime.fromisoformat(day).replace(tzinfo=timezone.utc) for day in bounds)
    return timetable.iter_partition_dagrun_infos(earliest=earliest, latest=latest)

timetable = coerce_to_core_timetable(dag.timetable)
midnight = datetime(2026, 2, 1, tzinfo=timezone.utc)
print(json.dumps({
    "seconds": seconds,
    "imported": imported,
    "downstream": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
    "pools": {task.task_id: [task.pool, task.pool_slots] for task in dag.tasks},
    "retries": {task.task_id: task.retries for task in dag.tasks},
    "backoff": {task.task_id: task.retry_exponential_backoff for task in dag.tasks},
    "timeouts": {task.task_id: task.execution_timeout.total_seconds() for task in dag.tasks},
    "decided": {name: decided(name) for name in sys.argv[2].split(",")},
    "max_active_runs": dag.max_active_runs,
    "params": dag.params.dump(),
    "documentation": dag.doc_md,
    "backfilled": [info.partition_key for info in days("2026-01-29", "2026-01-31")],
    "midnight": timetable._get_partition_info(timetable._align_to_next(midnight))[1],
}))
"""
PASSING = ("BuildLocked", "OnlineUnreachable")
LASTING = ("GateFailed", "ContractError", "AsOfError", "SchemaChanged", "ParityError", "BuildError")


@pytest.fixture(scope="module")
def dag(repository, tmp_path_factory):
    """What the probe saw; it has a process of its own, as importing Airflow changes one."""
    path = repository / "orchestration" / "dags" / "features_daily.py"
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow"))}
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(path), ",".join(PASSING + LASTING)],
        env=environment,
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.airflow
class TestDag:
    def test_it_parses_in_no_time(self, dag):
        assert dag["seconds"] < PARSE_LIMIT

    def test_parsing_imports_no_heavy_library(self, dag):
        heavy = {"dbt", "duckdb", "deltalake", "feast", "great_expectations", "pandas", "pyarrow"}

        assert not heavy & set(dag["imported"])

    def test_the_steps_run_one_after_the_other(self, dag):
        edges = dag["downstream"]

        assert list(edges) == ["build", "gate", "publish", "export", "verify"]
        assert edges["gate"] == ["publish"]
        assert edges["verify"] == []
        # A step also stands behind every step whose result it takes.
        assert {
            "build": ["gate", "publish"],
            "publish": ["export", "verify"],
        }.items() <= edges.items()
        assert edges["export"] == ["verify"]

    def test_only_the_build_takes_the_one_slot_of_the_writer(self, dag):
        pools = dag["pools"]

        assert pools.pop("build") == ["featmill_build", 1]
        assert {pool for pool, _ in pools.values()} == {"default_pool"}

    def test_it_says_that_the_pool_must_exist(self, dag):
        assert "airflow pools set featmill_build 1" in dag["documentation"]

    def test_what_may_pass_is_tried_again_with_growing_waits(self, dag):
        assert {dag["decided"][name] for name in PASSING} == {"retry"}
        assert set(dag["retries"].values()) == {4}
        assert set(dag["backoff"].values()) == {2.0}

    def test_what_would_fail_again_fails_at_once(self, dag):
        assert {dag["decided"][name] for name in LASTING} == {"fail"}

    def test_every_step_has_a_limit(self, dag):
        limits = dag["timeouts"]

        assert limits.pop("build") == 2 * 3600
        assert set(limits.values()) == {1800}

    def test_the_run_at_midnight_is_of_the_day_before(self, dag):
        assert dag["midnight"] == "2026-01-31"

    def test_a_backfill_builds_its_last_day(self, dag):
        assert dag["backfilled"] == ["2026-01-29", "2026-01-30", "2026-01-31"]

    def test_one_run_at_a_time(self, dag):
        assert dag["max_active_runs"] == 1
        assert dag["params"] == {"snapshot_date": None}


@pytest.mark.parametrize(
    ("given", "partition", "as_of"),
    [
        (None, "2026-01-31", "2026-01-31"),
        ("2026-01-31", None, "2026-01-31"),
        ("2026-01-31", "2026-01-31", "2026-01-31"),
        (None, None, None),
    ],
)
def test_the_date_is_the_partition_or_what_was_given(given, partition, as_of):
    assert airflow_steps.snapshot_date({"snapshot_date": given}, partition) == as_of


def test_a_partition_is_not_filled_with_another_day():
    with pytest.raises(AsOfError, match=r"partition 2026-01-31 but .* 2026-01-30"):
        airflow_steps.snapshot_date({"snapshot_date": "2026-01-30"}, "2026-01-31")


@pytest.fixture
def child(monkeypatch, tmp_path):
    """`child(script)`: what runs in place of `featmill build`; it sees the arguments in `$@`."""
    (tmp_path / "dbt_project.yml").touch()
    monkeypatch.setenv("FEATMILL_PROJECT_DIR", str(tmp_path))
    monkeypatch.setenv("FEATMILL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("FEATMILL_AS_OF", raising=False)

    def stands_in(script):
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o700)
        monkeypatch.setattr(sys, "executable", str(path))
        return tmp_path

    return stands_in


def test_the_build_is_the_command_of_the_day(child):
    folder = child('echo "$@" > "$FEATMILL_PROJECT_DIR/arguments"')

    built = airflow_steps.build(dag_run=SimpleNamespace(partition_key="2026-01-31"), run_id="a:b")

    assert (folder / "arguments").read_text().split() == [
        *("-m", "featmill.cli.main", "build"),
        *("--project-dir", str(folder)),
        *("--result", str(folder / "home" / "runs" / "a_b.json")),
        *("--as-of", "2026-01-31"),
    ]
    assert built["as_of"] == "2026-01-31"


def test_a_run_without_a_date_leaves_it_to_the_data(child):
    folder = child('echo "$@" > "$FEATMILL_PROJECT_DIR/arguments"')

    built = airflow_steps.build(params={"snapshot_date": None})

    assert "--as-of" not in (folder / "arguments").read_text()
    assert built["as_of"] is None


@pytest.mark.parametrize(
    ("script", "error", "message"),
    [
        ("echo 'error: another process holds the build database'; exit 1", BuildLocked, "holds"),
        ("echo 'error: FEATMILL_AS_OF must be a day' >&2; exit 2", UsageError, "must be a day"),
        ("echo dbt; echo 'error: 1 could not be built' >&2; exit 1", BuildError, r"^1 could not"),
        ("echo 'Segmentation fault'; exit 139", BuildError, r"^Segmentation fault"),
        ("exit 9", BuildError, "exit code 9"),
    ],
)
def test_a_failed_build_is_the_error_it_was(child, script, error, message):
    child(script)

    with pytest.raises(error, match=message) as caught:
        airflow_steps.build()

    assert type(caught.value) is error


def test_a_hint_reaches_the_log(child, caplog):
    child("echo 'error: it is locked'; echo 'hint: wait'; exit 1")
    with pytest.raises(BuildError, match=r"^it is locked$") as caught:
        airflow_steps.build()

    airflow_steps.log_hint({"exception": caught.value})

    assert caplog.messages[-1] == "hint: wait"


def test_a_build_that_is_stopped_gives_the_database_back(child):
    folder = child('echo $$ > "$FEATMILL_PROJECT_DIR/pid"; echo started; exec sleep 60')

    with pytest.raises(TimeoutError), interrupted_after(0.5):
        airflow_steps.build()

    assert not psutil.pid_exists(int((folder / "pid").read_text()))


def test_results_of_an_earlier_try_are_not_judged(child):
    folder = child("exit 9")
    stale = folder / "home" / "runs" / "again.json"
    stale.parent.mkdir(parents=True)
    stale.write_text("[]")

    with pytest.raises(BuildError):
        airflow_steps.build(run_id="again")

    with pytest.raises(BuildError, match=r"again\.json cannot be read"):
        airflow_steps.gate({"as_of": None, "result": str(stale)})


@pytest.mark.parametrize(
    "text", ["", "[]", "3", '[{"as_of": null}]', '[{"as_of": null, "results": [{"id": 1}]}]']
)
def test_results_of_another_form_are_refused(tmp_path, text):
    result = tmp_path / "result.json"
    result.write_text(text)

    with pytest.raises(BuildError, match=r"result\.json (cannot be read|hold no build)"):
        airflow_steps.read_outcomes(result)


def test_a_worker_without_the_project_says_what_to_set(tmp_path):
    with pytest.raises(SettingError, match="FEATMILL_PROJECT_DIR"):
        airflow_steps.build(project_dir=str(tmp_path))


@contextmanager
def interrupted_after(seconds):
    """Raise TimeoutError in this thread, as Airflow does to a task at its limit."""

    def raise_timeout(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, raise_timeout)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
