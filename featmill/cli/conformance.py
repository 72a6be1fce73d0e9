"""`featmill conformance`: the rules as cases, run on our engines and on others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from featmill.cli import console

if TYPE_CHECKING:
    from featmill.conformance.case import Case
    from featmill.conformance.runner import Matrix
    from featmill.conformance.verdict import Outcome

_ALL = "all"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(conformance)


def conformance(
    engine: Annotated[
        list[str] | None,
        typer.Option(help="An engine to run, several times for several, or `all`. Default: ours."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Only cases whose name holds this text, such as `ttl`.")
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the reference page instead of a table.")
    ] = False,
) -> None:
    """Run the rules' cases: inputs and the answers they demand, as data.

    Exits with 1 where an engine of ours gives another answer.
    """
    from featmill.conformance import report
    from featmill.conformance.case import load_cases
    from featmill.conformance.runner import ENGINES, OURS, run

    wanted = list(engine or OURS)
    engines = list(ENGINES) if _ALL in wanted else wanted
    cases = _chosen(only)
    with console.progress() as shown:
        bar = shown.add_task("cases", total=len(cases) * len(engines))

        def on_case(outcome: Outcome) -> None:
            shown.update(bar, advance=1, description=f"{outcome.engine}: {outcome.case.id}")

        matrix = run(engines, cases, on_case)
    if markdown:
        typer.echo(report.markdown(matrix, load_cases()), nl=False)
    else:
        _show(matrix)
    if any(matrix.failures(name) for name in engines if name in OURS):
        raise typer.Exit(1)


def _chosen(only: str | None) -> list[Case]:
    from featmill.conformance.runner import data_cases
    from featmill.errors import UsageError

    cases = [case for case in data_cases() if only is None or only in case.id]
    if not cases:
        raise UsageError(f"no case has {only!r} in its name", hint="try lookup, window, calendar")
    return cases


def _show(matrix: Matrix) -> None:
    """Every case by engine, then what went wrong in words, then the counts."""
    from rich.table import Table
    from rich.text import Text

    from featmill.conformance.verdict import Verdict

    table = Table("case", "rules", *matrix.engines, title="Conformance", title_justify="left")
    for case in matrix.cases:
        verdicts = [matrix.outcomes[case.id][name].verdict.value for name in matrix.engines]
        table.add_row(case.id, ", ".join(map(str, case.rules)), *verdicts)
    console.out.print(table)
    for name in matrix.engines:
        for outcome in matrix.failures(name):
            said = f"{name}: {outcome.case.id}: {outcome.verdict.value}: {outcome.detail}"
            console.out.print(Text(said), soft_wrap=True)
    for name in matrix.engines:
        counts = ", ".join(f"{matrix.count(name, verdict)} {verdict.value}" for verdict in Verdict)
        console.out.print(f"{name}: {counts}", highlight=False)
