"""Prove that features at a moment do not depend on what came after it: build, alter what came after, build again.

Everything happens in a temporary home with copies of the sources; the project is read and nothing of the user's is
written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.errors import BuildError, SettingError, UsageError
from featmill.leakage import compare, static
from featmill.leakage.alter import Alterable, Alteration, Mode, alterable, write_altered
from featmill.leakage.joins import Relations, unbounded_reads, unfiltered_joins
from featmill.leakage.moments import default_moment, newest_loaded, oldest_loaded
from featmill.leakage.project import Project, read_project
from featmill.settings import Settings
from orchestration.dbt_process import DbtProcess

if TYPE_CHECKING:
    import duckdb

    from featmill.leakage.finding import Finding
    from featmill.leakage.project import Model

_ALTERATIONS = (Alteration.ALTERED, Alteration.SHUFFLED, Alteration.DELETED)
#: Builds in all: each mode once as it is and once for each alteration.
BUILDS = len(Mode) * (1 + len(_ALTERATIONS))

OnBuild = Callable[[str], None]
"""Called before each build with what is built."""


@dataclass(frozen=True, slots=True)
class LeakageReport:
    """What was found, and what was looked at: a clean report says of what it is clean."""

    at: datetime
    findings: tuple[Finding, ...]
    tables: tuple[str, ...]
    checked: tuple[str, ...]
    skipped: tuple[str, ...]


@dataclass(slots=True)
class _Probe:
    """One run: the places it works in, what it reads, and what it has found so far."""

    root: Path
    process: DbtProcess
    connection: duckdb.DuckDBPyConnection
    project: Project
    models: Sequence[Model]
    sources: Sequence[Alterable]
    at: datetime
    on_build: OnBuild
    findings: list[Finding] = field(default_factory=list)
    checked: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    @property
    def database(self) -> Path:
        """The build database of the temporary home."""
        return self.root / "home" / "build.duckdb"


def find_leaks(
    settings: Settings,
    at: datetime | None = None,
    tables: Sequence[str] = (),
    on_build: OnBuild = lambda _what: None,
) -> LeakageReport:
    """Look for features at `at` that depend on rows after it, and read their compiled SQL.

    Without `at`: the UTC midnight before three quarters of the events. Without `tables`: every feature table.

    Raises:
        UsageError: there is no such feature table, or none at all.
        SettingError: the profile's database would not be in the temporary home.
        SourceError: a source cannot be read, or no moment can be taken from the sources.
        BuildError: dbt could not build the feature tables.
    """
    import duckdb

    original = Path(settings.sources).expanduser()
    original = original if original.is_absolute() else settings.root / original
    with TemporaryDirectory(prefix="featmill-leakage-") as name, duckdb.connect() as connection:
        root = Path(name).resolve()
        connection.execute("SET TimeZone = 'UTC'")
        with _environment(_apart(root)):
            process = DbtProcess(_settings_apart(settings, root))
            process.parse()
            _require_apart(root)
            project = read_project(root / "target" / "manifest.json", root / "target" / "compiled")
            models = _wanted(project, tables)
            found = {
                source.name: alterable(connection, source, str(root / "sources"), original)
                for source in project.sources_behind(project.candidates)
            }
            sources = [source for source in found.values() if source is not None]
            moment = at if at is not None else default_moment(connection, sources)
            probe = _Probe(root, process, connection, project, models, sources, moment, on_build)
            probe.skipped += [
                f"source {source} is not read from FEATMILL_SOURCES: it was not altered"
                for source, table in found.items()
                if table is None
            ]
            _probe_sources(probe)
    return LeakageReport(
        at=moment,
        findings=tuple(static.with_lines(probe.findings, settings.root)),
        tables=tuple(model.name for model in models),
        checked=tuple(probe.checked),
        skipped=tuple(probe.skipped),
    )


def _settings_apart(settings: Settings, root: Path) -> Settings:
    return Settings(project_dir=settings.root, home=root / "home", sources=str(root / "sources"))


def _apart(root: Path) -> dict[str, str | None]:
    """The variables of a dbt that keeps to the temporary folder."""
    return {
        "FEATMILL_HOME": str(root / "home"),
        "FEATMILL_SOURCES": str(root / "sources"),
        "FEATMILL_AS_OF": None,
        "FEATMILL_CUT_OFF": None,
        "DBT_TARGET_PATH": str(root / "target"),
        "DBT_LOG_PATH": str(root / "logs"),
    }


@contextmanager
def _environment(wanted: Mapping[str, str | None]) -> Iterator[None]:
    """Set these variables, or unset them where None is wanted; put back what was there."""
    before = {name: os.environ.get(name) for name in wanted}
    _set(wanted)
    try:
        yield
    finally:
        _set(before)


def _set(variables: Mapping[str, str | None]) -> None:
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _require_apart(root: Path) -> None:
    """Refuse to build where the profile leads to a database outside the temporary home."""
    from dbt.adapters.factory import FACTORY

    adapter: Any = FACTORY.lookup_adapter("duckdb")
    path = Path(adapter.config.credentials.path)
    if root not in path.resolve().parents:
        raise SettingError(
            f"the profile's database is {path}, whatever FEATMILL_HOME says: a proof would build into it",
            hint="write path: \"{{ env_var('FEATMILL_HOME', '.featmill') }}/build.duckdb\" in the profile",
        )


def _wanted(project: Project, tables: Sequence[str]) -> list[Model]:
    known = {model.name: model for model in project.candidates}
    known |= {model.name.removeprefix("feat_"): model for model in project.candidates}
    unknown = [name for name in tables if name not in known]
    if unknown or not known:
        listed = ", ".join(model.name for model in project.candidates) or "none"
        raise UsageError(
            f"there is no feature table {', '.join(unknown) or 'at all'}",
            hint=f"the project has: {listed}",
        )
    chosen = {known[name].unique_id: known[name] for name in tables}
    return list(chosen.values()) or list(project.candidates)


def _probe_sources(probe: _Probe) -> None:
    """Each mode in turn; the compiled SQL is read after the first build, when there are types."""
    for mode in Mode:
        cut_off = _cut_off(probe, mode)
        reason = _reason_to_skip(probe, mode)
        if reason is not None:
            probe.skipped.append(f"{mode} mode: {reason}")
        with _environment({"FEATMILL_CUT_OFF": None if cut_off is None else cut_off.isoformat()}):
            if reason is None:
                _probe_mode(probe, mode)
        if mode is Mode.EVENT:
            _read_compiled(probe)


def _cut_off(probe: _Probe, mode: Mode) -> datetime | None:
    """What is read in all builds of a mode: all of it, or what was known at the moment (rule 9)."""
    if mode is Mode.SERVED:
        return probe.at
    return newest_loaded(probe.connection, probe.sources)


def _reason_to_skip(probe: _Probe, mode: Mode) -> str | None:
    column = "event_time" if mode is Mode.EVENT else "loaded_at_field"
    if not any(source.moment(mode) for source in probe.sources):
        return f"no source declares {column}"
    oldest = oldest_loaded(probe.connection, probe.sources)
    if mode is Mode.SERVED and oldest is not None and oldest > probe.at:
        return f"nothing had been ingested by {probe.at:%Y-%m-%d %H:%M:%S} UTC"
    return None


def _probe_mode(probe: _Probe, mode: Mode) -> None:
    _write_sources(probe, mode, Alteration.NONE)
    base = _built(probe, f"{mode} mode: the sources as they are", "base")
    for alteration in _ALTERATIONS:
        after = _write_sources(probe, mode, alteration)
        if not sum(after.values()):
            probe.skipped.append(f"{mode} mode: no row is after {probe.at:%Y-%m-%d %H:%M:%S} UTC")
            break
        altered = ", ".join(f"{rows:,} of {name}" for name, rows in after.items() if rows)
        how = f"{mode} mode, rows after {probe.at:%Y-%m-%d %H:%M:%S} UTC {alteration}: {altered}"
        other = _built(probe, f"{mode} mode: {alteration}", "altered")
        for before, now in zip(base, other, strict=True):
            _add_new(probe.findings, compare.compare(probe.connection, before, now, how))
        compare.drop(probe.connection, other)
        probe.checked.append(how)
    compare.drop(probe.connection, base)
    untouched = [source.name for source in probe.sources if source.moment(mode) is None]
    if untouched:
        probe.skipped.append(f"{mode} mode: {', '.join(untouched)} cannot tell what came after")


def _add_new(findings: list[Finding], more: Sequence[Finding]) -> None:
    """Keep of each column what showed it first: one leak is one finding, however often it is met."""
    known = {(finding.check, finding.model, finding.column) for finding in findings}
    findings += [f for f in more if (f.check, f.model, f.column) not in known]


def _write_sources(probe: _Probe, mode: Mode, alteration: Alteration) -> dict[str, int]:
    """Write every source with what came after altered; source -> how many rows came after."""
    folder = probe.root / "sources"
    return {
        source.name: write_altered(
            probe.connection, source, source.is_after(mode, probe.at), alteration, folder
        )
        for source in probe.sources
    }


def _built(probe: _Probe, what: str, label: str) -> list[compare.Built]:
    """Build the feature tables from scratch and copy them out."""
    probe.on_build(what)
    # What an earlier build left (an incremental table, say) must not help this one.
    probe.database.unlink(missing_ok=True)
    selected = [f"+{model.name}" for model in probe.models]
    arguments = ["--select", *selected, "--exclude-resource-type", "test", "unit_test"]
    outcome = probe.process.build_nodes(probe.at.isoformat(), arguments)
    if outcome.failures:
        failed = "\n".join(f"  {node.name}: {node.message.strip()}" for node in outcome.failures)
        raise BuildError(f"{what}: dbt could not build the feature tables:\n{failed}")
    return compare.keep(probe.connection, probe.database, probe.models, label)


def _read_compiled(probe: _Probe) -> None:
    """The static checks over what dbt compiled in the first build."""
    target = probe.root / "target"
    if not probe.database.is_file():
        probe.skipped.append("compiled SQL: nothing was built")
        return
    project = read_project(target / "manifest.json", target / "compiled")
    tables = [project.models[model.unique_id] for model in probe.models]
    behind = project.behind(tables)
    parsed = static.parse_models(behind)
    later = static.named_later(project, parsed)
    relations = Relations(project, _schemas(probe, behind), _loaded_columns(project))
    for model in behind:
        if model.unique_id in parsed:
            tree = parsed[model.unique_id]
            probe.findings += static.read_clock(model, tree)
            probe.findings += static.look_ahead(model, tree, later)
            joins = unfiltered_joins(model, tree, relations)
            said = {finding.about for finding in joins}
            edges = unbounded_reads(model, tree, relations) if model.feature_table else []
            probe.findings += [*joins, *(found for found in edges if found.about not in said)]
    probe.findings += static.read_labels(project, tables)
    probe.checked.append(f"compiled SQL of {len(parsed)} models")


def _schemas(probe: _Probe, models: Sequence[Model]) -> dict[str, dict[str, str]]:
    """Unique id -> column -> DuckDB type, as the first build made the relations."""
    import duckdb

    with duckdb.connect(str(probe.database), read_only=True) as connection:
        rows = connection.execute(
            "SELECT schema_name, table_name, column_name, data_type FROM duckdb_columns()"
        ).fetchall()
    found: dict[str, dict[str, str]] = {}
    for schema, table, column, kind in rows:
        found.setdefault(f"{schema}.{table}".lower(), {})[str(column)] = str(kind)
    named = {m.unique_id: m.relation.replace('"', "").lower().partition(".")[2] for m in models}
    return {unique_id: found[name] for unique_id, name in named.items() if name in found}


def _loaded_columns(project: Project) -> frozenset[str]:
    """The columns by which sources are loaded: when we learnt of a row, not when it happened."""
    return frozenset(
        name for source in project.sources.values() for name in static.columns_of(source.loaded_at)
    )
