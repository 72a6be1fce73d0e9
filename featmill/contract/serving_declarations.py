"""What is declared of serving: how a service is read, what it computes on request, which entities go online.

Mappings within `meta.feature_service` and `meta.feature_table`, each read and explained key by key like those.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from featmill.contract.declarations import Declaration

_LATENCY = re.compile(r"([0-9]+)(ms|s|m|h|d)")
_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_A_LATENCY = "a whole number and one of ms, s, m, h, d, such as 25ms"


def _latency(value: object) -> object:
    if value is None or isinstance(value, timedelta):
        return value
    found = _LATENCY.fullmatch(str(value).strip())
    milliseconds = int(found[1]) * _MILLISECONDS[found[2]] if found else 0
    if not 0 < milliseconds <= 366 * _MILLISECONDS["d"]:
        raise PydanticCustomError("duration", "{value} is no latency", {"value": repr(value)})
    return timedelta(milliseconds=milliseconds)


Latency = Annotated[timedelta, BeforeValidator(_latency)]
Text = Annotated[str, Field(min_length=1)]


class PolicyDeclaration(Declaration):
    """`config.meta.feature_service.policy` of an exposure: how it is read and how it degrades."""

    deadline: Latency = Field(
        default=timedelta(milliseconds=25),
        description=f"how soon an answer is due: {_A_LATENCY}",
    )
    cache_ttl: Latency | None = Field(
        default=None, description=f"how long a row is answered from memory: {_A_LATENCY}"
    )
    negative_ttl: Latency | None = Field(
        default=None,
        description=f"how long an entity that was not there is not asked for: {_A_LATENCY}",
    )
    stale_for: Latency | None = Field(
        default=None,
        description=f"how long a row is answered as stale while the store is away: {_A_LATENCY}",
    )
    entities: Annotated[int, Field(ge=1, le=100_000_000)] = Field(
        default=100_000, description="how many entities are kept in memory, 1 or more"
    )
    jitter: Annotated[float, Field(ge=0, le=1, strict=False)] = Field(
        default=0.1, description="by which fraction times in memory vary, 0 to 1"
    )
    failures: Annotated[int, Field(ge=1, le=1_000)] = Field(
        default=5, description="after how many failures in a row the store is left alone, 1 to 1000"
    )
    pause: Latency = Field(
        default=timedelta(milliseconds=500),
        description=f"for how long it is left alone then: {_A_LATENCY}",
    )


class RequestFeatureDeclaration(Declaration):
    """`config.meta.feature_service.request_features.<name>` of an exposure: computed when asked for."""

    STAND_IN: ClassVar[dict[str, str]] = {"data_type": "BIGINT", "sql": "NULL"}

    data_type: Text = Field(description="a type of the type table, such as BIGINT")
    sql: Text = Field(
        description="an SQL expression over request fields, stored features and as_of, as text"
    )
    description: str = Field(default="", description="what it says, as text")


class SelectionDeclaration(Declaration):
    """`config.meta.feature_table.selection` of a model: which of its entities go online."""

    where: Text | None = Field(
        default=None, description="an SQL condition over the columns and as_of, as text"
    )
    top: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="at most how many entities, 1 or more"
    )
    by: Text | None = Field(
        default=None, description="what the top ones have most of: an SQL expression, as text"
    )
