"""From a Feast view over our source to the feature table that it means."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from feast.feature_view import DUMMY_ENTITY_ID

from exporters.feast.plugins.source import FeatmillSource
from featmill.contract.catalog import Feature, FeatureTable, JoinKey
from featmill.contract.types import FEAST_TYPES, FeatureType, parse_type
from featmill.errors import ContractError

if TYPE_CHECKING:
    from feast import FeatureView, RepoConfig

_KINDS = {name: kind for kind, name in FEAST_TYPES.items()}


@dataclass(frozen=True, slots=True)
class ViewTable:
    """A Feast view as a feature table.

    `table` has the name and the columns of what is published, the features of the view, and its ttl. `renamed` is
    feature name in Feast -> column, where these differ.
    """

    table: FeatureTable
    source: FeatmillSource
    renamed: Mapping[str, str]

    def in_feast(self, column: str) -> str:
        """What Feast calls a column."""
        return str(self.source.field_mapping.get(column, column))

    def column(self, feature: str) -> str:
        """The published column of a feature.

        Raises:
            ContractError: the table has no such column.
        """
        column = self.renamed.get(feature, feature)
        self.table.feature(column)
        return column


def source_of(view: FeatureView) -> FeatmillSource:
    """The source of a view, which must be ours.

    Raises:
        ContractError: it is another, or there is none.
    """
    source = view.batch_source
    if not isinstance(source, FeatmillSource):
        kind = "no source" if source is None else f"a {type(source).__name__}"
        raise ContractError(
            f"view {view.name} has {kind}; these plug-ins read published tables alone",
            hint="give it a FeatmillSource, or a repository of its own with Feast's own stores",
        )
    return source


def view_table(
    view: FeatureView, config: RepoConfig, wanted: Sequence[str] | None = None
) -> ViewTable:
    """The feature table of a view: as declared, or without a declaration as it is published.

    `wanted` are the features that it shall have, by their names in Feast; all of the view's without.

    Raises:
        ContractError: the view's source is not ours, or a type is outside the type table.
        NoRelease: there is no declaration and nothing was released either.
    """
    source = source_of(view)
    renamed = {new: old for old, new in source.field_mapping.items()}
    fields = [f for f in view.features if wanted is None or f.name in wanted]
    declared = source.declared()
    if declared is None:
        declared = _published_table(view, source, config, fields)
    ttl = view.ttl if view.ttl is not None and view.ttl > timedelta(0) else None
    columns = [renamed.get(field.name, field.name) for field in fields]
    changed = {"ttl": ttl, "features": tuple(declared.feature(name) for name in columns)}
    return ViewTable(declared.model_copy(update=changed), source, renamed)


def _published_table(
    view: FeatureView,
    source: FeatmillSource,
    config: RepoConfig,
    fields: Sequence[Any],
) -> FeatureTable:
    """The table of a source without a declaration: the columns' published types, stored online as the view says."""
    renamed = {new: old for old, new in source.field_mapping.items()}
    types = dict(source.get_table_column_names_and_types(config))
    keys = [field for field in view.entity_columns if field.name != DUMMY_ENTITY_ID]
    return plain_table(
        source.table,
        [
            JoinKey(
                name=str(renamed.get(field.name, field.name)),
                type=_type(view, field, types, renamed),
            )
            for field in keys
        ],
        str(renamed.get(source.timestamp_field, source.timestamp_field)),
        [
            (renamed.get(field.name, field.name), _type(view, field, types, renamed))
            for field in fields
        ],
    )


def plain_table(
    name: str,
    keys: Iterable[JoinKey],
    event_time: str,
    features: Iterable[tuple[str, FeatureType]],
) -> FeatureTable:
    """A feature table of which nothing is declared but its columns."""
    return FeatureTable(
        name=name,
        model=name,
        candidate=name,
        publish_node=None,
        version=None,
        entity=name,
        join_keys=tuple(keys),
        event_time=event_time,
        ttl=None,
        online=True,
        tenant="default",
        owner=None,
        description="",
        tags=(),
        features=tuple(
            Feature(
                name=column,
                type=kind,
                description="",
                has_default=False,
                default=None,
                ignore_nulls=False,
                classification="internal",
                window=None,
            )
            for column, kind in features
        ),
        sources=(),
    )


def _type(
    view: FeatureView,
    field: Any,  # noqa: ANN401 - Feast's Field, which is not typed
    types: Mapping[str, str],
    renamed: Mapping[str, str],
) -> FeatureType:
    column = renamed.get(field.name, field.name)
    if column not in types:
        raise ContractError(
            f"{view.name}: the published table has no column {column}",
            hint=f"it has: {', '.join(types)}",
        )
    stored = str(field.dtype)
    element = stored.removeprefix("Array(").removesuffix(")")
    if element not in _KINDS:
        raise ContractError(
            f"{view.name}: {field.name} is {stored}, which is outside the type table",
            hint=f"one of: {', '.join(_KINDS)}, or an Array of these",
        )
    published = parse_type(types[column])
    return FeatureType(published.sql, _KINDS[element], is_list=published.is_list)
