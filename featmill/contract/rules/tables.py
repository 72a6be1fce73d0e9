"""Rules of one feature table: its keys, its time, its gate, its publish nodes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from featmill.contract.problems import Mistake, one_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.declared import DeclaredColumn, DeclaredTable
    from featmill.contract.nodes import Manifest

#: What can identify an entity online: whole numbers, texts, bytes and moments, as DuckDB types.
KEY_TYPES = frozenset(
    {"TINYINT", "SMALLINT", "INT", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
    | {"TEXT", "UUID", "BLOB", "DATE", "TIMESTAMP", "TIMESTAMPTZ"}
)
#: Of these, what a row index takes, as they are published.
INDEXED_TYPES = KEY_TYPES - {"BLOB", "DATE", "TIMESTAMP", "TIMESTAMPTZ"}
TIME_TYPES = frozenset({"TIMESTAMP", "TIMESTAMPTZ"})

#: A tenant is part of schema names, Feast project names and Redis keys.
_TENANT = re.compile(r"[a-z][a-z0-9_]*")
#: How the name of a generation's rows ends.
GENERATION = re.compile(r"__g[0-9]+$")

_DECLARED = ("config", "meta", "feature_table")


def names_its_join_keys(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """Each join key is a column of a type that can be a key, named once."""
    keys = table.declaration.join_keys
    names = [column.name for column in table.columns]
    at = (*_DECLARED, "join_keys")
    if len(set(keys)) < len(keys):
        yield table.mistake(f"join_keys names a column twice: {', '.join(keys)}", "each once", *at)
    for key in dict.fromkeys(keys):
        column = table.column(key)
        if column is None:
            yield table.mistake(f"join key {key!r} is not a column", one_of(names, key), *at)
        elif _has_other_type(column, KEY_TYPES):
            yield table.column_mistake(
                column,
                f"join key of type {column.node.data_type}",
                "a whole number, VARCHAR, UUID, BLOB, DATE or TIMESTAMP",
                "data_type",
            )


def can_be_indexed(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """A row index numbers whole numbers and texts."""
    if not table.declaration.index:
        return
    for key in table.declaration.join_keys:
        column = table.column(key)
        if column is not None and _has_other_type(column, INDEXED_TYPES):
            yield table.mistake(
                f"index: true with a join key of type {column.node.data_type}",
                "no index, or keys that are whole numbers, VARCHAR or UUID",
                *_DECLARED,
                "index",
            )


def names_its_event_time(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """Each row says from when it is valid (rule 3), as a moment (rule 1)."""
    name = table.model.event_time
    if name is None:
        yield table.mistake(
            "no event_time", "config.event_time: the column a row is valid from", "config"
        )
        return
    column = table.column(name)
    if column is None:
        names = [c.name for c in table.columns]
        message = f"event_time {name!r} is not a column"
        yield table.mistake(message, one_of(names, name), "config", "event_time")
    elif column.is_key:
        message = f"{name!r} is both join key and event_time"
        yield table.mistake(message, "two columns", "config", "event_time")
    elif _has_other_type(column, TIME_TYPES):
        message = f"event_time of type {column.node.data_type}"
        yield table.column_mistake(column, message, "TIMESTAMP or TIMESTAMPTZ", "data_type")


def enforces_its_contract(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """Types are declared once, and dbt holds the SQL to them."""
    if not table.model.is_contract_enforced:
        yield table.mistake(
            "the contract is not enforced", "config.contract: {enforced: true}", "config"
        )


def has_a_description(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """A table nobody can find is built twice."""
    if not table.model.description:
        yield table.mistake("no description", "description: what a row says", "description")


def has_a_gate(table: DeclaredTable, manifest: Manifest) -> Iterator[Mistake]:
    """Tests of the candidate gate what is published (rule 20); those of the publish node do not."""
    published = {node.unique_id for node in table.publish_nodes}
    tests = manifest.tests_of.get(table.model.unique_id, ())
    if not any(published.isdisjoint(test.parents) for test in tests):
        yield table.mistake(
            "no data test, so nothing gates what is published",
            "at least data_tests: [featmill.feature_table]",
        )


def is_published_once(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """Two publish nodes would give one table two names and two histories."""
    first, *others = table.publish_nodes or (table.model,)
    for other in others:
        yield Mistake(
            other.place(),
            other.label,
            f"{table.model.label} is already published by {first.label}",
            "one publish node for each feature table",
        )


def has_a_tenant(table: DeclaredTable, _: Manifest) -> Iterator[Mistake]:
    """A tenant's name is part of other names, also of the name of each generation online: `shop__g7`."""
    tenant = table.model.meta.get("tenant", "default")
    if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant) or GENERATION.search(tenant):
        yield table.mistake(
            f"tenant is {tenant!r}",
            "lower-case letters, digits and _, a letter first, and no __g and a number at the end",
            "config",
            "meta",
            "tenant",
        )


TABLE_RULES: tuple[Callable[[DeclaredTable, Manifest], Iterator[Mistake]], ...] = (
    names_its_join_keys,
    can_be_indexed,
    names_its_event_time,
    enforces_its_contract,
    has_a_description,
    has_a_gate,
    is_published_once,
    has_a_tenant,
)


def _has_other_type(column: DeclaredColumn, allowed: frozenset[str]) -> bool:
    # A type that could not be read at all is told by the rules of columns.
    return column.type is not None and column.type.sql not in allowed
