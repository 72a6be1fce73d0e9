"""DAGs for Airflow 3: few tasks around one dbt process, the command line's own callables.

Airflow is imported where a DAG is made, and dbt and Feast not before a task runs: parsing stays
quick.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import BuildLocked, FeatmillError, OnlineUnreachable
from orchestration import airflow_steps

if TYPE_CHECKING:
    from airflow.sdk import DAG, ExceptionRetryPolicy

#: One slot: DuckDB admits one writer, whatever DAG it is from.
BUILD_POOL = "featmill_build"

_DOCUMENTATION = """\
One dbt project's features, day by day: **build** (dbt build in a process of its own, tests
included), **gate** (the tests' verdict), **publish** (the release is committed), **export** (to the
online store), **verify** (online equals released). Online only moves forward: a day built after a
later one, as a backfill does, is released and not exported.

The snapshot date is the run's partition key. A run started by hand takes `snapshot_date`; without
it, the newest UTC midnight that the sources have reached. Never the clock.

**Before the first run, create the build's pool with one slot.** Airflow never schedules a task
whose pool is missing, and says so only in the scheduler's log:

    airflow pools set {pool} 1 "one writer of the build database"

A build database that is held and an online store that is away are tried again. A failed test, a
broken contract, a wrong as_of and values that differ online fail at the first try.
"""


def features_daily(  # noqa: PLR0913 - each is a project's choice, and has a default
    dag_id: str = "features_daily",
    *,
    project_dir: Path | None = None,
    schedule: str = "0 0 * * *",
    start: datetime | None = None,
    pool: str = BUILD_POOL,
    retries: int = 4,
    retry_delay: timedelta = timedelta(minutes=1),
    build_timeout: timedelta = timedelta(hours=2),
    step_timeout: timedelta = timedelta(minutes=30),
) -> DAG:
    """The daily chain of one dbt project: build, gate, publish, export, verify.

    Args:
        dag_id: The DAG's name; of several projects each needs its own.
        project_dir: The dbt project on the workers; None = their FEATMILL_PROJECT_DIR.
        schedule: When, as cron in UTC. Another hour than midnight makes Airflow's backfill drop
            its last day.
        start: The first day; None = from now on. Days before are a backfill's.
        pool: Holds back a second writer, so DAGs of one project share it. It must exist, with one
            slot: with the pool missing the build is never scheduled, and only the scheduler's log
            tells.
        retries: How often a failure that may pass is tried again.
        retry_delay: The wait before the first of these; doubled each time, up to 30 minutes.
        build_timeout: How long dbt may take. Then its process is stopped, so that the database is
            free again.
        step_timeout: How long each other step may take.
    """
    from airflow.sdk import DAG, CronPartitionTimetable, Param

    dag = DAG(
        dag_id=dag_id,
        description="Build, gate, publish, export and verify one day's features",
        doc_md=_DOCUMENTATION.format(pool=pool),
        # The run at a midnight computes at the midnight before: what arrived late has had a day,
        # and it is the as_of that the sources themselves have reached by then.
        schedule=CronPartitionTimetable(
            schedule, timezone="UTC", run_offset=-1, key_format="%Y-%m-%d"
        ),
        start_date=start,
        catchup=False,
        max_active_runs=1,
        params={
            "snapshot_date": Param(
                None,
                type=["null", "string"],
                format="date",
                description="Only for a run started by hand: the UTC day to compute features at.",
            )
        },
        default_args={
            "retries": retries,
            "retry_delay": retry_delay,
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=30),
            "retry_policy": retry_policy(),
            "execution_timeout": step_timeout,
            "on_failure_callback": airflow_steps.log_hint,
        },
        tags=["featmill"],
    )
    with dag:
        _chain(None if project_dir is None else str(project_dir), pool, build_timeout)
    return dag


def retry_policy() -> ExceptionRetryPolicy:
    """Retry what somebody else holds back, fail on our own errors, leave the rest to `retries`."""
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    return ExceptionRetryPolicy(
        rules=[  # the first that matches counts
            RetryRule(
                exception=[BuildLocked, OnlineUnreachable],
                action=RetryAction.RETRY,
                reason="another process or server holds this back: it may pass",
            ),
            RetryRule(
                exception=FeatmillError,
                action=RetryAction.FAIL,
                reason="the data or a declaration is wrong: it would fail again",
            ),
        ]
    )


def _chain(project_dir: str | None, pool: str, build_timeout: timedelta) -> None:
    from airflow.sdk import chain, task

    # A step's mapping is one value, not one for each key.
    build = task(multiple_outputs=False, pool=pool, execution_timeout=build_timeout)
    built = build(airflow_steps.build)(project_dir=project_dir)
    passed = task()(airflow_steps.gate)(built)
    # Skips what follows where the release is not to go online.
    release_id = task.short_circuit()(airflow_steps.publish)(built, project_dir=project_dir)
    export = task(multiple_outputs=False)(airflow_steps.export)
    exported = export(release_id, project_dir=project_dir)
    verify = task(multiple_outputs=False)(airflow_steps.verify)
    verified = verify(release_id, project_dir=project_dir)
    chain(built, passed, release_id, exported, verified)
