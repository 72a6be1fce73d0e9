"""Runs the DAG in a process of its own: Airflow takes over logging, settings and signals.

These functions are called in that process, so they import Airflow where they need it.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

HOLD = "import duckdb, sys; held = duckdb.connect(sys.argv[1]); print('held', flush=True); input()"


@dataclass(frozen=True)
class Finished:
    """What became of a run: per task its state, its tries and what it returned."""

    state: str
    states: dict[str, str]
    tries: dict[str, int]
    returned: dict[str, object]


def start_airflow(environment: dict[str, str]) -> None:
    """Give this process an Airflow: a migrated database and the build's pool."""
    os.environ.update(environment)
    from airflow.models.pool import Pool
    from airflow.utils.db import initdb

    from orchestration.dag_factory import BUILD_POOL

    initdb()
    Pool.create_or_update_pool(BUILD_POOL, 1, "one writer of the build database", False)


def run_dag(
    snapshot_date: str | None = None,
    partition: str | None = None,
    held_until_retry: Path | None = None,
) -> Finished:
    """`dag.test()` of the shipped DAG.

    Args:
        snapshot_date: What a person gives a run.
        partition: What the scheduler gives a run.
        held_until_retry: A database that another process holds until the build is tried again.
    """
    # A run's params stay with the DAG object, so each run has its own.
    dag = runpy.run_path(os.environ["FEATMILL_TEST_DAG"])["dag"]
    build = dag.get_task("build")
    build.retry_delay = timedelta(seconds=1)
    conf = None if snapshot_date is None else {"snapshot_date": snapshot_date}
    with ExitStack() as stack:
        stack.enter_context(partitioned(partition))
        if held_until_retry is not None:
            let_go = stack.enter_context(held(held_until_retry))
            build.on_retry_callback = [lambda context: let_go()]
        return finished(dag.test(run_conf=conf))


def finished(dag_run) -> Finished:
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    instances = dag_run.get_task_instances()
    with create_session() as session:
        query = XComModel.get_many(run_id=dag_run.run_id, dag_ids=dag_run.dag_id)
        found = session.scalars(query).all()
    return Finished(
        state=str(dag_run.state),
        states={ti.task_id: str(ti.state) for ti in instances},
        tries={ti.task_id: ti.try_number for ti in instances},
        returned={x.task_id: XComModel.deserialize_value(x) for x in found},
    )


@contextmanager
def partitioned(key: str | None):
    """Give the run its partition as the scheduler does; `dag.test()` has no argument for it."""
    from airflow.models import dagrun

    made = dagrun.get_or_create_dagrun

    def with_key(**arguments):
        run = made(**arguments)
        run.partition_key = key
        arguments["session"].commit()
        return run

    with patch.object(dagrun, "get_or_create_dagrun", with_key):
        yield


@contextmanager
def held(database: Path):
    """Another process that has the database open; yields what makes it let go."""
    command = [sys.executable, "-c", HOLD, str(database)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        other.stdout.readline()
        try:
            yield lambda: other.communicate("\n")
        finally:
            other.kill()
