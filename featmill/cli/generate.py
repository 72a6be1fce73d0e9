"""`featmill generate`: demonstration data of any size."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from featmill.generator import DEFAULT_END, DirtyShares, FileFormat, GeneratedFile, generate
from featmill.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.table import Table

_SHARES = "What is wrong on purpose (shares of the events, 0 to 0.5)"
_DEFAULTS = DirtyShares()

Events = Annotated[int, typer.Option(help="Rows of the events; everything else scales with it.")]
Days = Annotated[int, typer.Option(help="How many days the data spans.")]
Seed = Annotated[int, typer.Option(help="Same seed, same rows; another seed, other data.")]
End = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d"],
        help="The midnight, in UTC, the data ends at.",
        show_default=DEFAULT_END.isoformat(),
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="The folder of the files; files of the same name are replaced.",
        show_default="data/raw in the project",
    ),
]
Format = Annotated[FileFormat, typer.Option("--format", help="The files' format.")]
Late = Annotated[
    float, typer.Option(help="Ingested hours to five days later.", rich_help_panel=_SHARES)
]
Duplicate = Annotated[float, typer.Option(help="Sent twice under one id.", rich_help_panel=_SHARES)]
OutOfOrder = Annotated[
    float, typer.Option(help="Landing behind its turn in the file.", rich_help_panel=_SHARES)
]
NullKey = Annotated[float, typer.Option(help="Without its key.", rich_help_panel=_SHARES)]
NullTime = Annotated[float, typer.Option(help="Without its time.", rich_help_panel=_SHARES)]
Future = Annotated[
    float, typer.Option(help="Dated hours to days after it was ingested.", rich_help_panel=_SHARES)
]


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("generate")(generate_command)


def generate_command(
    events: Events = 1_000_000,
    days: Days = 90,
    seed: Seed = 42,
    end: End = None,
    out: Out = None,
    file_format: Format = "parquet",
    late: Late = _DEFAULTS.late,
    duplicate: Duplicate = _DEFAULTS.duplicate,
    out_of_order: OutOfOrder = _DEFAULTS.out_of_order,
    null_key: NullKey = _DEFAULTS.null_key,
    null_time: NullTime = _DEFAULTS.null_time,
    future: Future = _DEFAULTS.future,
) -> None:
    """Generate demonstration data: deterministic, realistic, and dirty on purpose."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    folder = load_settings().root / "data" / "raw" if out is None else out
    shares = DirtyShares(late, duplicate, out_of_order, null_key, null_time, future)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("generate", total=None)

        def show(name: str, done: int, total: int) -> None:
            progress.update(task, description=name.replace("_", " "), completed=done, total=total)

        files = generate(
            folder,
            events=events,
            days=days,
            seed=seed,
            end=DEFAULT_END if end is None else end.date(),
            shares=shares,
            file_format=file_format,
            on_progress=show,
        )
    console = Console()
    console.print(_file_table(files, folder))
    for file in files:
        if file.planted:
            console.print(_planted_table(file.name, file.rows, file.planted))


def _file_table(files: list[GeneratedFile], folder: Path) -> Table:
    from rich.filesize import decimal
    from rich.table import Table

    table = Table("file", title=f"Written to {folder}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("size", justify="right")
    for file in files:
        table.add_row(file.path.name, f"{file.rows:,}", decimal(file.bytes))
    return table


def _planted_table(name: str, rows: int, planted: Mapping[str, int]) -> Table:
    from rich.table import Table

    table = Table("fault", title=f"Planted in {name}", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("share", justify="right")
    for kind, count in planted.items():
        table.add_row(kind.replace("_", " "), f"{count:,}", f"{count / rows:.2%}")
    return table
