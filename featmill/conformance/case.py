"""A conformance case: the tables it is given, what is declared of them, and the answer the rules demand.

The cases are JSON lines in `cases/`, one case a line, written from the rules and never from a run of ours:

| key | what it holds |
|---|---|
| `id` | the name, unique over all files |
| `rules` | numbers of the rules it checks |
| `edges` | the edge list's entries it stands for |
| `kind` | `lookup`, `window`, `event` or `process` |
| `note` | why the answer is what it is |
| `declaration` | what a project would declare: keys, ttl, features, hop |
| `tables` | name -> `{columns: [[name, DuckDB type]], rows: [[value]]}`; a moment is an ISO 8601 text |
| `expected` | a table of the answer, or `{error, says}` where it is refused |
| `proved_by` | of a `process`: the tests that prove it, as `tests/path.py::name` |
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from featmill.warehouse.columns import literal, quote


@dataclass(frozen=True, slots=True)
class Table:
    """A table as data: `columns` are (name, DuckDB type), a cell is a JSON value that casts to its column's type."""

    columns: tuple[tuple[str, str], ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names."""
        return tuple(name for name, _ in self.columns)

    def sql(self) -> str:
        """The DuckDB `SELECT` of its rows, in order, each cell cast to its column's type."""
        if not self.columns:
            # The answer to a lookup of no features at all; DuckDB has no table without columns.
            return "SELECT 1 WHERE false"
        cells = [f"c{number}" for number in range(len(self.columns))]
        picked = ", ".join(
            f"CAST({cell} AS {kind}) AS {quote(name)}"
            for cell, (name, kind) in zip(cells, self.columns, strict=True)
        )
        if not self.rows:
            nulls = ", ".join(f"NULL AS {cell}" for cell in cells)
            return f"SELECT {picked} FROM (SELECT {nulls}) WHERE false"
        values = ", ".join(f"({', '.join(map(_cell, row))})" for row in self.rows)
        return f"SELECT {picked} FROM (VALUES {values}) AS given({', '.join(cells)})"


def _cell(value: Any) -> str:  # noqa: ANN401 - a cell is whatever JSON holds
    """A cell as a text that DuckDB casts: a number keeps its digits, and a list is DuckDB's own list text."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "'true'" if value else "'false'"
    return literal(value if isinstance(value, str) else json.dumps(value))


@dataclass(frozen=True, slots=True)
class Refusal:
    """The answer is an error of this name, whose message and hint hold these texts."""

    error: str
    says: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Case:
    """One case, see the module. `expected` is None where tests prove it (`proved_by`)."""

    id: str
    kind: str
    rules: tuple[int, ...]
    note: str
    edges: tuple[str, ...] = ()
    declaration: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    expected: Table | Refusal | None = None
    proved_by: tuple[str, ...] = ()


@cache
def load_cases() -> tuple[Case, ...]:
    """Every case of the package, file by file."""
    folder = files("featmill.conformance") / "cases"
    found = sorted(
        (path for path in folder.iterdir() if path.name.endswith(".jsonl")), key=lambda p: p.name
    )
    lines = [line for path in found for line in path.read_text(encoding="utf-8").splitlines()]
    return tuple(read_case(json.loads(line)) for line in lines if line.strip())


def read_case(given: Mapping[str, Any]) -> Case:
    """A case from its JSON object."""
    return Case(
        id=given["id"],
        kind=given["kind"],
        rules=tuple(given["rules"]),
        note=given["note"],
        edges=tuple(given.get("edges", ())),
        declaration=given.get("declaration", {}),
        tables={name: read_table(table) for name, table in given.get("tables", {}).items()},
        expected=_expected(given.get("expected")),
        proved_by=tuple(given.get("proved_by", ())),
    )


def read_table(given: Mapping[str, Sequence[Any]]) -> Table:
    """A table from `{columns: [[name, type]], rows: [[value]]}`."""
    columns = tuple((str(name), str(kind)) for name, kind in given["columns"])
    return Table(columns, tuple(tuple(row) for row in given["rows"]))


def _expected(given: Mapping[str, Any] | None) -> Table | Refusal | None:
    if given is None:
        return None
    if "error" in given:
        return Refusal(given["error"], tuple(given["says"]))
    return read_table({"columns": given["columns"], "rows": given["rows"]})
