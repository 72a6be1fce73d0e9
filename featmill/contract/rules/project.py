"""Rules between feature tables: names, entities, publish nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.declared import PUBLISHED, candidate_of
from featmill.contract.problems import Mistake
from featmill.contract.rules.tables import GENERATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.declared import Declared, DeclaredTable


def publishes_a_feature_table(declared: Declared) -> Iterator[Mistake]:
    """A publish node publishes what a gate and a contract guard, nothing else."""
    manifest = declared.manifest
    for model in manifest.models.values():
        if model.materialized == PUBLISHED and candidate_of(model, manifest) is None:
            read = [manifest.models[p].label for p in model.parents if p in manifest.models]
            what = f"{', '.join(read)}, which is no feature table" if read else "nothing"
            yield Mistake(
                model.place(),
                model.label,
                f"publishes {what}",
                "{{ featmill.publish(ref(...)) }} of a model with config.meta.feature_table",
            )


def has_a_name_of_its_own(declared: Declared) -> Iterator[Mistake]:
    """Readers know a table by its name, and a version of it by name and version."""
    owners: dict[tuple[str, str | None], DeclaredTable] = {}
    for table in declared.tables:
        first = owners.setdefault((table.name, table.model.version), table)
        if first is not table:
            yield table.mistake(
                f"{first.model.label} is also published as {table.name}",
                "one table for each name: rename a publish node",
            )


def agrees_on_its_entity(declared: Declared) -> Iterator[Mistake]:
    """All views of an entity share its keys online, so they have the same names and types."""
    first_of: dict[tuple[str, str], DeclaredTable] = {}
    for table in declared.tables:
        entity = table.declaration.entity
        if not entity or not table.declaration.join_keys:
            continue  # told where the declaration is read
        first = first_of.setdefault((table.tenant, entity), table)
        if not _have_same_keys(first, table):
            yield table.mistake(
                f"entity {entity!r} has the join keys {_spell_keys(table)} here",
                f"{_spell_keys(first)}, as in {first.model.label}",
                *("config", "meta", "feature_table", "join_keys"),
            )


def is_named_like_no_key(declared: Declared) -> Iterator[Mistake]:
    """In a training set the keys of all tables and their features stand side by side."""
    key_of: dict[tuple[str, str], DeclaredTable] = {}
    for table in declared.tables:
        for key in table.declaration.join_keys:
            key_of.setdefault((table.tenant, key), table)
    for table in declared.tables:
        for column in table.features:
            other = key_of.get((table.tenant, column.name))
            if other is not None:
                yield table.column_mistake(
                    column,
                    f"a join key of {other.model.label} has this name",
                    "a feature's own name, or exclude: true",
                )


def is_named_like_no_generation(declared: Declared) -> Iterator[Mistake]:
    """Generation 7 of a project `shop` is online as `shop__g7`: a project of that name would lose its rows to it."""
    project = declared.manifest.project
    if GENERATION.search(project) and declared.tables:
        yield declared.tables[0].mistake(
            f"the dbt project is named {project}", "a name without __g and a number at the end"
        )


PROJECT_RULES: tuple[Callable[[Declared], Iterator[Mistake]], ...] = (
    publishes_a_feature_table,
    has_a_name_of_its_own,
    agrees_on_its_entity,
    is_named_like_no_key,
    is_named_like_no_generation,
)


def _have_same_keys(one: DeclaredTable, other: DeclaredTable) -> bool:
    """Whether names and types agree; a type that could not be read is told elsewhere."""
    ours, theirs = _key_types(one), _key_types(other)
    if ours.keys() != theirs.keys():
        return False
    pairs = ((ours[name], theirs[name]) for name in ours)
    return all(a == b for a, b in pairs if a is not None and b is not None)


def _key_types(table: DeclaredTable) -> dict[str, str | None]:
    columns = {key: table.column(key) for key in table.declaration.join_keys}
    return {
        key: column.type.sql if column is not None and column.type is not None else None
        for key, column in columns.items()
    }


def _spell_keys(table: DeclaredTable) -> str:
    columns = {key: table.column(key) for key in table.declaration.join_keys}
    return ", ".join(
        key if column is None or column.node.data_type is None else f"{key} {column.node.data_type}"
        for key, column in columns.items()
    )
