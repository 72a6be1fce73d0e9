"""Declared defaults in the online form: what the reader would have read, had the default been a row's value.

Each goes the way of a value: DuckDB casts it as a training set does, the codec writes it, the reader's own decoder
reads it. So a default is the same to the bit online and offline.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from featmill.errors import ContractError
from featmill.online.codec import expected_replies
from featmill.online.one_value import value_decoder
from featmill.online.plan import ViewPlan
from featmill.warehouse.columns import literal, published_expression

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from featmill.contract.catalog import Feature
    from featmill.online.plan import OnlineColumn


def online_defaults(features: Sequence[tuple[Feature, OnlineColumn]]) -> list[Any]:
    """The online form of each feature's default; None where none is declared, or NULL is.

    Raises:
        ContractError: a default is no value of its column's type.
    """
    from hiredis import Reader

    found: list[Any] = [None] * len(features)
    declared = [at for at, (feature, _) in enumerate(features) if feature.default is not None]
    if not declared:
        return found
    columns = [replace(features[at][1], name=f"c{at}") for at in declared]
    plan = ViewPlan("", "", (), "at", tuple(columns))
    reader = Reader()
    reader.feed(bytes(expected_replies(plan, _row({at: features[at][0] for at in declared}))))
    for at, reply in zip(declared, reader.gets(), strict=False):
        feature = features[at][0]
        found[at] = value_decoder(feature.type, feature.name)(reply)
    return found


def _row(features: Mapping[int, Feature]) -> pa.RecordBatch:
    """The defaults as one row of a published table."""
    import duckdb

    given = ", ".join(
        f"CAST({sql_literal(feature.default)} AS {feature.type.sql}) AS c{at}"
        for at, feature in features.items()
    )
    published = ", ".join(
        published_expression(f"c{at}", feature.type.sql) for at, feature in features.items()
    )
    moment = "TIMESTAMPTZ '1970-01-01 00:00:00+00' AS at"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            row = connection.sql(f"SELECT {published}, {moment} FROM (SELECT {given})")
            return row.to_arrow_table().combine_chunks().to_batches()[0]
        except duckdb.Error as error:
            names = ", ".join(feature.name for feature in features.values())
            raise ContractError(f"a default of {names} is no value of its type: {error}") from error


def sql_literal(value: object) -> str:
    """A declared value as SQL, the same as the point-in-time macros write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else literal(str(value))
