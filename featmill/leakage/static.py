"""What the compiled SQL of feature tables shows: the clock, chance, a look ahead, labels, and joins without a time.

A reading of text: it finds what is written, not what it comes to. What it cannot know (a frame over rows that were
filtered before) the altered sources decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import BuildError
from featmill.leakage.finding import Finding

if TYPE_CHECKING:
    from sqlglot import exp

    from featmill.leakage.project import Model, Project

#: Functions whose value depends on when or how often they are called (rule 2).
_CLOCK_AND_CHANCE = frozenset(
    {
        "now",
        "today",
        "current_date",
        "current_datetime",
        "current_time",
        "current_timestamp",
        "get_current_time",
        "get_current_timestamp",
        "current_localtime",
        "current_localtimestamp",
        "localtime",
        "localtimestamp",
        "transaction_timestamp",
        "random",
        "rand",
        "setseed",
        "uuid",
        "uuidv4",
        "uuidv7",
        "gen_random_uuid",
        "nextval",
    }
)


def columns_of(expression: str | None) -> set[str]:
    """The columns that an SQL expression reads, in lower case; none of None."""
    from sqlglot import exp, parse_one

    if expression is None:
        return set()
    parsed = parse_one(expression, dialect="duckdb")
    return {column.name.lower() for column in parsed.find_all(exp.Column)}


def parse_models(models: Sequence[Model]) -> dict[str, exp.Expr]:
    """Unique id -> the parsed SQL of the models that have some.

    Raises:
        BuildError: a compiled text is no SQL that can be read.
    """
    from sqlglot import parse_one
    from sqlglot.errors import SqlglotError

    parsed = {}
    for model in models:
        if model.sql.strip():
            try:
                parsed[model.unique_id] = parse_one(model.sql, dialect="duckdb")
            except SqlglotError as error:
                raise BuildError(
                    f"{model.file}: the compiled SQL cannot be read: {error}"
                ) from error
    return parsed


def read_clock(model: Model, parsed: exp.Expr) -> list[Finding]:
    """Calls whose value depends on the clock or on chance, each once (rule 2)."""
    from sqlglot import exp

    found = dict.fromkeys(
        name for call in parsed.find_all(exp.Func, exp.Column) if (name := _volatile(call))
    )
    findings = [
        Finding(
            "clock",
            model.file,
            model.name,
            f"{name} gives another value at each build; take featmill.as_of() (rule 2)",
            about=name.partition("(")[0],
        )
        for name in found
    ]
    if parsed.find(exp.TableSample):
        message = "a sample of the rows is another one at each build (rule 2)"
        findings.append(Finding("clock", model.file, model.name, message, about="sample"))
    return findings


def _volatile(call: exp.Expr) -> str | None:
    """The name of a call of the clock or of chance, as SQL spells it."""
    from sqlglot import exp

    if isinstance(call, exp.Column):
        # DuckDB reads an unquoted current_date without parentheses; sqlglot takes some of these for columns.
        name = call.name.lower()
        is_call = not call.table and not call.this.quoted and name.startswith(("current_", "local"))
        return name if is_call and name in _CLOCK_AND_CHANCE else None
    if isinstance(call, exp.Anonymous):
        name = call.name.lower()
    elif isinstance(call, exp.Func):
        name = {"rand": "random"}.get(call.sql_name().lower(), call.sql_name().lower())
    else:
        return None
    if name == "age" and len(list(call.iter_expressions())) == 1:
        return "age() of one moment"
    return f"{name}()" if name in _CLOCK_AND_CHANCE else None


def look_ahead(
    model: Model, parsed: exp.Expr, later: Mapping[str, frozenset[str]]
) -> list[Finding]:
    """Window functions that reach rows after the current one, where a feature table uses what they give.

    `later` is, by unique id, the columns that the model itself and what descends from it name: an `lead` that nobody
    asks for harms nobody.
    """
    from sqlglot import exp

    findings = []
    for window in parsed.find_all(exp.Window):
        if not _reaches_ahead(window):
            continue
        alias = _projected_as(window)
        if alias is not None and alias not in later[model.unique_id]:
            continue
        named = f" ({alias})" if alias else ""
        text = window.sql(dialect="duckdb")[:100]
        message = f"{text}{named} reads rows that come later; a feature at t knows nothing after t (rule 12)"
        about = "following" if " FOLLOWING" in text.upper() else "lead"
        found = Finding("looks ahead", model.file, model.name, message, column=alias, about=about)
        findings.append(found)
    return findings


def _reaches_ahead(window: exp.Expr) -> bool:
    from sqlglot import exp

    if isinstance(window.this, exp.Lead) or isinstance(
        getattr(window.this, "this", None), exp.Lead
    ):
        return True
    spec = window.args.get("spec")
    sides = [] if spec is None else [spec.args.get("start_side"), spec.args.get("end_side")]
    return "FOLLOWING" in [str(side).upper() for side in sides if side is not None]


def _projected_as(expression: exp.Expr) -> str | None:
    """The name of the column that the expression becomes a part of, in lower case; None in a condition."""
    from sqlglot import exp

    node: exp.Expr | None = expression
    while node is not None and not isinstance(node.parent, exp.Select):
        if isinstance(node, exp.Where | exp.Qualify | exp.Having | exp.Join):
            return None
        node = node.parent
    return node.alias.lower() if isinstance(node, exp.Alias) else None


def named_later(project: Project, parsed: Mapping[str, exp.Expr]) -> dict[str, frozenset[str]]:
    """Unique id -> the columns that it and its descendants among the parsed models name, features included.

    A column that is carried by `select *` is named where it is used, or else is a column of a feature table.
    """
    from sqlglot import exp

    own = {}
    for unique_id, tree in parsed.items():
        named = {column.name.lower() for column in tree.find_all(exp.Column)}
        model = project.models[unique_id]
        own[unique_id] = named | (
            {name.lower() for name in model.columns} if model.feature_table is not None else set()
        )
    children: dict[str, list[str]] = {}
    for unique_id in parsed:
        for parent in project.models[unique_id].parents:
            children.setdefault(parent, []).append(unique_id)
    return {unique_id: frozenset(_gathered(unique_id, own, children)) for unique_id in parsed}


def _gathered(
    unique_id: str, own: Mapping[str, set[str]], children: Mapping[str, Sequence[str]]
) -> set[str]:
    queue, seen, names = [unique_id], {unique_id}, set[str]()
    for current in queue:  # grows while it is walked
        names |= own[current]
        for child in children.get(current, ()):
            if child not in seen:
                seen.add(child)
                queue.append(child)
    return names


def read_labels(project: Project, tables: Sequence[Model]) -> list[Finding]:
    """Labels that a feature table descends from."""
    findings = []
    for table in tables:
        behind = project.behind([table])
        for model in behind:
            for parent in model.parents:
                if parent in project.labels:
                    name = parent.rpartition(".")[2]
                    message = f"reads {name}, which holds labels ({project.labels[parent]})"
                    findings.append(Finding("labels", model.file, model.name, message, about=name))
    return list(dict.fromkeys(findings))


def with_lines(findings: Sequence[Finding], root: Path) -> list[Finding]:
    """The findings with the line in their file where the words that they are about stand, as far as that is plain."""
    return [replace(finding, line=_line(finding, root)) for finding in findings]


def _line(finding: Finding, root: Path) -> int | None:
    path = root / finding.file
    if not path.is_file():
        return None
    lines = path.read_text(encoding="utf-8").lower().splitlines()
    for word in (finding.about, finding.column):
        for number, line in enumerate(lines, start=1):
            if word is not None and re.search(rf"\b{re.escape(word.lower())}\b", line):
                return number
    return None
