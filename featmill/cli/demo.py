"""`featmill demo`: the whole chain on generated events, shown step by step.

It knows no table: what it shows comes from the contract, so it runs on any project whose sources the generator fills.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.rule import Rule
from rich.table import Table

from featmill.cli import console
from featmill.cli.build import run_build, show_outcomes
from featmill.cli.check import run_check
from featmill.cli.console import ProjectDir
from featmill.cli.export import run_export, run_verify, show_export, show_verify

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featmill.contract.catalog import Catalog, FeatureService, RequestField
    from featmill.settings import Settings
    from featmill.warehouse.model import Release
    from orchestration.dbt_process import BuildOutcome

_SEED = 42
_SPINE_ROWS = 1_000
_SHOWN_ROWS = 5


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    events: Annotated[int, typer.Option(help="How many events to generate.")] = 1_000_000,
    days: Annotated[int, typer.Option(help="How many days they span.")] = 90,
    snapshots: Annotated[int, typer.Option(help="How many daily snapshots to publish.")] = 3,
    project_dir: ProjectDir = None,
) -> None:
    """Run everything: check, generate, build, gate, publish, export, verify, train, document.

    It keeps to a home of its own ([bold].featmill/demo[/]); what you build beside it is not touched.
    """
    from featmill.settings import load_settings
    from orchestration import tasks

    started = time.perf_counter()
    with own_home(load_settings(project_dir).root):
        settings = load_settings(project_dir)
        _step("Check")
        run_check(settings)
        as_ofs = _generate(settings, events, days, snapshots)
        _step("Build, test, publish")
        outcomes = run_build(settings, as_ofs)
        show_outcomes(outcomes)
        tasks.gate(outcomes)
        _show_gates(outcomes[0])
        release = tasks.released(settings)
        catalog = tasks.load_catalog(settings)
        _show_release(settings, release)
        _step("Put online, verify")
        show_export(run_export(settings))
        show_verify(run_verify(settings))
        _read_and_train(settings, catalog, release)
        _step("Document")
        _write_docs(settings)
        _show_places(settings, time.perf_counter() - started)


def _read_and_train(settings: Settings, catalog: Catalog, release: Release) -> None:
    """One service through Feast and as a training set; the one that computes most on request through our reader."""
    for service in catalog.services[:1]:
        _step("Read and train")
        spine = _write_spine(settings, catalog, service, release)
        _show_vector(settings, catalog, service, spine)
        _show_training_set(settings, catalog, service, spine)
    if catalog.services:
        computed = max(catalog.services, key=lambda s: (len(s.request_features), len(s.features)))
        spine = _write_spine(settings, catalog, computed, release)
        _show_answer(settings, catalog, computed, spine)


@contextmanager
def own_home(root: Path) -> Iterator[None]:
    """Point the settings, ours and dbt's, at the demo's folders, its own server and its data's moments."""
    wanted = {
        "FEATMILL_HOME": ".featmill/demo",
        "FEATMILL_SOURCES": str(root / ".featmill" / "demo" / "raw"),
        # Unset: the user's Redis is no place for made-up values; their mode and moments are not for this data.
        "FEATMILL_REDIS_URL": None,
        "FEATMILL_PUBLISH_MODE": None,
        "FEATMILL_AS_OF": None,
        "FEATMILL_CUT_OFF": None,
    }
    before = {name: os.environ.get(name) for name in wanted}
    _set_environment(wanted)
    try:
        yield
    finally:
        _set_environment(before)


def _set_environment(wanted: Mapping[str, str | None]) -> None:
    for name, value in wanted.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _step(title: str) -> None:
    console.out.print(Rule(f"[bold]{title}", align="left"))


def _generate(settings: Settings, events: int, days: int, snapshots: int) -> list[str | None]:
    """Write the source files; the as_ofs to build: the days before the newest, and the newest from the data."""
    from featmill.generator import DEFAULT_END, generate

    _step("Generate")
    with console.progress() as shown:
        bar = shown.add_task("generating", total=None)
        files = generate(
            Path(settings.sources),
            events=events,
            days=days,
            seed=_SEED,
            on_progress=lambda name, done, total: shown.update(
                bar, description=name, completed=done, total=total
            ),
        )
    table = Table(
        "source file", title="Raw events and reference data, dirty on purpose", title_justify="left"
    )
    for column in ("rows", "MB"):
        table.add_column(column, justify="right")
    table.add_column("planted faults")
    for file in files:
        planted = ", ".join(f"{rows:,} {kind}" for kind, rows in file.planted.items())
        table.add_row(file.name, f"{file.rows:,}", f"{file.bytes / 1e6:.1f}", planted)
    console.out.print(table)
    newest = datetime.combine(DEFAULT_END, datetime.min.time(), UTC)
    earlier = [newest - timedelta(days=back) for back in range(snapshots - 1, 0, -1)]
    return [f"{moment:%Y-%m-%d}" for moment in earlier] + [None]


def _show_gates(outcome: BuildOutcome) -> None:
    table = Table("gate", title="Gates: every test of the build", title_justify="left")
    for column in ("passed", "warned", "failed"):
        table.add_column(column, justify="right")
    for kind, name in (("test", "data tests"), ("unit_test", "unit tests")):
        found = [result for result in outcome.results if result.kind == kind]
        table.add_row(
            name,
            str(sum(1 for r in found if r.status == "pass")),
            str(sum(1 for r in found if r.status == "warn")),
            str(sum(1 for r in found if r.failed)),
        )
    console.out.print(table)


def _show_release(settings: Settings, release: Release) -> None:
    from featmill.warehouse.registry import open_registry

    lake = open_registry(settings.lake_dir).lake
    title = f"Release {release.release_id}: as_of {release.as_of:%Y-%m-%d %H:%M} UTC"
    table = Table("table", "snapshot", title=title, title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("content")
    for name, snapshot_id in sorted(release.snapshots.items()):
        snapshot = lake.snapshot(name, snapshot_id)
        table.add_row(name, snapshot_id, f"{snapshot.rows:,}", snapshot.content_hash[:12])
    console.out.print(table)


def _write_spine(
    settings: Settings, catalog: Catalog, service: FeatureService, release: Release
) -> Path:
    """A spine for the service: entities of the release at moments of the days around it, the same every time."""
    import duckdb

    from featmill.warehouse.columns import literal, quote
    from featmill.warehouse.lake import relation_sql
    from featmill.warehouse.registry import open_registry

    lake = open_registry(settings.lake_dir).lake
    holders = {
        key: view
        for view in dict.fromkeys(ref.view for ref in service.features)
        for key in catalog.table(view).key_names
    }
    drawn = []
    for key, view in holders.items():
        rows = relation_sql([lake.snapshot(view, release.snapshots[view])])
        drawn.append(
            f"(SELECT {quote(key)}, row_number() OVER (ORDER BY md5({quote(key)}::VARCHAR)) AS spine_row "
            f"FROM (SELECT DISTINCT {quote(key)} FROM ({rows})) LIMIT {_SPINE_ROWS}) AS {quote('of_' + key)}"
        )
    keys = ", ".join(quote(key) for key in holders)
    joined = drawn[0] + "".join(f" JOIN {other} USING (spine_row)" for other in drawn[1:])
    path = settings.home_dir / f"spine_of_{service.name}.parquet"
    moment = f"TIMESTAMPTZ {literal(release.as_of.isoformat())}"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            f"COPY (SELECT {keys}, {moment} + to_hours(12) - to_minutes(spine_row * 7) AS label_at, "
            f"spine_row % 2 AS label FROM {joined} ORDER BY spine_row) TO {literal(str(path))} (FORMAT parquet)"
        )
    return path


def _first_entity(catalog: Catalog, service: FeatureService, spine: Path) -> dict[str, Any]:
    import duckdb

    keys = {key for ref in service.features for key in catalog.table(ref.view).key_names}
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM read_parquet('{spine}') LIMIT 1")
        names = [str(column[0]) for column in found.description or []]
        row = dict(zip(names, found.fetchall()[0], strict=True))
    return {name: value for name, value in row.items() if name in keys}


def _show_vector(
    settings: Settings, catalog: Catalog, service: FeatureService, spine: Path
) -> None:
    from exporters.feast.reader import online_vector

    entity = _first_entity(catalog, service, spine)
    with console.progress() as shown:
        shown.add_task("reading through Feast", total=None)
        vector = online_vector(settings, service.name, entity)
    table = Table(
        "feature",
        "value",
        title=f"{service.name} for {entity}, read with the stock Feast SDK",
        title_justify="left",
    )
    for name, value in vector.items():
        table.add_row(name, str(value))
    console.out.print(table)


def _show_answer(
    settings: Settings, catalog: Catalog, service: FeatureService, spine: Path
) -> None:
    """Read a service as a model would an hour after what serves, and what it computes on request."""
    from featmill.cli.read import patient, show_answer
    from featmill.online.server import online_target
    from featmill.serving.reader import FeatureReader
    from orchestration import tasks

    moment = tasks.released(settings).as_of + timedelta(hours=1)
    sent = {field.name: _made_up(field, moment) for field in service.request_fields}
    with FeatureReader.open(
        patient(catalog, service.name), online_target(settings), [service.name]
    ) as reader:
        entity = _first_entity(catalog, service, spine)
        show_answer(reader.read(service.name, entity, sent, as_of=moment))


def _made_up(field: RequestField, moment: datetime) -> object:
    """What a caller might send."""
    if field.type.sql.startswith("TIMESTAMP"):
        return moment - timedelta(minutes=5)
    return {"TEXT": "sent", "BOOLEAN": True}.get(field.type.sql, 1)


def _show_training_set(
    settings: Settings, catalog: Catalog, service: FeatureService, spine: Path
) -> None:
    import duckdb

    from featmill.training.training_set import TrainingRequest, build_training_set
    from featmill.warehouse.registry import open_registry

    out = settings.home_dir / f"{service.name}.parquet"
    request = TrainingRequest(
        spine=spine,
        time="label_at",
        features=service.features,
        out=out,
        status=True,
        service=service.name,
        project=settings.root,
    )
    made = build_training_set(catalog, open_registry(settings.lake_dir), request)
    with duckdb.connect() as connection:
        found = connection.execute(f"SELECT * FROM read_parquet('{out}') LIMIT {_SHOWN_ROWS}")
        columns = [str(column[0]) for column in found.description or []]
        rows = found.fetchall()
    title = f"Training set: {made.rows:,} rows x {len(made.columns)} columns; the first {len(rows)} rows, turned"
    console.out.print(_turned(title, columns, rows))


def _turned(title: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> Table:
    """Rows as columns: a training set is wider than a terminal."""
    table = Table("column", title=title, title_justify="left")
    for index in range(len(rows)):
        table.add_column(f"row {index + 1}")
    for position, name in enumerate(columns):
        table.add_row(name, *(_cell(row[position]) for row in rows))
    return table


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _write_docs(settings: Settings) -> None:
    from orchestration.dbt_process import DbtProcess

    with console.progress() as shown:
        shown.add_task("dbt docs", total=None)
        DbtProcess(settings).docs()


def _show_places(settings: Settings, seconds: float) -> None:
    table = Table(
        show_header=False, title=f"Done in {seconds:.0f} s. Look at", title_justify="left"
    )
    table.add_row("dbt docs, lineage", str(settings.root / "target" / "static_index.html"))
    table.add_row("people's SQL", str(settings.features_database))
    table.add_row("lake", str(settings.lake_dir))
    table.add_row("Feast repository", str(settings.feast_repository))
    table.add_row("commands on this data", "FEATMILL_HOME=.featmill/demo featmill snapshots")
    console.out.print(table)
