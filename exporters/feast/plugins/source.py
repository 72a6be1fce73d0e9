"""A Feast data source that is a published feature table: its released snapshots, and what is declared of it.

Feast keeps sources in its registry, so the declaration travels with it: whoever reads the registry and reaches the lake
needs neither the dbt project nor its manifest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
from feast.data_source import DataSource
from feast.protos.feast.core.DataSource_pb2 import DataSource as DataSourceProto
from feast.repo_config import RepoConfig
from feast.value_type import ValueType

from featmill.contract.catalog import FeatureTable
from featmill.contract.types import parse_type
from featmill.errors import NoRelease, SettingError
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, relation_sql
from featmill.warehouse.registry import Registry, open_registry

_CLASS = "exporters.feast.plugins.source.FeatmillSource"


class FeatmillSource(DataSource):  # type: ignore[misc]  # Feast is not typed
    """The released snapshots of one feature table.

    Args:
        name: the source's name in Feast.
        table: the published table's name; the source's where it is left out.
        home: the `FEATMILL_HOME` that holds its lake, relative to the repository; that of the offline store where it is
            left out.
        declaration: the table as the contract declares it, as `declaration_of` gives it. Without one the columns'
            types are those published, and nothing has a default or ignores NULLs.
        more: what any Feast source takes; `timestamp_field` is the table's event time.
    """

    def __init__(
        self,
        *,
        name: str,
        table: str = "",
        home: str = "",
        declaration: Mapping[str, Any] | None = None,
        **more: Any,  # noqa: ANN401 - handed on as it is
    ) -> None:
        more.setdefault("created_timestamp_column", PUBLISHED_AT_COLUMN)
        super().__init__(name=name, **more)
        self.table = table or name
        self.home = home
        self.declaration = None if declaration is None else dict(declaration)

    def __eq__(self, other: object) -> bool:
        """Whether it is the same source, declared alike."""
        if not isinstance(other, FeatmillSource) or not super().__eq__(other):
            return False
        mine = (self.table, self.home, self.declaration)
        return mine == (other.table, other.home, other.declaration)

    def __hash__(self) -> int:
        """Feast puts sources into sets."""
        return int(super().__hash__())

    def source_type(self) -> Any:  # noqa: ANN401 - an enum of protobuf
        """Feast's word for a source that is not one of its own."""
        return DataSourceProto.CUSTOM_SOURCE

    @staticmethod
    def from_proto(data_source: Any) -> FeatmillSource:  # noqa: ANN401 - a protobuf message
        """The source as the registry holds it."""
        said = json.loads(data_source.custom_options.configuration)
        return FeatmillSource(
            name=data_source.name,
            timestamp_field=data_source.timestamp_field,
            created_timestamp_column=data_source.created_timestamp_column,
            field_mapping=dict(data_source.field_mapping),
            description=data_source.description,
            tags=dict(data_source.tags),
            owner=data_source.owner,
            **said,
        )

    def _to_proto_impl(self) -> Any:  # noqa: ANN401 - a protobuf message
        said = {"table": self.table, "home": self.home, "declaration": self.declaration}
        return DataSourceProto(
            name=self.name,
            type=DataSourceProto.CUSTOM_SOURCE,
            data_source_class_type=_CLASS,
            custom_options=DataSourceProto.CustomSourceOptions(
                configuration=json.dumps(said, sort_keys=True).encode()
            ),
            timestamp_field=self.timestamp_field,
            created_timestamp_column=self.created_timestamp_column,
            field_mapping=self.field_mapping,
            description=self.description,
            tags=self.tags,
            owner=self.owner,
        )

    def declared(self) -> FeatureTable | None:
        """The feature table as it was declared, where it was."""
        if self.declaration is None:
            return None
        return FeatureTable.model_validate(self.declaration)

    def registry(self, config: RepoConfig) -> Registry:
        """The registry of the releases that hold the table."""
        return open_registry(home_of(config, self.home) / "lake")

    def validate(self, config: RepoConfig) -> None:
        """Nothing to check when a repository is applied: a table may be declared before it is first released."""

    def get_table_query_string(self) -> str:
        """The view of the features database that holds the same rows."""
        return self.table

    def get_table_column_names_and_types(self, config: RepoConfig) -> Iterable[tuple[str, str]]:
        """The published columns with DuckDB's types, without what publishing adds: Feast infers features from them.

        Raises:
            NoRelease: the table has never been released.
        """
        snapshots = self.registry(config).released_snapshots(self.table)
        if not snapshots:
            raise NoRelease(
                f"{self.table} has never been released", hint="build it first: dbt build"
            )
        with duckdb.connect() as connection:
            described = connection.execute(f"DESCRIBE {relation_sql(snapshots)}").fetchall()
        added = (SNAPSHOT_COLUMN, PUBLISHED_AT_COLUMN)
        return [(str(row[0]), str(row[1])) for row in described if row[0] not in added]

    @staticmethod
    def source_datatype_to_feast_value_type() -> Callable[[str], ValueType]:
        """From DuckDB's type to Feast's, by the type table of the contract."""
        return _value_type


def declaration_of(table: FeatureTable) -> dict[str, Any]:
    """What a source carries of a feature table: plain values, from which the same table can be made again."""
    plain: dict[str, Any] = table.model_dump(mode="json")
    return plain


def home_of(config: RepoConfig, home: str = "") -> Path:
    """The folder of everything featmill writes, as a source or else the offline store says.

    Raises:
        SettingError: neither says.
    """
    said = home or getattr(config.offline_store, "home", "")
    if not said:
        raise SettingError(
            "neither the source nor the offline store says where featmill's home is",
            hint="set `home` of offline_store in feature_store.yaml, relative to its folder",
        )
    return (Path(config.repo_path or ".") / Path(said).expanduser()).resolve()


def _value_type(duckdb_type: str) -> ValueType:
    found = parse_type(duckdb_type)
    # The kinds bear the names of Feast's.
    return ValueType[f"{found.kind.name}_LIST" if found.is_list else found.kind.name]
