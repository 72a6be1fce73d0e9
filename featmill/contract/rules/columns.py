"""Rules of one column: its type, its default, its description, who may see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.defaults import expected_default
from featmill.contract.types import parse_type
from featmill.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.declared import DeclaredColumn, DeclaredTable
    from featmill.contract.problems import Mistake

_DECLARED = ("config", "meta", "feature")
#: Times that may be finer than the whole seconds of an online UnixTimestamp.
_FINE_TIMES = ("TIMESTAMP", "TIMESTAMPTZ")
_TIMES = ("DATE", *_FINE_TIMES)


def has_a_type(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """Each column has a type; that of a key, time or feature is in the closed type table."""
    declared = column.node.data_type
    if declared is None:
        yield table.column_mistake(column, "no data_type", "data_type: a DuckDB type")
        return
    if column.declaration.exclude:
        return
    try:
        parse_type(declared)
    except ContractError as error:
        expected = f"a type of the type table: {error.hint}"
        yield table.column_mistake(column, error.message, expected, "data_type")


def has_an_online_type(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """Online a time is whole seconds; one that may be finer says which form it takes."""
    if column.type is None:
        return
    declared = column.declaration.online_type
    element = column.type.sql.partition("[")[0]
    if declared is not None and element not in _TIMES:
        yield table.column_mistake(
            column,
            f"online_type for a {column.node.data_type}",
            "online_type for a DATE, TIMESTAMP or TIMESTAMPTZ only",
            *_DECLARED,
            "online_type",
        )
    is_online = table.declaration.online and column.is_feature
    if is_online and declared is None and element in _FINE_TIMES:
        if "online_type" in (column.node.meta.get("feature") or {}):
            return  # a word that is not one of the two is told where it is read
        yield table.column_mistake(
            column,
            f"online feature of type {column.node.data_type} without online_type",
            "online_type: int64 (microseconds), or unix_timestamp where every value is a whole "
            "second",
            *_DECLARED,
        )


def has_a_default(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """What an empty window reads as online is a decision, also where it is NULL (rule 5)."""
    declared = column.declaration
    if not column.is_feature:
        return
    if not declared.has_default:
        if table.declaration.online:
            expected = "default: a value of its type, or null"
            yield table.column_mistake(
                column, "online feature without default", expected, *_DECLARED
            )
        return
    expected_value = (
        None
        if declared.default is None or column.type is None
        else expected_default(declared.default, column.type)
    )
    if expected_value is not None:
        message = f"default {declared.default!r} is not a {column.node.data_type}"
        yield table.column_mistake(column, message, expected_value, *_DECLARED, "default")


def is_described(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """A feature says what it means."""
    if column.is_feature and not column.node.description:
        yield table.column_mistake(
            column, "no description", "description: what the feature says", "description"
        )


def keeps_personal_data_in(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """Whoever may ref() a public model may read every column of it, also an excluded one."""
    models = (table.model, *table.publish_nodes)
    public = [model.label for model in models if model.access == "public"]
    if column.declaration.classification == "pii" and public:
        yield table.column_mistake(
            column,
            f"pii in a public model: {', '.join(public)}",
            "access: protected or private, or a table without it",
            *_DECLARED,
            "classification",
        )


def is_no_feature(table: DeclaredTable, column: DeclaredColumn) -> Iterator[Mistake]:
    """Of a key or time only the classification means anything."""
    if not (column.is_key or column.is_time):
        return
    for key in sorted(column.declaration.model_fields_set - {"classification"}):
        role = "a join key" if column.is_key else "the event time"
        yield table.column_mistake(
            column,
            f"{key} has no effect: the column is {role}",
            "classification only",
            *_DECLARED,
            key,
        )


COLUMN_RULES: tuple[Callable[[DeclaredTable, DeclaredColumn], Iterator[Mistake]], ...] = (
    has_a_type,
    has_an_online_type,
    has_a_default,
    is_described,
    keeps_personal_data_in,
    is_no_feature,
)
