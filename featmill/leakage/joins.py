"""Relations that feature SQL reads whatever their time: joins to a current state, windows without a right edge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.leakage.finding import Finding

if TYPE_CHECKING:
    from sqlglot import exp
    from sqlglot.optimizer.scope import Scope

    from featmill.leakage.project import Model, Project

#: In compiled SQL, what the macros of a run's moments leave: such a model is as it was at the moment.
_MARKS = ("featmill:as_of", "featmill:cut_off")


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation that feature SQL reads: its name for people and its columns that hold moments, in lower case.

    `bounding` are those of them that say when something happened, rather than when we learnt of it.
    """

    name: str
    times: frozenset[str]
    bounding: frozenset[str]


class Relations:
    """The relations of a built project: what each knows of time."""

    def __init__(
        self,
        project: Project,
        schemas: Mapping[str, Mapping[str, str]],
        loaded_at: frozenset[str],
    ) -> None:
        """`schemas`: unique id of a model -> column -> DuckDB type; `loaded_at`: the columns sources are loaded by."""
        self._project = project
        self._schemas = schemas
        self._loaded_at = loaded_at
        self._by_name = {_normal(model.relation): model for model in project.models.values()}

    def of(self, table: exp.Table) -> Relation | None:
        """What feature SQL must bound of a relation; None of a seed, and of what is as of the moment already."""
        model = self._by_name.get(_normal(table.sql(dialect="duckdb", comments=False)))
        if model is None or self._is_dated(model):
            return None
        columns = self._schemas.get(model.unique_id, {})
        times = {n.lower() for n, kind in columns.items() if kind.startswith(("TIMESTAMP", "DATE"))}
        return Relation(
            model.name, frozenset(times), frozenset(times - self._loaded_at) or frozenset(times)
        )

    def _is_dated(self, model: Model) -> bool:
        """Whether it holds what was at the run's moment: it asks for it, or all that it reads does; seeds always do."""
        if any(mark in model.sql for mark in _MARKS):
            return True
        parents = [p for p in model.parents if not p.startswith("seed.")]
        if any(parent not in self._project.models for parent in parents):
            return False
        return all(self._is_dated(self._project.models[parent]) for parent in parents)


def _normal(relation: str) -> str:
    """`"build"."main"."x" AS y` -> `build.main.x`."""
    return relation.split(" AS ")[0].replace('"', "").lower().strip()


def unfiltered_joins(model: Model, parsed: exp.Expr, relations: Relations) -> list[Finding]:
    """Joins to a relation without a condition on any of its moments: its rows as they are now, not as of then."""
    from sqlglot.optimizer.scope import traverse_scope

    findings = []
    for scope in traverse_scope(parsed):
        for join in scope.expression.args.get("joins") or ():
            source = scope.selected_sources.get(join.alias_or_name, (None, None))[1]
            if source is None or str(join.args.get("kind") or "").upper() in ("SEMI", "ANTI"):
                continue
            joined = [r for t in _tables(source) if (r := relations.of(t)) is not None]
            times = frozenset(name for relation in joined for name in relation.times)
            if joined and not _names_any(_conditions(scope, source, join), times):
                names = sorted({relation.name for relation in joined})
                what = "that has no time column" if not times else "with no condition on its time"
                message = f"joins {', '.join(names)} {what}: rows take what is known now, not what was known then"
                findings.append(Finding("no time", model.file, model.name, message, about=names[0]))
    return list(dict.fromkeys(findings))


def unbounded_reads(model: Model, parsed: exp.Expr, relations: Relations) -> list[Finding]:
    """Relations whose rows reach a feature table without an upper bound on when they happened (rule 4)."""
    from sqlglot.optimizer.scope import traverse_scope

    scopes = list(traverse_scope(parsed))
    open_reads: dict[int, dict[str, str]] = {}
    for scope in scopes:  # what a scope reads comes before it
        open_reads[id(scope.expression)] = _open_reads(scope, relations, open_reads)
    root = open_reads.get(id(scopes[-1].expression), {}) if scopes else {}
    return [
        Finding(
            "no right edge",
            model.file,
            model.name,
            f"reads {name} with no condition that its time is before the moment (rule 4)",
            column=column or None,
            about=name,
        )
        for name, column in root.items()
    ]


def _open_reads(
    scope: Scope, relations: Relations, open_reads: Mapping[int, Mapping[str, str]]
) -> dict[str, str]:
    """The relations whose rows leave a SELECT unbounded, each with the column that shows it ('' for any)."""
    from sqlglot import exp

    if isinstance(scope.expression, exp.SetOperation):
        sides = [scope.expression.this.unnest(), scope.expression.expression.unnest()]
        return {k: v for side in sides for k, v in open_reads.get(id(side), {}).items()}
    reads: list[str] = []
    for _, source in scope.selected_sources.values():
        if isinstance(source, exp.Table):
            found = relations.of(source)
            reads += [found.name] if found is not None and found.times else []
        else:
            reads += open_reads.get(id(source.expression), {})
    bounding = (relations.of(table) for table in _tables(scope))
    times = frozenset(name for found in bounding if found is not None for name in found.bounding)
    column = _unbounded_column(scope, times) if reads else None
    return {} if column is None else dict.fromkeys(reads, column)


def _unbounded_column(scope: Scope, times: frozenset[str]) -> str | None:
    """None where the scope bounds what it reads; else the column that does not, '' where it is all of them."""
    from sqlglot import exp

    select = scope.expression
    if not isinstance(select, exp.Select):
        return ""
    if any(_is_upper_bound(node, times) for node in _where(select)):
        return None
    aggregates = [a for a in select.find_all(exp.AggFunc) if a.parent_select is select]
    for aggregate in aggregates:
        holder = aggregate.find_ancestor(exp.Filter, exp.Select)
        filtered = [] if not isinstance(holder, exp.Filter) else [holder.expression]
        if not any(_is_upper_bound(node, times) for node in filtered):
            alias = aggregate.find_ancestor(exp.Alias, exp.Select)
            return alias.alias if isinstance(alias, exp.Alias) else ""
    return None if aggregates else ""


def _is_upper_bound(condition: exp.Expr, times: frozenset[str]) -> bool:
    """Whether a condition says that one of these columns is before something."""
    from sqlglot import exp

    for found in condition.find_all(exp.LT, exp.LTE, exp.GT, exp.GTE, exp.EQ, exp.Between):
        lower = found.right if isinstance(found, exp.GT | exp.GTE) else found.this
        sides = [found.left, found.right] if isinstance(found, exp.EQ) else [lower]
        if any(column.name.lower() in times for s in sides for column in s.find_all(exp.Column)):
            return True
    return False


def _where(select: exp.Expr) -> list[exp.Expr]:
    """The conditions that decide which rows a SELECT keeps."""
    clauses = [select.args.get(name) for name in ("where", "qualify", "having")]
    joins = [join.args.get("on") for join in select.args.get("joins") or ()]
    return [clause for clause in [*clauses, *joins] if clause is not None]


def _conditions(scope: Scope, source: exp.Expr | Scope, join: exp.Expr) -> Iterator[exp.Expr]:
    """Every condition that a joined source's rows have passed when the join is done."""
    from sqlglot import exp

    yield from (
        on for on in [join.args.get("on"), *(join.args.get("using") or ())] if on is not None
    )
    clauses = [scope.expression.args.get(name) for name in ("where", "qualify")]
    yield from (clause for clause in clauses if clause is not None)
    for inner in _scopes(source):
        select = inner.expression
        yield from _where(select) if isinstance(select, exp.Select) else ()
        yield from (f for f in select.find_all(exp.Filter) if f.parent_select is select)


def _scopes(source: exp.Expr | Scope) -> Iterator[Scope]:
    """The SELECTs that a source stands on, through CTEs, subqueries and unions."""
    from sqlglot.optimizer.scope import Scope

    if isinstance(source, Scope):
        yield source
        inner = [selected for _, selected in source.selected_sources.values()]
        for child in [*inner, *source.set_operation_scopes]:
            yield from _scopes(child)


def _names_any(conditions: Iterator[exp.Expr], names: frozenset[str]) -> bool:
    from sqlglot import exp

    return any(
        column.name.lower() in names
        for condition in conditions
        for column in condition.find_all(exp.Column, exp.Identifier)
    )


def _tables(source: exp.Expr | Scope) -> Iterator[exp.Table]:
    """The relations that a source of a SELECT stands on, through CTEs, subqueries and unions."""
    from sqlglot import exp

    if isinstance(source, exp.Table):
        yield source
    for scope in _scopes(source):
        for _, selected in scope.selected_sources.values():
            if isinstance(selected, exp.Table):
                yield selected
