"""The verdicts as a page: what each rule and edge comes to on each engine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featmill.conformance.case import Case
from featmill.conformance.runner import ENGINES, PROCESS, Matrix
from featmill.conformance.verdict import Outcome, Verdict

_HEAD = """\
# Conformance

<!-- Written by `featmill conformance --engine all --markdown`; a test compares this page with a run. -->

Every rule of what values mean ([the rules](../explanation/rules.md)) has at least one case: inputs and the answer the
rules demand, as data in `featmill/conformance/cases`. `featmill conformance` runs them on our engines, and with
`--engine all` on stock Feast as well. An engine is compared with *our* rules: WRONG means another answer than these,
which another project may have decided otherwise. A dash: the engine has no words for the case, as Feast's offline
stores have none for features from events, last non-NULL values, defaults and deletes.
"""
_VERDICTS: Sequence[tuple[Verdict, str]] = (
    (Verdict.OK, "the answer the rules demand"),
    (Verdict.WRONG, "another answer, a lost row, or bad input accepted"),
    (Verdict.ERROR, "the engine fell over"),
    (Verdict.INEXPRESSIBLE, "the engine has no words for the case"),
)


def markdown(matrix: Matrix, cases: Sequence[Case]) -> str:
    """The reference page: `cases` are all cases, `matrix` the verdicts of those that hold tables."""
    parts = [_HEAD, "## Summary\n", summary(matrix), "## Case by case\n", _by_case(matrix)]
    parts += ["## What the engines that are not ours got wrong\n", _differences(matrix)]
    parts += ["## Rules that tests prove\n", _proved(cases)]
    return "\n".join(parts)


def summary(matrix: Matrix) -> str:
    """Engine by verdict, counted."""
    lines = [
        _row(["engine", "what it is", *(verdict.value for verdict, _ in _VERDICTS)]),
        _row(["---", "---", *("---:" for _ in _VERDICTS)]),
    ]
    for engine in matrix.engines:
        counts = [str(matrix.count(engine, verdict)) for verdict, _ in _VERDICTS]
        lines.append(_row([f"`{engine}`", ENGINES[engine], *counts]))
    return "\n".join(lines) + "\n"


def _by_case(matrix: Matrix) -> str:
    lines = [
        _row(["case", "rules", "edges", *(f"`{engine}`" for engine in matrix.engines)]),
        _row(["---"] * (3 + len(matrix.engines))),
    ]
    for case in matrix.cases:
        verdicts = [_short(matrix.outcomes[case.id][engine]) for engine in matrix.engines]
        lines.append(_row([case.id, _numbers(case), ", ".join(case.edges), *verdicts]))
    return "\n".join(lines) + "\n"


def _differences(matrix: Matrix) -> str:
    """Each case that another project answers otherwise, with the reason for our answer."""
    lines = []
    for case in matrix.cases:
        outcomes: Mapping[str, Outcome] = matrix.outcomes[case.id]
        wrong = [e for e in matrix.engines if outcomes[e].verdict in (Verdict.WRONG, Verdict.ERROR)]
        if wrong:
            lines.append(f"- `{case.id}` ({', '.join(wrong)}): {case.note}")
    return "\n".join(lines or ["None."]) + "\n"


def _proved(cases: Sequence[Case]) -> str:
    lines = [_row(["case", "rules", "what holds", "proved by"]), _row(["---"] * 4)]
    for case in (case for case in cases if case.kind == PROCESS):
        proofs = "<br>".join(f"`{proof}`" for proof in case.proved_by)
        lines.append(_row([case.id, _numbers(case), case.note, proofs]))
    return "\n".join(lines) + "\n"


def _numbers(case: Case) -> str:
    return ", ".join(str(rule) for rule in case.rules)


def _short(outcome: Outcome) -> str:
    return "—" if outcome.verdict is Verdict.INEXPRESSIBLE else outcome.verdict.value


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
