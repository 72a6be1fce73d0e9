"""dbt, run in this process: one start, one parse, as many dates as are asked for.

dbt is slow to start and its DuckDB file admits one writer, so the chain runs it once and waits. A caller that must not
share its process (a scheduler's worker) runs `featmill build` in one of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import AsOfError, BuildError, BuildLocked, SettingError, SourceError
from featmill.warehouse.project_graph import dated_nodes

if TYPE_CHECKING:
    from pathlib import Path

    from dbt.artifacts.schemas.results import NodeResult as DbtResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt_common.events.base_types import EventMsg

    from featmill.settings import Settings
    from orchestration.build_database import BuildDatabase

_FAILED = frozenset({"error", "fail", "runtime error"})

#: What our own messages say, by which dbt's exceptions are told apart: it keeps no types.
_MOMENT_SAYS = ("FEATMILL_AS_OF", "FEATMILL_CUT_OFF", "is before the data", "is after the data")
_SOURCE_SAYS = ("source table ", "the sources hold no events", "the Delta table ")

Progress = Callable[["NodeResult", int, int], None]
"""Called as each node ends: what it came to, how many have ended, how many there are (0 = not known yet)."""


@dataclass(frozen=True, slots=True)
class NodeResult:
    """What became of one dbt node. `kind` is dbt's resource type, or `published` for a publish node."""

    unique_id: str
    name: str
    kind: str
    status: str
    seconds: float
    message: str

    @property
    def is_test(self) -> bool:
        """A data test or a unit test: a gate."""
        return self.kind in ("test", "unit_test")

    @property
    def failed(self) -> bool:
        """It ran and did not succeed; a skipped node did not run."""
        return self.status in _FAILED


@dataclass(frozen=True, slots=True)
class BuildOutcome:
    """One `dbt build` at one as_of: every node's result, and what featmill's hooks said."""

    as_of: str | None
    results: tuple[NodeResult, ...]
    said: tuple[str, ...]

    @property
    def failures(self) -> tuple[NodeResult, ...]:
        """The nodes that failed, gates and others."""
        return tuple(result for result in self.results if result.failed)


@contextmanager
def moment_variables(as_of: str | None) -> Iterator[None]:
    """Give dbt an as_of through the variable that plain `dbt build` reads; put back what was there."""
    before = os.environ.get("FEATMILL_AS_OF")
    if as_of is not None:
        os.environ["FEATMILL_AS_OF"] = as_of
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("FEATMILL_AS_OF", None)
        else:
            os.environ["FEATMILL_AS_OF"] = before


class DbtProcess:
    """dbt for one project, parsed once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._manifest: Manifest | None = None

    def parse(self) -> None:
        """Parse the project and write `target/manifest.json`.

        Raises:
            BuildError: dbt could not parse it; the message is dbt's own, with file and line.
        """
        from dbt.contracts.graph.manifest import Manifest

        parsed = self._invoke(["parse"]).result
        self._manifest = parsed if isinstance(parsed, Manifest) else None

    def build(
        self, as_ofs: Sequence[str | None] = (None,), on_node: Progress | None = None
    ) -> list[BuildOutcome]:
        """Run `dbt build` at each as_of in turn; stops at the first that fails.

        The first run builds everything. The others build again only what depends on the run's moments: a staging model
        does not, so its rows stand.

        Raises:
            BuildLocked: another process holds the build database.
            AsOfError: an as_of is malformed or before the data.
            SourceError: a source file is missing.
            BuildError: dbt could not run at all. A node that failed is in the outcome, not raised.
        """
        outcomes: list[BuildOutcome] = []
        for as_of in as_ofs:
            # dbt writes its artifacts once: that costs half as much as a date's models.
            later = [
                "--select",
                *self._dated_nodes(),
                "--exclude-resource-type",
                "unit_test",
                "--no-write-json",
            ]
            selected = later if outcomes else []
            with moment_variables(as_of):
                outcomes.append(self._build_once(as_of, selected, on_node))
            if outcomes[-1].failures:
                break
        return outcomes

    def build_nodes(
        self, as_of: str, selection: Sequence[str], on_node: Progress | None = None
    ) -> BuildOutcome:
        """Run `dbt build` at one as_of with dbt's own arguments of selection.

        Raises:
            BuildLocked, AsOfError, SourceError, BuildError: as `build`.
        """
        arguments = [*selection, "--no-write-json"]
        with moment_variables(as_of):
            return self._build_once(as_of, arguments, on_node)

    @contextmanager
    def database(self) -> Iterator[BuildDatabase]:
        """The build database as dbt opens it, between two of its runs.

        Raises:
            BuildLocked: another process holds it.
            BuildError: dbt could not parse the project.
        """
        from orchestration.build_database import opened

        manifest = self.manifest
        with chdir(self.settings.root):
            try:
                with opened(manifest) as database:
                    yield database
            except Exception as error:
                if _is_lock(str(error)):
                    raise _translated(str(error)) from error
                raise

    def deps(self) -> None:
        """Install the project's packages (`packages.yml`).

        Raises:
            BuildError: a package cannot be had.
        """
        self._invoke(["deps"])

    def show(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query over the build database, which only dbt opens. `sql` may `ref()`.

        Raises:
            BuildError: dbt could not run it.
        """
        shown = (
            self._invoke(["show", "--inline", sql, "--limit", "-1"]).result.results[0].agate_table
        )
        return [tuple(row.values()) for row in shown.rows]

    def write_model(self, name: str, path: Path) -> None:
        """Write a model's rows as a Parquet file, by dbt itself: nobody else opens the build database.

        Raises:
            BuildError: there is no such model, or it was not built.
            BuildLocked: another process holds the build database.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        arguments = json.dumps({"model": name, "path": str(path)})
        self._invoke(["run-operation", "featmill.write_model", "--args", arguments])

    def docs(self) -> None:
        """Write dbt's static documentation, `target/static_index.html`.

        Raises:
            BuildError: dbt could not generate it.
        """
        self._invoke(["docs", "generate", "--static"])

    @property
    def manifest(self) -> Manifest:
        """The parsed project, which every run of this process shares.

        Raises:
            BuildError: dbt could not parse it.
        """
        if self._manifest is None:
            self.parse()
        if self._manifest is None:
            raise BuildError("dbt parsed the project and gave no manifest")
        return self._manifest

    def _build_once(
        self, as_of: str | None, selected: list[str], on_node: Progress | None
    ) -> BuildOutcome:
        said: list[str] = []
        listener = _Listener(on_node, said)
        result = self._invoke(["build", *selected], listener)
        return BuildOutcome(
            as_of or _settled(said),
            tuple(_node_result(r) for r in result.result or []),
            tuple(said),
        )

    def _invoke(self, arguments: list[str], listener: _Listener | None = None) -> Any:  # noqa: ANN401
        """Run a command; what its `result` holds is dbt's to say, one type a command."""
        from dbt.cli.main import dbtRunner

        if not (self.settings.root / "dbt_project.yml").is_file():
            raise SettingError(
                f"{self.settings.root} is no dbt project: it has no dbt_project.yml",
                hint="stand in the project's folder, or name it: --project-dir or FEATMILL_PROJECT_DIR",
            )
        self.settings.home_dir.mkdir(parents=True, exist_ok=True)
        where = ["--project-dir", str(self.settings.root), "--log-level", "none"]
        if (self.settings.root / "profiles.yml").is_file():
            where += ["--profiles-dir", str(self.settings.root)]
        callbacks: list[Callable[[EventMsg], None]] = [] if listener is None else [listener]
        # dbt resolves a profile's relative paths from the current folder; a user of plain dbt stands in the project's.
        with chdir(self.settings.root):
            result = dbtRunner(manifest=self._manifest, callbacks=callbacks).invoke(
                [*arguments, *where]
            )
        if result.exception is not None:
            raise _translated(str(result.exception))
        _raise_if_locked(result.result)
        return result

    def _dated_nodes(self) -> list[str]:
        """Selectors of the models that a further date builds again."""
        manifest = self.manifest
        return sorted(
            ".".join(manifest.nodes[unique_id].fqn) for unique_id in dated_nodes(manifest)
        )


class _Listener:
    """Turns dbt's events into progress and keeps what featmill's hooks say."""

    def __init__(self, on_node: Progress | None, said: list[str]) -> None:
        self._on_node = on_node
        self._said = said
        self._ended = 0
        self._total = 0

    def __call__(self, event: EventMsg) -> None:
        if event.info.name == "JinjaLogInfo" and event.data.msg.startswith("featmill: "):
            self._said.append(event.data.msg.removeprefix("featmill: "))
        if event.info.name == "LogStartLine":
            self._total = event.data.total
        if event.info.name == "NodeFinished" and self._on_node is not None:
            self._ended += 1
            info = event.data.node_info
            kind = "published" if info.materialized == "published" else info.resource_type
            result = NodeResult(info.unique_id, info.node_name, kind, info.node_status, 0.0, "")
            try:
                self._on_node(result, self._ended, self._total)
            except (BrokenPipeError, SystemExit):
                # Nobody watches any more, of which rich makes an exit. Raised here, in dbt's own thread, either would
                # leave dbt waiting for ever.
                self._on_node = None


def _settled(said: Sequence[str]) -> str | None:
    """The as_of that the run took from the data, from what its first hook said of it."""
    for line in said:
        if line.startswith("as_of "):  # as_of 2026-01-31 00:00:00 UTC, rows ingested up to ...
            return line.removeprefix("as_of ").partition(" UTC")[0] + "+00:00"
    return None


def _node_result(result: DbtResult) -> NodeResult:
    node = result.node
    published = getattr(node.config, "materialized", "") == "published"
    return NodeResult(
        unique_id=node.unique_id,
        name=node.name,
        kind="published" if published else str(node.resource_type),
        status=str(result.status),
        seconds=float(result.execution_time),
        message=result.message or "",
    )


def _raise_if_locked(results: object) -> None:
    for result in results if isinstance(results, list) else getattr(results, "results", None) or []:
        message = getattr(result, "message", None) or ""
        if _is_lock(message):
            raise _translated(message)


def _is_lock(message: str) -> bool:
    return "Could not set lock" in message or "Conflicting lock" in message


def _translated(message: str) -> BuildError | AsOfError | SourceError:
    """dbt's exception as ours; dbt tells what happened by text only."""
    text = message.strip()
    if _is_lock(text):
        return BuildLocked(
            "another process holds the build database: " + text.splitlines()[-1].strip(),
            hint="wait for the other build to end, or close the program that has the file open; "
            "readers use features.duckdb",
        )
    if any(said in text for said in _MOMENT_SAYS):
        return AsOfError(_own_words(text))
    if any(said in text for said in _SOURCE_SAYS):
        return SourceError(_own_words(text))
    return BuildError(text)


def _own_words(text: str) -> str:
    """What our macro or function said, without dbt's heading and the places it passed through."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [
        line.rpartition("ValueError: ")[2]
        for line in lines
        if line
        and not line.startswith(
            ("> in ", "> called by ", "LINE ", "^", "Compilation Error", "Runtime Error")
        )
    ]
    return " ".join(kept)
