"""From the contract to what Feast calls entities, views and services. Pure: no Feast, no files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from featmill.contract.catalog import Catalog, FeatureService, FeatureTable, JoinKey
from featmill.contract.types import FeatureType
from featmill.errors import ContractError
from featmill.warehouse.model import Snapshot


@dataclass(frozen=True, slots=True)
class EntityDeclaration:
    """A Feast entity: always exactly one join key."""

    name: str
    join_key: str
    type: FeatureType

    @property
    def value_type(self) -> str:
        """The name in Feast's `ValueType`, which must agree with the type of the views' field."""
        return self.type.kind.name


@dataclass(frozen=True, slots=True)
class ViewDeclaration:
    """A Feast view of one feature table; `snapshot` is the newest that is released, if any is."""

    table: FeatureTable
    entities: tuple[EntityDeclaration, ...]
    snapshot: str | None

    @property
    def ttl(self) -> timedelta:
        """Feast writes "never expires" as zero."""
        return self.table.ttl if self.table.ttl is not None else timedelta(0)

    @property
    def tags(self) -> dict[str, str]:
        """What a reader of Feast's registry needs to find the rows' origin."""
        found = {"tenant": self.table.tenant}
        if self.snapshot is not None:
            found["snapshot"] = self.snapshot
        return found


@dataclass(frozen=True, slots=True)
class ServiceDeclaration:
    """A Feast service: the views it reads, each with the features it takes from it."""

    name: str
    description: str
    owner: str
    projections: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Declarations:
    """Everything that one Feast repository declares."""

    project: str
    entities: tuple[EntityDeclaration, ...]
    views: tuple[ViewDeclaration, ...]
    services: tuple[ServiceDeclaration, ...]

    @property
    def type_names(self) -> tuple[str, ...]:
        """The names that the definitions need from `feast.types`, sorted."""
        types = [e.type for e in self.entities] + [
            f.type for v in self.views for f in v.table.features
        ]
        names = {t.feast.removeprefix("Array(").removesuffix(")") for t in types}
        return tuple(sorted(names | ({"Array"} if any(t.is_list for t in types) else set())))


def declare(
    catalog: Catalog, released: Mapping[str, Sequence[Snapshot]], tenant: str
) -> Declarations:
    """What Feast must know of one tenant's part of the contract.

    Raises:
        ContractError: two tables disagree about an entity, a join key is a list, or a service
            spans tenants.
    """
    tables = tenant_tables(catalog, tenant)
    entities = declare_entities(tables)
    views = []
    for table in tables:
        snapshots = sorted(released.get(table.name, ()), key=lambda s: (s.as_of, s.published_at))
        newest = snapshots[-1].snapshot_id if snapshots else None
        views.append(ViewDeclaration(table, entities[table.name], newest))
    distinct = {entity.name: entity for table in tables for entity in entities[table.name]}
    return Declarations(
        project=catalog.feast_project(tenant),
        entities=tuple(distinct[name] for name in sorted(distinct)),
        views=tuple(views),
        services=_declare_services(catalog.services, {table.name for table in tables}),
    )


def tenant_tables(catalog: Catalog, tenant: str) -> tuple[FeatureTable, ...]:
    """One tenant's feature tables, by name: a Feast project holds one tenant.

    Of several versions of one name the catalogue has the latest first, and the name means it.
    """
    latest: dict[str, FeatureTable] = {}
    for table in catalog.tables:
        if table.tenant == tenant:
            latest.setdefault(table.name, table)
    return tuple(latest[name] for name in sorted(latest))


def declare_entities(tables: Iterable[FeatureTable]) -> dict[str, tuple[EntityDeclaration, ...]]:
    """The entities of each table, in the order of its join keys.

    A table with one key has its declared entity. Feast knows no composite entity, so each key of a
    composite one is the entity of the table that has this key alone, or, where there is none, an
    entity named like the key.

    Raises:
        ContractError: two tables give one entity different keys or types (rule 16), or a join key
            is a list.
    """
    tables = tuple(tables)
    alone: dict[tuple[str, str], str] = {}
    for table in tables:
        if len(table.join_keys) == 1:
            alone.setdefault(_signature(table.join_keys[0]), table.entity)
    found: dict[str, tuple[EntityDeclaration, ...]] = {}
    for table in tables:
        if len(table.join_keys) == 1:
            names = [table.entity]
        else:
            names = [alone.get(_signature(key), key.name) for key in table.join_keys]
        found[table.name] = tuple(
            EntityDeclaration(name, key.name, key.type)
            for name, key in zip(names, table.join_keys, strict=True)
        )
    _check_entities(found)
    return found


def _signature(key: JoinKey) -> tuple[str, str]:
    return key.name, key.type.feast


def _check_entities(by_table: Mapping[str, tuple[EntityDeclaration, ...]]) -> None:
    first: dict[str, tuple[str, EntityDeclaration]] = {}
    for table, entities in by_table.items():
        for entity in entities:
            if entity.type.is_list:
                raise ContractError(
                    f"{table}: join key {entity.join_key} is a list ({entity.type.sql})",
                    hint="give each element a column of its own",
                )
            other_table, other = first.setdefault(entity.name, (table, entity))
            if (other.join_key, other.type.feast) != (entity.join_key, entity.type.feast):
                raise ContractError(
                    f"entity {entity.name!r} has key {other.join_key} {other.type.sql} in "
                    f"{other_table} and {entity.join_key} {entity.type.sql} in {table}; in Feast "
                    "an entity has one key of one type",
                    hint="cast the key, or declare two entities",
                )


def _declare_services(
    services: Iterable[FeatureService], views: set[str]
) -> tuple[ServiceDeclaration, ...]:
    found = []
    for service in sorted(services, key=lambda s: s.name):
        projections: dict[str, list[str]] = {}
        for reference in service.features:
            projections.setdefault(reference.view, []).append(reference.feature)
        outside = sorted(set(projections) - views)
        if len(outside) == len(projections):
            continue
        if outside:
            raise ContractError(
                f"service {service.name} reads {', '.join(outside)}, which is not in its Feast "
                "project; a service cannot span tenants",
                hint="declare one exposure for each tenant",
            )
        found.append(
            ServiceDeclaration(
                name=service.name,
                description=service.description,
                owner=service.owner or "",
                projections=tuple(
                    (view, tuple(dict.fromkeys(names))) for view, names in projections.items()
                ),
            )
        )
    return tuple(found)
