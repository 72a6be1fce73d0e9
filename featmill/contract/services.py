"""Which features a service reads: those it names, or all of what its exposure depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.catalog import FeatureRef

if TYPE_CHECKING:
    from featmill.contract.declared import Declared, DeclaredService, DeclaredTable


def tables_of(service: DeclaredService, declared: Declared) -> tuple[DeclaredTable, ...]:
    """The feature tables an exposure depends on, itself or as published, each once."""
    by_node = {table.model.unique_id: table for table in declared.tables}
    by_node |= {node.unique_id: table for table in declared.tables for node in table.publish_nodes}
    found = [by_node[parent] for parent in service.exposure.parents if parent in by_node]
    return tuple({table.model.unique_id: table for table in found}.values())


def features_of(service: DeclaredService, declared: Declared) -> tuple[FeatureRef, ...]:
    """The features a service reads, in the order they are named or depended on."""
    named = service.declaration.features
    if named is not None:
        return tuple(parse_reference(reference) for reference in named)
    return tuple(
        FeatureRef(view=table.name, feature=column.name)
        for table in tables_of(service, declared)
        for column in table.features
    )


def parse_reference(text: str) -> FeatureRef:
    """Read `view:feature`; without a colon the feature's name is empty."""
    view, _, feature = text.partition(":")
    return FeatureRef(view=view, feature=feature)
