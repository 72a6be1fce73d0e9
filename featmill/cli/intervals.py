"""`featmill intervals`: which dates of which feature table are complete, missing or stale."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from featmill.cli import console
from featmill.cli.backfill import read_dates
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from featmill.warehouse.intervals import Interval

#: State -> its sign in the calendar, which needs no colour to be told apart, and its style.
_SIGNS = {
    "complete": ("●", "green"),
    "late": ("◐", "yellow"),
    "stale": ("○", "yellow"),
    "missing": ("·", "dim"),
    "failed": ("✗", "bold red"),
    "blocked": ("▪", "red"),
    "expired": ("-", "dim"),
}
#: Listed one by one below the calendar; the others speak for themselves.
_TOLD = ("failed", "blocked", "stale", "late")
_MOST_TOLD = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(intervals)


def intervals(
    table: Annotated[
        list[str] | None, typer.Option(help="Only this feature table; may be given several times.")
    ] = None,
    first: Annotated[
        str | None, typer.Option("--from", help="The first date; without: the first there is.")
    ] = None,
    last: Annotated[
        str | None, typer.Option("--to", help="The last date; without: the last there is.")
    ] = None,
    step: Annotated[
        str, typer.Option(help="From one date to the next: a duration such as 1d or 6h.")
    ] = "1d",
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON list of the intervals on standard output.")
    ] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Show what is complete, missing, stale (another definition), late (rows arrived since), failed or expired."""
    from featmill.settings import load_settings
    from orchestration.backfill import Backfill

    if (first is None) != (last is None):
        raise UsageError("a range has two ends", hint="give --from and --to, or neither")
    dates = None if first is None or last is None else read_dates(first, last, step)
    found = Backfill(load_settings(project_dir)).intervals(dates, table or None)
    if as_json:
        print(json.dumps([_as_json(interval) for interval in found], indent=1))
        return
    if not found:
        console.out.print(
            "nothing has been built yet; featmill backfill --from ... --to ... fills a range"
        )
        return
    _show(found)


def _show(found: Sequence[Interval]) -> None:
    days = [interval for interval in found if _is_day(interval.as_of)]
    for table in dict.fromkeys(interval.table for interval in found):
        mine = [interval for interval in days if interval.table == table]
        counts = Counter(interval.state.value for interval in found if interval.table == table)
        said = ", ".join(f"{counts[state]} {state}" for state in _SIGNS if counts[state])
        console.out.print(Text.assemble((table, "bold"), f"  {said}"))
        if mine:
            console.out.print(_calendar(mine))
    console.out.print(_legend(), soft_wrap=True)
    others = [interval for interval in found if not _is_day(interval.as_of)]
    told = [i for i in days if i.state.value in _TOLD and i.because]
    listed = [*others, *sorted(told, key=lambda i: _TOLD.index(i.state.value))]
    if listed:
        console.out.print(_listing(listed[:_MOST_TOLD]))
    if len(listed) > _MOST_TOLD:
        console.out.print(f"and {len(listed) - _MOST_TOLD} more: --json has them all")


def _calendar(days: Sequence[Interval]) -> Table:
    """A row for each month, a sign for each of its days; days that were not asked for stay empty."""
    signs: dict[tuple[int, int], dict[int, str]] = {}
    for interval in days:
        day = interval.as_of.astimezone(UTC).date()
        signs.setdefault((day.year, day.month), {})[day.day] = interval.state.value
    grid = Table(box=None, padding=(0, 0), show_header=True, header_style="dim")
    grid.add_column("", width=9)
    for number in range(1, 32):
        grid.add_column(
            f"{number:>2}" if number == 1 or number % 5 == 0 else "", width=2, justify="right"
        )
    for (year, month), states in signs.items():
        cells = [
            Text(*_SIGNS[states[number]]) if number in states else Text("")
            for number in range(1, 32)
        ]
        grid.add_row(f"  {date(year, month, 1):%Y-%m}", *cells)
    return grid


def _legend() -> Text:
    parts = [Text.assemble((sign, style), f" {state}  ") for state, (sign, style) in _SIGNS.items()]
    return Text("  ").append_text(Text().join(parts))


def _listing(found: Sequence[Interval]) -> Table:
    table = Table(title_justify="left")
    for column in ("table", "as_of", "state", "because", "snapshot"):
        table.add_column(column, overflow="fold")
    for interval in found:
        sign, style = _SIGNS[interval.state.value]
        table.add_row(
            interval.table,
            f"{interval.as_of:%Y-%m-%d %H:%M:%S}".removesuffix(" 00:00:00"),
            Text(f"{sign} {interval.state.value}", style),
            Text(interval.because),
            "" if interval.snapshot is None else interval.snapshot.snapshot_id,
        )
    return table


def _as_json(interval: Interval) -> dict[str, object]:
    snapshot = interval.snapshot
    return {
        "table": interval.table,
        "as_of": interval.as_of.isoformat(),
        "state": interval.state.value,
        "because": interval.because,
        "late_rows": interval.late_rows,
        "snapshot": None if snapshot is None else snapshot.snapshot_id,
        "fingerprint": None if snapshot is None else snapshot.fingerprint,
        "cut_off": None if snapshot is None else snapshot.cut_off.isoformat(),
    }


def _is_day(moment: datetime) -> bool:
    return moment.astimezone(UTC).time() == time(0)
