"""Run the whole chain on the real invoice lines: `make example-retail`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import duckdb
from rich.rule import Rule
from rich.table import Table

from featmill.cli import console
from featmill.cli.build import run_build, show_outcomes
from featmill.cli.export import run_export, run_verify, show_export, show_verify
from featmill.errors import FeatmillError, SourceError
from featmill.settings import Settings, load_settings
from featmill.training.training_set import TrainingRequest, build_training_set
from featmill.warehouse.registry import open_registry
from orchestration import tasks
from orchestration.dbt_process import DbtProcess

PROJECT = Path(__file__).resolve().parent
LANDING_DAYS = 30
LABELS = 4_000


def main() -> None:
    """Build, export, verify and train; exit 1 with a message where a step fails."""
    try:
        _run()
    except FeatmillError as error:
        console.report(error)
        sys.exit(error.exit_code)


def _run() -> None:
    lines = _lines()
    os.environ["FEATMILL_SOURCES"] = str(lines.parent)
    settings = load_settings(PROJECT)
    DbtProcess(settings).deps()
    as_ofs = _as_ofs(lines)
    console.out.print(
        Rule(f"[bold]{len(as_ofs)} daily snapshots, {as_ofs[0]} to {as_ofs[-1]}", align="left")
    )
    started = time.perf_counter()
    outcomes = run_build(settings, list(as_ofs))
    seconds = time.perf_counter() - started
    tasks.gate(outcomes)
    show_outcomes(outcomes)
    console.out.print(f"{seconds:.0f} s, {seconds / len(as_ofs):.1f} s a snapshot")
    _show_quarantine(settings)
    console.out.print(Rule("[bold]Online", align="left"))
    show_export(run_export(settings))
    show_verify(run_verify(settings))
    console.out.print(Rule("[bold]Training", align="left"))
    _train(settings, lines)


def _lines() -> Path:
    repository = PROJECT.parents[1]
    folder = Path(os.environ.get("FEATMILL_REAL_DATA", "../shared/data"))
    path = (repository / folder / "online_retail" / "online_retail.parquet").resolve()
    if not path.is_file():
        raise SourceError(
            f"{path} is missing: expected the UCI Online Retail lines as Parquet",
            hint="set FEATMILL_REAL_DATA to the folder that holds online_retail/online_retail.parquet",
        )
    return path


def _as_ofs(lines: Path) -> list[str]:
    """The midnights that end the last landing days."""
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"SELECT DISTINCT (landing_date + 1)::VARCHAR AS day FROM read_parquet('{lines}') ORDER BY day"
        ).fetchall()
    return [str(row[0]) for row in rows[-LANDING_DAYS:]]


def _show_quarantine(settings: Settings) -> None:
    counted = DbtProcess(settings).show(
        "select refused_because, count(*) as lines from {{ ref('stg_retail__quarantined_lines') }} "
        "group by all order by lines desc"
    )
    table = Table(
        "quarantined because", "lines", title="Lines that were not taken", title_justify="left"
    )
    for reason, lines in counted:
        table.add_row(str(reason), f"{lines:,}")
    console.out.print(table)


def _train(settings: Settings, lines: Path) -> None:
    """Label 4,000 bought lines of the last days with their value, and join what was known just then."""
    spine = settings.home_dir / "labels.parquet"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(
            "COPY (SELECT customer_id, upper(trim(stock_code)) AS stock_code, "
            "timezone('Europe/London', invoice_ts) AS bought_at, quantity * unit_price AS line_value "
            f"FROM read_parquet('{lines}') "
            "WHERE customer_id IS NOT NULL AND quantity > 0 AND unit_price > 0 AND invoice_ts >= DATE '2011-11-10' "
            f"ORDER BY md5(line_id::VARCHAR) LIMIT {LABELS}) TO '{spine}' (FORMAT parquet)"
        )
    catalog = tasks.load_catalog(settings)
    service = catalog.services[0]
    request = TrainingRequest(
        spine=spine,
        time="bought_at",
        features=service.features,
        out=settings.home_dir / f"{service.name}.parquet",
        status=True,
        service=service.name,
        project=settings.root,
    )
    made = build_training_set(catalog, open_registry(settings.lake_dir), request)
    views = list(dict.fromkeys(ref.view for ref in service.features))
    with duckdb.connect() as connection:
        table = Table(
            "view",
            "ok",
            "expired",
            "missing",
            title=f"{made.rows:,} rows: {made.path}",
            title_justify="left",
        )
        for view in views:
            counts = connection.execute(
                f"SELECT count(*) FILTER (WHERE status = 'ok'), count(*) FILTER (WHERE status = 'expired'), "
                f"count(*) FILTER (WHERE status = 'missing') FROM (SELECT {view}__status AS status "
                f"FROM read_parquet('{made.path}'))"
            ).fetchall()[0]
            table.add_row(view, *(f"{count:,}" for count in counts))
    console.out.print(table)


if __name__ == "__main__":
    main()
