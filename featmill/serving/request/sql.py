"""Request-time expressions as DuckDB binds them: checked, and as a tree with every cast and type in it.

An expression is SQL of DuckDB, so DuckDB says what it means: its binder resolves names, expands macros and puts in the
casts that it would run with. What is refused here is what has no place in one row (aggregates, windows, subqueries) and
what gives another value each time (rule 2).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featmill.errors import ContractError
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb

    from featmill.contract.types import FeatureType

#: The column that is the row's moment: a TIMESTAMP in UTC (rule 1).
AS_OF = "as_of"

_INPUTS = "request_inputs"

#: Beside what DuckDB itself calls volatile: who asks, where and when.
_OF_THE_SESSION = frozenset(
    {
        "current_catalog",
        "current_localtime",
        "current_localtimestamp",
        "current_role",
        "current_time",
        "current_timestamp",
        "current_user",
        "localtime",
        "localtimestamp",
        "session_user",
        "user",
        "version",
    }
)

#: What the parser calls it -> what is said of it.
_NOT_OF_A_ROW = {
    "LAMBDA_REF": "a lambda's variable",
    "PARAMETER": "a parameter",
    "POSITIONAL_REFERENCE": "a column by its position",
    "STAR": "several columns at once",
    "SUBQUERY": "a subquery",
    "WINDOW": "a window function",
}

#: What stands under the projection where an expression is not of one row -> what is said of it.
_PLANS = {
    "LOGICAL_AGGREGATE_AND_GROUP_BY": "an aggregate",
    "LOGICAL_UNNEST": "unnest",
    "LOGICAL_WINDOW": "a window function",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a bound expression.

    `kind` is `ref`, `constant`, `case` (when, then, ..., else), a connective, or a function's name; `type` is DuckDB's
    spelling. `value` is a column's name, a constant's value (of a DECIMAL its digits as an integer), or of a cast
    whether it gives NULL where it fails.
    """

    kind: str
    type: str
    children: tuple[Node, ...] = ()
    value: Any = None


@dataclass(frozen=True, slots=True)
class BoundExpression:
    """An expression over one row: its tree, the type that it gives, and the columns that it reads."""

    tree: Node
    type: str
    columns: frozenset[str] = field(default_factory=frozenset)


class Binder:
    """Binds expressions over columns of these contract types; close it after."""

    def __init__(self, columns: Mapping[str, FeatureType]) -> None:
        """Open an empty relation of these columns and of `as_of`.

        Raises:
            ContractError: two columns have one name, which may be `as_of`'s, whatever its case.
        """
        check_distinct(columns)
        self._names = {name.lower(): name for name in (AS_OF, *columns)}
        self._connection = connect()
        types = ", ".join(f"{quote(name)} {input_sql(kind)}" for name, kind in columns.items())
        more = f", {types}" if types else ""
        self._connection.execute(f"CREATE TABLE {_INPUTS} ({AS_OF} TIMESTAMP{more})")
        self._volatile = _volatile(self._connection)

    def __enter__(self) -> Binder:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def bind(self, sql: str) -> BoundExpression:
        """What an expression means.

        Raises:
            ContractError: it cannot be parsed or bound, or is not of one row, or is volatile. The message says what,
                without saying which expression it is of.
        """
        text = f"SELECT ({sql}\n) AS bound FROM {_INPUTS}"
        named = self._check_parsed(text)
        found = self._serialized("json_serialize_plan", text)
        plan = found["plans"][0]
        get = plan["children"][0] if plan["children"] else {"type": ""}
        is_one = len(found["plans"]) == 1 and len(plan.get("expressions") or ()) == 1
        if not is_one or get["type"] != "LOGICAL_GET":
            what = _PLANS.get(get["type"], "another query")
            raise ContractError(f"{what} is not computed from one row")
        for call in _functions(plan):
            self._check_call(call["qname"]["path"][-1], len(call["children"]))
        # Where no column is read DuckDB names one that is not there, to count the rows by.
        there = dict(enumerate(get["names"]))
        names = [there.get(column["index"], "") for column in get["column_indexes"]]
        tree = _node(plan["expressions"][0], names)
        # DuckDB leaves out what cannot matter (`x || NULL`), but the text still names it.
        return BoundExpression(tree, tree.type, frozenset({*named, *_columns(tree)}))

    def type_of(self, kind: FeatureType) -> str:
        """A contract type as DuckDB spells it in a bound tree."""
        text = f"SELECT CAST(NULL AS {input_sql(kind)}) AS bound FROM {_INPUTS}"
        plan = self._serialized("json_serialize_plan", text)["plans"][0]
        return _node(plan["expressions"][0], []).type

    def constant(self, node: Node) -> Any:  # noqa: ANN401 - as many types as constants
        """What a cast of a constant text comes to: of a moment microseconds, of a day its number.

        Raises:
            duckdb.Error: the text is none of the type.
        """
        form = {"DATE": "({} - DATE '1970-01-01')::BIGINT"}.get(node.type, "epoch_us({})")
        text = node.children[0].value
        sql = f"SELECT {form.format(f'CAST(? AS {node.type})')}"
        return self._connection.execute(sql, [text]).fetchall()[0][0]

    def _check_parsed(self, text: str) -> set[str]:
        """The columns that a text names; a lambda's variable may be among them."""
        named = set()
        found = self._serialized("json_serialize_sql", text)
        if len(found["statements"]) != 1:
            raise ContractError("more than one expression is given")
        for node in _dicts(found["statements"][0]["node"]["select_list"]):
            what = _NOT_OF_A_ROW.get(str(node.get("class")))
            if what is not None:
                raise ContractError(f"{what} is not computed from one row")
            if node.get("class") == "FUNCTION":
                self._check_call(str(node["function_name"]), len(node["arguments"]))
            if node.get("class") == "COLUMN_REF":
                named |= self._column(node["column_names"])
        return named

    def _column(self, path: list[str]) -> set[str]:
        name = path[0].lower()
        if name in self._names:
            return {self._names[name]}
        if name in (_INPUTS, "rowid"):
            raise ContractError(f"there is no column {'.'.join(path)}")
        if name in _OF_THE_SESSION:
            self._check_call(name, 0)
        return set()

    def _check_call(self, name: str, arguments: int) -> None:
        name = name.lower()
        if name == "age" and arguments == 1:
            raise ContractError("age() of one moment reads the clock (rule 2): give it as_of too")
        if name in self._volatile or name in _OF_THE_SESSION:
            raise ContractError(
                f"{name}() depends on when or by whom it is called (rule 2): the clock is {AS_OF}"
            )

    def _serialized(self, how: str, text: str) -> dict[str, Any]:
        import duckdb

        try:
            row = self._connection.execute(f"SELECT {how}(?)", [text]).fetchall()[0]
        except duckdb.Error as error:
            raise ContractError(_said(str(error))) from error
        found: dict[str, Any] = json.loads(row[0])
        if found["error"]:
            raise ContractError(_said(str(found["error_message"])))
        return found


def connect() -> duckdb.DuckDBPyConnection:
    """A database in memory where expressions run as they are bound.

    The optimizer is off: it moves constants across comparisons, so that `x + 1 > 5` would overflow for some plans and
    not for others. Its clock is UTC.
    """
    import duckdb

    connection = duckdb.connect(config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("PRAGMA disable_optimizer")
    return connection


def input_sql(kind: FeatureType) -> str:
    """The type that an expression sees a column in: the contract's; of ENUM, UUID and arrays the published one."""
    sql = kind.sql
    if sql.startswith("ENUM") or sql == "UUID":
        return "VARCHAR"
    if kind.is_list:
        element, _, _ = sql.rpartition("[")
        return f"{'VARCHAR' if element == 'UUID' else element}[]"
    return sql


def value_sql(sql: str, declared: FeatureType) -> str:
    """The SQL of an expression's value: of its declared type, and NULL where computing it fails.

    A moment outside of the years 1 to 9999 is one that failed: it could not be answered online.
    """
    value = f"TRY(CAST(({sql}\n) AS {input_sql(declared)}))"
    if not declared.sql.startswith(("DATE", "TIMESTAMP")):
        return value
    if declared.is_list:
        return f"list_transform({value}, lambda one: CASE WHEN {_TOLD.format('one')} THEN one END)"
    return f"CASE WHEN {_TOLD.format(value)} THEN {value} END"


def is_lossless(given: str, declared: str) -> bool:
    """Whether every value of one type is one of the other, so that casting it loses nothing.

    Types as DuckDB spells them in a bound tree.
    """
    if given in (declared, '"NULL"', "NULL"):
        return True
    if declared == "DOUBLE" and given in _EXACT_IN_DOUBLE:
        return True
    wider = _WIDER.get(given, ())
    if declared in wider:
        return True
    whole, fraction = digits(given)
    to_whole, to_fraction = digits(declared)
    if declared == "DOUBLE" and given.startswith("DECIMAL"):
        return whole + fraction <= _EXACT_DIGITS
    is_decimal = declared.startswith("DECIMAL")
    return is_decimal and whole > 0 and whole <= to_whole and fraction <= to_fraction


def digits(name: str) -> tuple[int, int]:
    """How many digits a DECIMAL or integer has before and after its point; none of anything else."""
    if name.startswith("DECIMAL("):
        width, scale = (int(part) for part in name[8:-1].split(","))
        return width - scale, scale
    return _INTEGER_DIGITS.get(name, 0), 0


_TOLD = "year({}) BETWEEN 1 AND 9999"
_EXACT_DIGITS = 15
_INTEGER_DIGITS = {
    "TINYINT": 3,
    "SMALLINT": 5,
    "INTEGER": 10,
    "BIGINT": 19,
    "UTINYINT": 3,
    "USMALLINT": 5,
    "UINTEGER": 10,
}
_EXACT_IN_DOUBLE = _INTEGER_DIGITS.keys() - {"BIGINT"} | {"FLOAT"}
_WIDER: dict[str, tuple[str, ...]] = {
    "TINYINT": ("SMALLINT", "INTEGER", "BIGINT"),
    "SMALLINT": ("INTEGER", "BIGINT"),
    "INTEGER": ("BIGINT",),
    "UTINYINT": ("SMALLINT", "INTEGER", "BIGINT", "USMALLINT", "UINTEGER"),
    "USMALLINT": ("INTEGER", "BIGINT", "UINTEGER"),
    "UINTEGER": ("BIGINT",),
    "UUID": ("VARCHAR",),
    "DATE": ("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
    "TIMESTAMP": ("TIMESTAMP WITH TIME ZONE",),
    "TIMESTAMP WITH TIME ZONE": ("TIMESTAMP",),
}


def check_distinct(names: Mapping[str, object]) -> None:
    """Refuse names that are one to SQL.

    Raises:
        ContractError: two are, or one is `as_of`.
    """
    seen = {AS_OF}
    for name in names:
        if name.lower() in seen:
            raise ContractError(
                f"two inputs are called {name}",
                hint=f"{AS_OF} is the row's moment; names that differ only in case are one name",
            )
        seen.add(name.lower())


def _node(said: Mapping[str, Any], names: list[str]) -> Node:
    """A node of DuckDB's serialised plan."""
    kind, children = said["expression_class"], tuple(said.get("children") or ())
    if kind == "BOUND_REF":
        return Node("ref", _type(said["return_type"]), value=names[said["index"]])
    if kind == "BOUND_CONSTANT":
        value = said["value"]
        return Node("constant", _type(value["type"]), value=value.get("value"))
    if kind == "BOUND_CASE":
        parts = [
            part for one in said["case_checks"] for part in (one["when_expr"], one["then_expr"])
        ]
        parts.append(said["else_expr"])
        return Node("case", _type(said["return_type"]), tuple(_node(p, names) for p in parts))
    if kind == "BOUND_CONJUNCTION":
        bound = tuple(_node(child, names) for child in children)
        return Node(str(said["type"]).lower(), "BOOLEAN", bound)
    name = str(said["type"]).lower()
    if kind == "BOUND_FUNCTION":
        name = said["qname"]["path"][-1]
        is_try = bool((said.get("function_data") or {}).get("try_cast"))
        bound = tuple(_node(child, names) for child in children)
        return Node(name, _type(said["return_type"]), bound, value=is_try)
    bound = tuple(_node(child, names) for child in children if child["expression_class"] in _KNOWN)
    is_known = kind == "BOUND_OPERATOR" and len(bound) == len(children)
    return Node(name if is_known else "other", _type(said.get("return_type") or {}), bound)


_KNOWN = frozenset(
    f"BOUND_{name}" for name in ("CASE", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR", "REF")
)


def _type(said: Mapping[str, Any]) -> str:
    name, more = str(said.get("id", "")), said.get("type_info") or {}
    if name == "DECIMAL":
        return f"DECIMAL({more['width']},{more['scale']})"
    if name == "LIST":
        return f"{_type(more['child_type'])}[]"
    return name


def _columns(node: Node) -> Iterator[str]:
    if node.kind == "ref":
        yield str(node.value)
    for child in node.children:
        yield from _columns(child)


def _functions(said: object) -> Iterator[dict[str, Any]]:
    return (one for one in _dicts(said) if one.get("expression_class") == "BOUND_FUNCTION")


def _dicts(said: object) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    if isinstance(said, dict):
        yield said
        for value in said.values():
            yield from _dicts(value)
    elif isinstance(said, list):
        for value in said:
            yield from _dicts(value)


def _volatile(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The functions that DuckDB itself says give another value for the same arguments."""
    found = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    ).fetchall()
    return frozenset(str(row[0]) for row in found)


def _said(text: str) -> str:
    """DuckDB's words on one line, without our SQL."""
    text = text.partition("\nLINE ")[0].replace(f'"{_INPUTS}"', "the inputs")
    return " ".join(text.split())
