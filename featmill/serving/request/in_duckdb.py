"""Request features computed by DuckDB: one statement for each set of features, bound once and kept."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from featmill.serving.request.sql import AS_OF, connect, value_sql
from featmill.serving.request.values import found_sql, read_found, sent_form
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import duckdb

    from featmill.contract.catalog import RequestFeature
    from featmill.contract.types import FeatureType

#: Rows of one call: parameters are copied value by value.
_ROWS = 2_048


class DuckdbRows:
    """Computes features of rows; may be used by several threads, one at a time."""

    def __init__(
        self, inputs: Mapping[str, FeatureType], features: Sequence[RequestFeature]
    ) -> None:
        self._inputs = {name: sent_form(kind) for name, kind in inputs.items()}
        self._features = {feature.name: feature for feature in features}
        self._read = {feature.name: read_found(feature.type) for feature in features}
        self._lock = Lock()
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._statements: dict[tuple[str, ...], Any] = {}

    def values(
        self, names: Sequence[str], n: int, as_of: int, columns: Sequence[Sequence[Any]]
    ) -> dict[str, list[Any]]:
        """The features called `names` of n rows, in the form between.

        Args:
            names: the features.
            n: how many rows.
            as_of: microseconds since 1970.
            columns: the inputs in order, n values each in the form between.
        """
        sent = [
            column if form is None else [None if v is None else form(v) for v in column]
            for column, (_, _, form) in zip(columns, self._inputs.values(), strict=True)
        ]
        rows: list[tuple[Any, ...]] = []
        for begin in range(0, n, _ROWS):
            end = min(begin + _ROWS, n)
            rows += self._run(tuple(names), [as_of, end - begin, *(c[begin:end] for c in sent)])
        found = {}
        for name, column in zip(names, zip(*rows, strict=True), strict=False):
            read = self._read[name]
            found[name] = (
                list(column) if read is None else [None if v is None else read(v) for v in column]
            )
        return found or {name: [] for name in names}

    def _run(self, names: tuple[str, ...], parameters: list[Any]) -> list[tuple[Any, ...]]:
        with self._lock:
            if self._connection is None:
                self._connection = connect()
            if names not in self._statements:
                text = self._sql(names)
                self._statements[names] = self._connection.extract_statements(text)[0]
            statement = self._statements[names]
            rows: list[tuple[Any, ...]] = self._connection.execute(statement, parameters).fetchall()
            return rows

    def _sql(self, names: tuple[str, ...]) -> str:
        inputs, given = (
            [f"make_timestamp($1::BIGINT) AS {AS_OF}"],
            ["unnest(range($2::BIGINT)) AS _row"],
        )
        for number, (name, (kind, sql, _)) in enumerate(self._inputs.items(), start=3):
            column = quote(name)
            given.append(f"unnest(${number}::{kind}[]) AS {column}")
            inputs.append(f"{sql.format(column)} AS {column}")
        features = ", ".join(
            found_sql(feature.type).format(value_sql(feature.sql, feature.type))
            for feature in (self._features[name] for name in names)
        )
        return (
            f"SELECT {features} FROM (SELECT _row AS _featmill_row, {', '.join(inputs)} "
            f"FROM (SELECT {', '.join(given)})) ORDER BY _featmill_row"
        )
