"""The catalogue, from declarations that keep every rule."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from featmill.contract.catalog import (
    Catalog,
    Fallback,
    Feature,
    FeatureService,
    FeatureTable,
    JoinKey,
    OnlineSelection,
    RequestFeature,
    RequestField,
    ServingPolicy,
    Source,
    Window,
)
from featmill.contract.services import features_of, parse_reference
from featmill.contract.types import parse_type

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featmill.contract.declared import Declared, DeclaredColumn, DeclaredService, DeclaredTable
    from featmill.contract.nodes import Manifest
    from featmill.contract.types import FeatureType


def derive(declared: Declared) -> Catalog:
    """Build the catalogue: tables and services by name, of a versioned table the latest first."""
    tables = [_table(table, declared.manifest) for table in declared.tables]
    used = {source for table in tables for source in table.sources}
    return Catalog(
        project=declared.manifest.project,
        tables=tuple(sorted(tables, key=lambda t: (t.name, not t.is_latest, t.version or ""))),
        services=tuple(
            sorted((_service(s, declared) for s in declared.services), key=lambda s: s.name)
        ),
        sources=tuple(
            Source(unique_id=unique_id, name=source.name, loaded_at=source.loaded_at)
            for unique_id, source in sorted(declared.manifest.sources.items())
            if unique_id in used
        ),
    )


def _service(service: DeclaredService, declared: Declared) -> FeatureService:
    exposure, declaration = service.exposure, service.declaration
    return FeatureService(
        name=exposure.name,
        description=exposure.description,
        owner=exposure.owner,
        features=features_of(service, declared),
        request_fields=tuple(
            RequestField(name=name, type=parse_type(data_type))
            for name, data_type in declaration.request_fields.items()
        ),
        request_features=tuple(
            RequestFeature(
                name=name, type=parse_type(f.data_type), sql=f.sql, description=f.description
            )
            for name, f in service.request_features.items()
        ),
        fallbacks=tuple(
            Fallback(feature=parse_reference(feature), source=parse_reference(source))
            for feature, source in declaration.fallbacks.items()
        ),
        policy=ServingPolicy(**service.policy.model_dump()),
    )


def _table(table: DeclaredTable, manifest: Manifest) -> FeatureTable:
    model = table.model
    publish_node = table.publish_nodes[0] if table.publish_nodes else None
    return FeatureTable(
        name=table.name,
        model=model.name,
        candidate=model.unique_id,
        publish_node=None if publish_node is None else publish_node.unique_id,
        version=model.version,
        # Versions of a candidate may be published under names of their own.
        is_latest=(publish_node or model).is_latest,
        entity=table.declaration.entity,
        join_keys=tuple(_join_keys(table)),
        event_time=str(model.event_time),
        ttl=table.declaration.ttl,
        online=table.declaration.online,
        tenant=table.tenant,
        owner=(publish_node or model).owner or model.owner,
        access=(publish_node or model).access,
        formats=table.declaration.formats,
        index=table.declaration.index,
        selection=_selection(table),
        description=model.description,
        tags=model.tags,
        features=tuple(_feature(column, table) for column in table.features),
        sources=tuple(a for a in manifest.ancestors(model.unique_id) if a in manifest.sources),
    )


def _selection(table: DeclaredTable) -> OnlineSelection | None:
    return None if table.selection is None else OnlineSelection(**table.selection.model_dump())


def _join_keys(table: DeclaredTable) -> Iterator[JoinKey]:
    for name in table.declaration.join_keys:
        column = table.column(name)
        if column is not None:
            yield JoinKey(name=name, type=_type(column))


def _feature(column: DeclaredColumn, table: DeclaredTable) -> Feature:
    declaration = column.declaration
    return Feature(
        name=column.name,
        type=_type(column),
        description=column.node.description,
        has_default=declaration.has_default,
        default=declaration.default,
        ignore_nulls=declaration.ignore_nulls,
        classification=declaration.classification,
        window=_window(column, table),
        drift=declaration.drift,
    )


def _type(column: DeclaredColumn) -> FeatureType:
    declared = parse_type(str(column.node.data_type))
    return declared.stored_as(column.declaration.online_type)


def _window(column: DeclaredColumn, table: DeclaredTable) -> Window | None:
    declaration = column.declaration
    if declaration.aggregate is None:
        return None
    of_table = table.declaration
    hop = of_table.hop if declaration.hop is None else declaration.hop
    delay = of_table.delay if declaration.delay is None else declaration.delay
    length = declaration.window
    return Window(
        aggregate=declaration.aggregate,
        value=declaration.value,
        length=length if isinstance(length, timedelta) else None,
        # Of a calendar window the edges are the calendar's: the table's hop is for the others.
        hop=hop if isinstance(hop, timedelta) and declaration.calendar is None else None,
        delay=timedelta(0) if delay is None else delay,
        where=declaration.where,
        scale=declaration.scale,
        of=declaration.of,
        n=declaration.n,
        calendar=declaration.calendar,
        zone=declaration.zone,
    )
