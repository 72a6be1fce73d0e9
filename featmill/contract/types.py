"""The closed type table: contract type -> Feast type -> Redis value.

Source: the architecture page of the project, "Declare once". A type outside the table is an error
that suggests a cast; nothing is converted in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from featmill.errors import ContractError


class OnlineKind(StrEnum):
    """How a value is stored online; the names are those of Feast's `Value` message."""

    BOOL = "bool"
    INT32 = "int32"
    INT64 = "int64"
    FLOAT = "float"
    DOUBLE = "double"
    STRING = "string"
    BYTES = "bytes"
    UNIX_TIMESTAMP = "unix_timestamp"


#: Feast's own type names (feast.types), by kind.
FEAST_TYPES: dict[OnlineKind, str] = {
    OnlineKind.BOOL: "Bool",
    OnlineKind.INT32: "Int32",
    OnlineKind.INT64: "Int64",
    OnlineKind.FLOAT: "Float32",
    OnlineKind.DOUBLE: "Float64",
    OnlineKind.STRING: "String",
    OnlineKind.BYTES: "Bytes",
    OnlineKind.UNIX_TIMESTAMP: "UnixTimestamp",
}

#: sqlglot's name of a type -> how it is stored online. DECIMAL is decided by its precision.
_SCALARS: dict[str, OnlineKind] = {
    "BOOLEAN": OnlineKind.BOOL,
    "TINYINT": OnlineKind.INT32,
    "SMALLINT": OnlineKind.INT32,
    "INT": OnlineKind.INT32,
    "UTINYINT": OnlineKind.INT32,
    "USMALLINT": OnlineKind.INT32,
    "UINT": OnlineKind.INT64,
    "BIGINT": OnlineKind.INT64,
    "FLOAT": OnlineKind.FLOAT,
    "DOUBLE": OnlineKind.DOUBLE,
    "VARCHAR": OnlineKind.STRING,
    "TEXT": OnlineKind.STRING,
    "UUID": OnlineKind.STRING,
    "ENUM": OnlineKind.STRING,
    "DATE": OnlineKind.UNIX_TIMESTAMP,
    "TIMESTAMP": OnlineKind.UNIX_TIMESTAMP,
    "TIMESTAMPNTZ": OnlineKind.UNIX_TIMESTAMP,
    "TIMESTAMPTZ": OnlineKind.UNIX_TIMESTAMP,
    "VARBINARY": OnlineKind.BYTES,
    "BINARY": OnlineKind.BYTES,
}

#: 15 decimal digits survive a round trip through a float64, so parity stays exact.
_EXACT_DIGITS = 15

_CASTS = {
    "INT128": "cast it to BIGINT or DECIMAL(38, 0)",
    "UINT128": "cast it to BIGINT or DECIMAL(38, 0)",
    "UBIGINT": "cast it to BIGINT or DECIMAL(20, 0)",
    "BIGNUM": "cast it to DECIMAL(38, 0)",
    "INTERVAL": "cast it to BIGINT seconds with extract(epoch from ...)",
    "TIME": "cast it to INTEGER seconds of the day",
    "TIMETZ": "cast it to INTEGER seconds of the day",
    "TIMESTAMP_S": "cast it to TIMESTAMP",
    "TIMESTAMP_MS": "cast it to TIMESTAMP",
    "TIMESTAMP_NS": "cast it to TIMESTAMP",
    "JSON": "cast it to VARCHAR",
    "BIT": "cast it to VARCHAR",
    "ARRAY": "flatten it to a list of scalars",
    "LIST": "flatten it to a list of scalars",
    "MAP": "give each key a column of its own",
    "STRUCT": "give each field a column of its own",
}


@dataclass(frozen=True, slots=True)
class FeatureType:
    """One row of the closed type table.

    `sql` is DuckDB's canonical spelling, `kind` the online form of a value (of an element where
    `is_list`).
    """

    sql: str
    kind: OnlineKind
    is_list: bool = False

    def stored_as(self, online_type: str | None) -> FeatureType:
        """The same contract type with a declared online form, where one is declared.

        A TIMESTAMP declared `online_type: int64` keeps its microseconds as an integer, so `kind` is
        INT64 while `sql` stays TIMESTAMP.
        """
        return self if online_type is None else replace(self, kind=OnlineKind(online_type))

    @property
    def feast(self) -> str:
        """Feast's name, such as `Int64` or `Array(Int64)`."""
        name = FEAST_TYPES[self.kind]
        return f"Array({name})" if self.is_list else name


@cache
def parse_type(declared: str) -> FeatureType:
    """Look a contract's `data_type` up in the closed type table.

    Raises:
        ContractError: the type cannot be parsed or is outside the table; the hint suggests a cast.
    """
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        parsed = exp.DataType.build(declared, dialect="duckdb")
    except SqlglotError as error:
        raise _not_a_type(declared) from error
    is_list = parsed.this in (exp.DataType.Type.ARRAY, exp.DataType.Type.LIST)
    element = parsed.expressions[0] if is_list and parsed.expressions else parsed
    kind = _kind(element, declared)
    return FeatureType(sql=parsed.sql(dialect="duckdb"), kind=kind, is_list=is_list)


def _kind(parsed: object, declared: str) -> OnlineKind:
    from sqlglot import exp

    if not isinstance(parsed, exp.DataType):
        raise _not_a_type(declared)
    name = parsed.this.value if isinstance(parsed.this, exp.DataType.Type) else str(parsed.this)
    if name == "DECIMAL":
        precision = int(parsed.expressions[0].name) if parsed.expressions else 18
        return OnlineKind.DOUBLE if precision <= _EXACT_DIGITS else OnlineKind.STRING
    kind = _SCALARS.get(name)
    if kind is None:
        raise ContractError(
            f"{declared} is outside the type table",
            hint=_CASTS.get(name, "cast it to a scalar of the type table"),
        )
    return kind


def _not_a_type(declared: str) -> ContractError:
    return ContractError(
        f"{declared!r} is not a DuckDB type", hint="write it as DuckDB does, such as bigint"
    )
