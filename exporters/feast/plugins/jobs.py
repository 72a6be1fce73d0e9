"""What Feast calls a retrieval job: a query that runs when its result is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.infra.offline_stores.offline_store import RetrievalJob, RetrievalMetadata

from featmill.errors import ContractError, UsageError

if TYPE_CHECKING:
    from feast.on_demand_feature_view import OnDemandFeatureView


@dataclass(frozen=True, slots=True)
class Retrieval:
    """How the rows are found, and the SQL that finds them, on a connection of its own within `memory`."""

    rows: Callable[[duckdb.DuckDBPyConnection], pa.Table]
    memory: str
    sql: Callable[[duckdb.DuckDBPyConnection], str] | None = None

    @contextmanager
    def connection(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A database in memory, in UTC, that spills into a folder of its own."""
        with TemporaryDirectory(prefix="featmill-") as scratch:
            config: dict[str, Any] = {"temp_directory": scratch, "memory_limit": self.memory}
            with duckdb.connect(config=config) as opened:
                opened.execute("SET TimeZone = 'UTC'")
                yield opened


@dataclass(frozen=True, slots=True)
class Answer:
    """What Feast asks of a job beside its rows."""

    repository: Path
    full_feature_names: bool = False
    on_demand: Sequence[OnDemandFeatureView] = field(default_factory=tuple)
    metadata: Callable[[], RetrievalMetadata] | None = None


class FeatmillRetrievalJob(RetrievalJob):  # type: ignore[misc]  # Feast is not typed
    """A retrieval and its answer; the base class adds on-demand features and frames."""

    def __init__(self, retrieval: Retrieval, answer: Answer) -> None:
        self._retrieval = retrieval
        self._answer = answer

    @property
    def full_feature_names(self) -> bool:
        """Whether features are called `view__feature`."""
        return self._answer.full_feature_names

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        """The views whose features are computed from what was found."""
        return list(self._answer.on_demand)

    @property
    def metadata(self) -> RetrievalMetadata | None:
        """What a saved dataset keeps: features, keys, and the first and the last time."""
        return None if self._answer.metadata is None else self._answer.metadata()

    def to_sql(self) -> str:
        """The SQL that finds the same rows, for DuckDB in UTC; of a DataFrame it reads the table `entity_df`.

        Raises:
            UsageError: the rows are those that would be online, which no single query finds.
        """
        if self._retrieval.sql is None:
            raise UsageError(
                "the latest rows are found in several steps, not by one SELECT",
                hint="ask for the rows: to_arrow() or to_df()",
            )
        with self._retrieval.connection() as connection:
            return self._retrieval.sql(connection)

    def persist(
        self,
        storage: Any,  # noqa: ANN401 - Feast's storage
        allow_overwrite: bool = False,
        timeout: int | None = None,
    ) -> None:
        """Write the rows to a Parquet file, whole or not at all.

        Raises:
            ContractError: the storage is not one of files.
            SavedDatasetLocationAlreadyExists: there is something already, and it may not be overwritten.
        """
        if not isinstance(storage, SavedDatasetFileStorage):
            raise ContractError(
                f"a dataset is saved as a Parquet file, not in a {type(storage).__name__}",
                hint="give a SavedDatasetFileStorage with a path",
            )
        path = self._answer.repository / storage.file_options.uri
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            pq.write_table(self.to_arrow(timeout=timeout), beside, compression="zstd")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:  # noqa: ARG002 - Feast's own
        with self._retrieval.connection() as connection:
            return self._retrieval.rows(connection)

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()
