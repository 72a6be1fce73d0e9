"""Bound expressions as Python functions of one row: a few rows are answered before DuckDB has begun.

Only what gives DuckDB's own value, to the bit, is here; a node outside of that leaves the whole expression to DuckDB.
And a function only has to be right where it answers: where a value would need care (an overflow, a NaN, a logarithm of
nothing, letters beyond ASCII) it raises ArithmeticError or ValueError, and DuckDB computes the row.

Values are as they are compared: of a DECIMAL its digits as an integer, of a moment microseconds and of a day days since
1970. No input is NaN, and no function here gives one.
"""

from __future__ import annotations

from operator import eq, ge, gt, le, lt, ne
from typing import TYPE_CHECKING, Any

from featmill.serving.request.casts import DAYS, MOMENTS, TIMES, cast_of, decimal_of, within
from featmill.serving.request.functions import (
    CONNECTIVES,
    LAZY,
    function_of,
    interval_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from featmill.serving.request.sql import Node

    Function = Callable[[Sequence[Any]], Any]

_COMPARISONS = {"=": eq, "!=": ne, "<>": ne, "<": lt, ">": gt, "<=": le, ">=": ge}
_DISTINCT = {"IS DISTINCT FROM": True, "IS NOT DISTINCT FROM": False}

#: Types whose values compare in Python as they do in DuckDB.
_COMPARED = frozenset(
    {
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "FLOAT",
        "DOUBLE",
        "VARCHAR",
        "DATE",
        "TIMESTAMP",
        "TIMESTAMP WITH TIME ZONE",
    }
)


class _Outside(Exception):
    """Not an error: a node is outside of what is computed here."""


def native_function(
    tree: Node, slots: Mapping[str, int], constant: Callable[[Node], Any]
) -> Function | None:
    """An expression as a function of a row's values, None where DuckDB has to compute it.

    Args:
        tree: the bound expression.
        slots: column -> where its value is in a row.
        constant: what a cast of a constant text to a moment or a day comes to.

    The function raises ArithmeticError or ValueError for rows that DuckDB has to compute.
    """
    try:
        found = _compiled(tree, slots, constant)
    except _Outside:
        return None
    told = {"DATE": within(*DAYS), **dict.fromkeys(TIMES, within(*MOMENTS))}.get(tree.type)
    return found if told is None else _propagating(told, [found])


def _compiled(node: Node, slots: Mapping[str, int], constant: Callable[[Node], Any]) -> Function:
    if node.kind == "ref":
        return _slot(slots[node.value])
    if node.kind == "constant":
        return _always(_constant(node))
    if node.kind == "__cast" and _is_null(node.children[0]):
        return _always(None)
    if _is_moment_text(node):
        return _always(constant(node))
    children = [_compiled(child, slots, constant) for child in node.children]
    if node.kind in LAZY:
        if node.kind == "concat" and {child.type for child in node.children} != {"VARCHAR"}:
            raise _Outside
        return LAZY[node.kind](children)
    if node.kind in CONNECTIVES:
        _require_compared(node)
        return CONNECTIVES[node.kind](children)
    if node.kind in _DISTINCT:
        _require_compared(node)
        return _distinct(children, wanted=_DISTINCT[node.kind])
    return _propagating(_operation(node), children)


def _operation(node: Node) -> Callable[..., Any]:
    """The function of values that are not NULL."""
    found: Callable[..., Any] | None
    if node.kind in _COMPARISONS:
        _require_compared(node)
        return _COMPARISONS[node.kind]
    found = (
        cast_of(node.children[0].type, node.type) if node.kind == "__cast" else function_of(node)
    )
    if found is None:
        raise _Outside
    return found


def _require_compared(node: Node) -> None:
    """Only values of one type compare, and only of those where Python and DuckDB agree."""
    if node.kind.startswith(("conjunction", "operator_is", "operator_not")):
        return
    for child in node.children:
        is_decimal = decimal_of(child.type) is not None
        if child.type != node.children[0].type or not (is_decimal or child.type in _COMPARED):
            raise _Outside


def _constant(node: Node) -> Any:  # noqa: ANN401 - as many types as constants
    if node.value is None:
        return None
    if node.type == "INTERVAL":
        micros = interval_of(node.value)
        if micros is None:
            raise _Outside
        return micros
    # An integer of more than 64 bits comes in two halves.
    if isinstance(node.value, dict | list) or node.type in ("HUGEINT", "UBIGINT"):
        raise _Outside
    return float(node.value) if node.type == "DOUBLE" else node.value


def _is_null(node: Node) -> bool:
    return node.kind == "constant" and node.value is None


def _is_moment_text(node: Node) -> bool:
    moments = ("DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
    if node.kind != "__cast" or node.type not in moments:
        return False
    (text,) = node.children
    return text.kind == "constant" and text.type == "VARCHAR"


def _slot(index: int) -> Function:
    return lambda row: row[index]


def _always(value: Any) -> Function:  # noqa: ANN401 - as many types as constants
    return lambda _: value


def _distinct(children: Sequence[Function], *, wanted: bool) -> Function:
    left, right = children

    def answer(row: Sequence[Any]) -> bool:
        a, b = left(row), right(row)
        is_distinct = b is not None if a is None else b is None or bool(a != b)
        return is_distinct is wanted

    return answer


def _propagating(operation: Callable[..., Any], children: Sequence[Function]) -> Function:
    """The operation where no argument is NULL, NULL otherwise; every argument is computed, as DuckDB does."""
    if len(children) == 1:
        (only,) = children

        def of_one(row: Sequence[Any]) -> Any:  # noqa: ANN401
            a = only(row)
            return None if a is None else operation(a)

        return of_one
    if len(children) == 2:
        left, right = children

        def of_two(row: Sequence[Any]) -> Any:  # noqa: ANN401
            a, b = left(row), right(row)
            return None if a is None or b is None else operation(a, b)

        return of_two

    def of_many(row: Sequence[Any]) -> Any:  # noqa: ANN401
        values = [child(row) for child in children]
        return None if None in values else operation(*values)

    return of_many
