"""The chain's steps as a scheduler runs them: separate processes that hand on small values.

Nothing here imports Airflow. It fills in a step's `params`, `dag_run` and `run_id` by name; the
other arguments are what the steps before returned.
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from featmill.errors import AsOfError, BuildError, BuildLocked, NoRelease, SettingError, UsageError
from featmill.settings import load_settings
from orchestration import online_steps, tasks
from orchestration.dbt_process import BuildOutcome, NodeResult

if TYPE_CHECKING:
    from featmill.settings import Settings

LOG = logging.getLogger(__name__)

#: How the build's process says that it may be tried again: its exit code is any failure's.
_LOCKED = "another process holds the build database"
#: Lines of a failed process that the error repeats: enough for dbt's message with file and line.
_TAIL = 40
#: Seconds that a process which was told to stop has to give the database back.
_GRACE = 30


class Built(TypedDict):
    """What the build hands on: the as_of it was given, and the file with every node's result."""

    as_of: str | None
    result: str


class Run(Protocol):
    """What a step reads of Airflow's DAG run."""

    partition_key: str | None


def build(
    project_dir: str | None = None,
    params: Mapping[str, Any] | None = None,
    dag_run: Run | None = None,
    run_id: str | None = None,
) -> Built:
    """Build, test and publish in a process of its own; tests that failed are for `gate` to judge.

    dbt keeps state for the length of its process and DuckDB locks by process: a worker's process
    must not become theirs.

    Raises:
        AsOfError: the run names two snapshot dates.
        UsageError: dbt refused the one it names, or a setting is wrong.
        BuildLocked: another process holds the build database.
        BuildError: a model could not be built, or dbt could not run.
    """
    settings = _settings(project_dir)
    as_of = snapshot_date(params or {}, dag_run.partition_key if dag_run else None)
    result = settings.home_dir / "runs" / f"{_file_name(run_id or 'manual')}.json"
    as_of = as_of or settings.as_of
    # A try that dies half way must not leave the gate the results of the try before.
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "featmill.cli.main", "build"]
    command += ["--project-dir", str(settings.root), "--result", str(result)]
    if as_of is not None:
        command += ["--as-of", as_of]
    _run(command)
    return {"as_of": as_of, "result": str(result)}


def gate(built: Built) -> int:
    """Judge the build's tests; the number that passed.

    Raises:
        GateFailed: a test failed; there is no release.
        BuildError: the build's results are not there.
    """
    return tasks.gate(read_outcomes(Path(built["result"])))


def publish(built: Built, project_dir: str | None = None) -> str | None:
    """Confirm that the build was released; the release's id if it is to go online, else None.

    dbt's own publish nodes wrote the snapshots, each once its tests had passed; the release over
    them is the commit point that readers trust. Online only moves forward: a day that is built
    after a later one, as a backfill does, stays offline.

    Raises:
        NoRelease: the registry holds no release of the build's as_of.
    """
    said = [line for outcome in read_outcomes(Path(built["result"])) for line in outcome.said]
    refusals = [line for line in said if line.startswith("no release")]
    if refusals:
        raise NoRelease(refusals[0], hint="publish every table of the project in this build")
    settings = _settings(project_dir)
    release, newest = tasks.released(settings, built["as_of"]), tasks.released(settings)
    LOG.info("released %s, newest is %s", release.release_id, newest.release_id)
    return release.release_id if release == newest else None


def export(release_id: str, project_dir: str | None = None) -> dict[str, str | int]:
    """Put a release's values into the online store, prove them and make them serve.

    Raises:
        NotNewer: a later release was promoted meanwhile, or this one was rolled back from: a retry undoes neither.
        OnlineUnreachable: there is no server, or it refused us.
        ParityError: what was written is not what was released; in generation mode it does not serve.
    """
    # The scheduler parses DAGs all the time; what moves rows takes long to import.
    from orchestration import promotion

    exported = promotion.promote(_settings(project_dir), release_id)
    return {
        "release_id": exported.release_id,
        "entities": sum(view.entities for view in exported.views),
        "written": sum(view.written for view in exported.views),
        "deleted": sum(view.deleted for view in exported.views),
    }


def verify(release_id: str, project_dir: str | None = None) -> dict[str, str | int]:
    """Compare what is online with what was released.

    Raises:
        ParityError: something differs.
        OnlineUnreachable: there is no server, or it refused us.
    """
    verified = online_steps.verify(_settings(project_dir), release_id)
    return {
        "release_id": verified.release_id,
        "entities": sum(report.checked_entities for report in verified.reports),
        "values": sum(report.checked_values for report in verified.reports),
    }


def snapshot_date(params: Mapping[str, Any], partition_key: str | None) -> str | None:
    """The as_of of a run: its partition, or the date a person gave; None leaves it to the data.

    Raises:
        AsOfError: both are there and differ: the partition would hold another day's values.
    """
    given = params.get("snapshot_date")
    if given and partition_key and given != partition_key:
        raise AsOfError(
            f"the run is for partition {partition_key} but was given snapshot_date {given}",
            hint="leave snapshot_date out: a partitioned run knows its date",
        )
    return given or partition_key


def log_hint(context: Mapping[str, object]) -> None:
    """Say what to do about a failed task, in its log: Airflow shows an error's message only."""
    hint = getattr(context.get("exception"), "hint", None)
    if hint is not None:
        LOG.error("hint: %s", hint)


def read_outcomes(result: Path) -> list[BuildOutcome]:
    """What `featmill build --result` wrote.

    Raises:
        BuildError: the file is missing or is not what it writes.
    """
    try:
        written = json.loads(result.read_text(encoding="utf-8"))
        outcomes = [
            BuildOutcome(
                as_of=outcome["as_of"],
                results=tuple(NodeResult(**node) for node in outcome["results"]),
                said=tuple(outcome["said"]),
            )
            for outcome in written
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BuildError(
            f"the build's results at {result} cannot be read: {error}",
            hint="every worker needs the same FEATMILL_HOME; run the build again",
        ) from error
    if not outcomes:
        # Without a test nothing has passed.
        raise BuildError(f"the build's results at {result} hold no build")
    return outcomes


def _settings(project_dir: str | None) -> Settings:
    """The settings of the worker that runs the step, not of the machine that parsed the DAG."""
    settings = load_settings(None if project_dir is None else Path(project_dir))
    if not (settings.root / "dbt_project.yml").is_file():
        raise SettingError(
            f"FEATMILL_PROJECT_DIR: {settings.root} is no dbt project, it has no dbt_project.yml",
            hint="set FEATMILL_PROJECT_DIR for every worker, or give the DAG a project_dir",
        )
    return settings


def _file_name(run_id: str) -> str:
    """A run id as a file name: `manual__2026-02-01T00:00` is `manual__2026-02-01T00_00`."""
    return re.sub(r"[^\w.-]+", "_", run_id)


def _run(command: Sequence[str]) -> None:
    """Run a process to its end, its lines in our log; stop it if we are stopped."""
    tail: deque[str] = deque(maxlen=_TAIL)
    # Its messages are read by our log, not by a terminal: no line is to be broken.
    environment = {**os.environ, "COLUMNS": "1000"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            for line in filter(str.strip, process.stdout or ()):
                LOG.info("%s", line.rstrip())
                tail.append(line.rstrip())
        finally:
            # A timeout or a kill of this task lands here: left alone, the process would hold on to
            # the build database.
            code = _ended(process)
    if code != 0:
        raise _failure(code, "\n".join(tail))


def _ended(process: subprocess.Popen[str]) -> int:
    """The exit code, once the process is gone."""
    interrupted = sys.exc_info()[0] is not None
    if interrupted:
        process.terminate()
    try:
        return process.wait(timeout=_GRACE if interrupted else None)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _failure(code: int, said: str) -> BuildError | UsageError:
    """What the process said, as the error it was: the retry policy looks at the class."""
    message, _, hint = (said.partition("error: ")[2] or said).partition("\nhint: ")
    if message.startswith(_LOCKED):
        return BuildLocked(message, hint=hint or None)
    if code == UsageError.exit_code:
        return UsageError(message, hint=hint or None)
    message = message or f"the build ended with exit code {code} and said nothing"
    return BuildError(message, hint=hint or None)
