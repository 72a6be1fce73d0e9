"""A dbt project with one feature table, and an Airflow that runs the shipped DAG on it."""

from __future__ import annotations

import csv
import shutil
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pytest

from featmill.online.server import EmbeddedServer
from featmill.settings import Settings
from tests.integration.airflow import dag_runs

FIRST_EVENT = datetime(2026, 1, 20)  # noqa: DTZ001 - as source files hold it: UTC, no zone
COLUMNS = ("trip_id", "rider_id", "fare", "event_at", "ingested_at")

AIRFLOW = {
    "AIRFLOW__API__HOST": "127.0.0.1",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__PARALLELISM": "2",
    "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "60",
}


@dataclass(frozen=True)
class Project:
    """The dbt project, its source file and what featmill makes of them."""

    folder: Path

    @property
    def settings(self) -> Settings:
        return Settings(project_dir=self.folder, home=self.folder / ".featmill")

    @property
    def environment(self) -> dict[str, str]:
        return {
            "FEATMILL_PROJECT_DIR": str(self.folder),
            "FEATMILL_HOME": str(self.settings.home_dir),
            "FEATMILL_SOURCES": str(self.folder / "sources"),
        }

    def append(self, *rows: tuple[object, ...]) -> None:
        path = self.folder / "sources" / "trips.csv"
        path.parent.mkdir(exist_ok=True)
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *rows] if is_new else rows)


def trips(count: int):
    """Trips of 17 riders, one every 1.4 hours; each is known as it happens."""
    for i in range(count):
        at = FIRST_EVENT + timedelta(hours=1.4 * i)
        yield i, i % 17, f"{i * 7 % 40}.50", at, at


@pytest.fixture(scope="session")
def project(repository, tmp_path_factory):
    folder = tmp_path_factory.mktemp("rides") / "project"
    shutil.copytree(Path(__file__).parent / "project", folder)
    packages = folder / "packages.yml"
    packages.write_text(packages.read_text(encoding="utf-8").replace("FEATMILL", str(repository)))
    # What `dbt deps` does for a local package, without starting dbt.
    (folder / "dbt_packages").mkdir()
    (folder / "dbt_packages" / "featmill").symlink_to(repository)
    made = Project(folder)
    made.append(*trips(200))
    yield made
    EmbeddedServer(made.settings.online_dir).stop()


@pytest.fixture(scope="session")
def run_dag(repository, project, tmp_path_factory):
    """`dag_runs.run_dag` in the one process that has an Airflow: its first run costs 10 s."""
    dags = repository / "orchestration" / "dags"
    environment = {
        **AIRFLOW,
        **project.environment,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "FEATMILL_TEST_DAG": str(dags / "features_daily.py"),
    }
    with ProcessPoolExecutor(
        1, get_context("spawn"), dag_runs.start_airflow, (environment,)
    ) as airflow:
        yield lambda **how: airflow.submit(dag_runs.run_dag, **how).result()
