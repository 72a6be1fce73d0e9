"""The keys a project may write under `config.meta`, and the shape of their values.

This is the load-bearing page of the contract: a key that is not here is an error, and a field's
description is what `featmill check` says was expected.
"""

from __future__ import annotations

import re
from datetime import timedelta
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from featmill.errors import ContractError

__all__ = [
    "AGGREGATES",
    "Declaration",
    "FeatureDeclaration",
    "FeatureServiceDeclaration",
    "FeatureTableDeclaration",
    "LabelDeclaration",
    "parse_duration",
]

Aggregate = Literal[
    "count",
    "count_distinct",
    "sum",
    "mean",
    "min",
    "max",
    "std",
    "first",
    "last",
    "last_n",
    "ratio",
    "time_since_last",
    "top",
]

#: The aggregates that `windows` computes.
AGGREGATES: tuple[str, ...] = get_args(Aggregate)

_DURATION = re.compile(r"([0-9]+)([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_A_DURATION = "a whole number and one of s, m, h, d, such as 7d"


def parse_duration(text: object) -> timedelta:
    """Read a duration such as `7d`, `1h` or `90s`: exact seconds (rule 1).

    Raises:
        ContractError: it is anything else.
    """
    found = _DURATION.fullmatch(str(text).strip())
    if found is None:
        raise ContractError(f"{text!r} is not a duration", hint=f"a duration is {_A_DURATION}")
    try:
        return timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    except OverflowError as error:
        raise ContractError(
            f"{text!r} is longer than time itself", hint="at most 999999999d"
        ) from error


def _duration(value: object) -> object:
    # Pydantic collects ValueErrors only, and words them itself; its custom error keeps our words.
    if value is None or isinstance(value, timedelta):
        return value
    try:
        return parse_duration(value)
    except ContractError as error:
        raise PydanticCustomError("duration", "{why}", {"why": error.message}) from error


def _positive(value: object) -> object:
    parsed = _duration(value)
    if parsed == timedelta(0):
        raise PydanticCustomError("duration", "{value} is no time at all", {"value": repr(value)})
    return parsed


def _hop(value: object) -> object:
    return value if value == "exact" else _step(value)


def _step(value: object) -> object:
    step = _positive(value)
    if isinstance(step, timedelta) and timedelta(days=1) % step:
        raise PydanticCustomError("hop", "{hop} does not divide the day", {"hop": repr(value)})
    return step


def _ttl(value: object) -> object:
    return None if value == "none" else _positive(value)


def _zone(value: object) -> object:
    # An abbreviation such as BST is one zone in London and another in Dhaka: an area and a place name one.
    spelt = isinstance(value, str) and (value == "UTC" or "/" in value)
    if value is None or (spelt and value in _zones()):
        return value
    raise PydanticCustomError("zone", "{zone} is no time zone", {"zone": repr(value)})


@cache
def _zones() -> frozenset[str]:
    """The zones of the engine that computes with them, so that none is accepted that it does not know."""
    import duckdb

    with duckdb.connect() as connection:
        names = connection.sql("SELECT name FROM pg_timezone_names()").fetchall()
    return frozenset(name for (name,) in names)


def _window(value: object) -> object:
    return value if value == "lifetime" else _positive(value)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Hop = Annotated[timedelta | Literal["exact"] | None, BeforeValidator(_hop)]
Tile = Annotated[timedelta | None, BeforeValidator(_step)]
Ttl = Annotated[timedelta | None, BeforeValidator(_ttl)]
WindowLength = Annotated[timedelta | Literal["lifetime"] | None, BeforeValidator(_window)]
Zone = Annotated[str | None, BeforeValidator(_zone)]
#: YAML has lists; a frozen declaration holds tuples.
Names = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(strict=False)]

_A_TILE = "a duration that divides the day, such as 1d"


def _formats(value: object) -> object:
    if isinstance(value, list) and "delta" not in value:
        raise PydanticCustomError("formats", "{value} is without delta", {"value": repr(value)})
    return value


#: Delta is what featmill itself reads; the others are mirrors of it.
Formats = Annotated[
    tuple[Literal["delta", "iceberg"], ...], BeforeValidator(_formats), Field(strict=False)
]

_A_HOP = "exact, or a duration that divides the day, such as 1h"


class Declaration(BaseModel):
    """Base of what is declared under meta: immutable, nothing coerced, no key that is not here.

    Where a required key is wrong or missing, its `STAND_IN` lets the others be read, and its
    `BLANK` is what rules then see of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    STAND_IN: ClassVar[dict[str, Any]] = {}
    BLANK: ClassVar[dict[str, Any]] = {}
    #: Keys that look as if they belonged here -> where they do belong.
    ELSEWHERE: ClassVar[dict[str, str]] = {}


class FeatureTableDeclaration(Declaration):
    """`config.meta.feature_table` of a model. `ttl` of None never expires."""

    STAND_IN: ClassVar[dict[str, Any]] = {"entity": "_", "join_keys": ("_",), "ttl": None}
    BLANK: ClassVar[dict[str, Any]] = {"entity": "", "join_keys": (), "ttl": None}
    ELSEWHERE: ClassVar[dict[str, str]] = {
        "access": "dbt's own config.access",
        "description": "dbt's own description",
        "event_time": "dbt's own config.event_time",
        "owner": "the owner of dbt's group, config.group",
        "tags": "dbt's own config.tags",
        "tenant": "config.meta.tenant",
        "version": "dbt's own versions",
    }

    entity: str = Field(min_length=1, description="the name of what a row is about, such as user")
    join_keys: Names = Field(
        min_length=1, description="the columns that identify it, such as [user_id]"
    )
    ttl: Ttl = Field(description="how long a row is valid, such as 3d, or none: it never expires")
    online: bool = Field(default=False, description="true or false")
    hop: Hop = Field(default=None, description=_A_HOP)
    delay: Duration | None = Field(default=None, description=_A_DURATION)
    tile: Tile = Field(default=None, description=_A_TILE)
    keep_events: bool = Field(default=False, description="true or false")
    storage: Literal["auto", "full", "changes"] = Field(
        default="auto", description="auto, full or changes"
    )
    index: bool = Field(default=False, description="true or false")
    selection: dict[str, Any] | None = Field(
        default=None, description="a mapping of where, top and by: which entities go online"
    )
    formats: Formats = Field(
        default=("delta",), description="a list of delta and iceberg, with delta: [delta, iceberg]"
    )


class FeatureDeclaration(Declaration):
    """`config.meta.feature` of a column.

    Whether `default` is declared is in `model_fields_set`: an explicit null is a declaration.
    """

    ELSEWHERE: ClassVar[dict[str, str]] = {
        "data_type": "dbt's own data_type of the column",
        "description": "dbt's own description of the column",
        "online": "meta.feature_table.online, or exclude: true here",
        "ttl": "meta.feature_table.ttl",
        "type": "dbt's own data_type of the column",
    }

    aggregate: Aggregate | None = Field(default=None, description="an aggregate")
    value: str | None = Field(
        default=None, description="a column or SQL expression over the events"
    )
    of: str | None = Field(
        default=None,
        description="a column or SQL expression over the events: what value is divided by",
    )
    n: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="how many values, 1 to 1000"
    )
    window: WindowLength = Field(default=None, description="a duration such as 30d, or lifetime")
    calendar: Literal["day", "week", "month"] | None = Field(
        default=None, description="a calendar window"
    )
    zone: Zone = Field(
        default=None, description="a time zone by area and place, such as Europe/London, or UTC"
    )
    where: str | None = Field(default=None, description="an SQL condition, as text")
    scale: Annotated[int, Field(ge=0, le=18)] | None = Field(
        default=None, description="the decimal places a value is rounded to, 0 to 18"
    )
    hop: Hop = Field(default=None, description=_A_HOP)
    delay: Duration | None = Field(default=None, description=_A_DURATION)
    default: Any = Field(default=None, description="a value of the column's type, or null")
    ignore_nulls: bool = Field(default=False, description="true or false")
    classification: Literal["public", "internal", "pii"] = Field(
        default="internal", description="a classification"
    )
    online_type: Literal["int64", "unix_timestamp"] | None = Field(
        default=None, description="how a time is stored online"
    )
    exclude: bool = Field(default=False, description="true or false")
    drift: dict[str, Any] | None = Field(default=None, description="a mapping of drift settings")

    @property
    def has_default(self) -> bool:
        """Whether a default is declared, be it null."""
        return "default" in self.model_fields_set


class FeatureServiceDeclaration(Declaration):
    """`config.meta.feature_service` of an exposure; without `features`, all of what it reads."""

    ELSEWHERE: ClassVar[dict[str, str]] = {
        "description": "dbt's own description of the exposure",
        "owner": "dbt's own owner of the exposure",
    }

    features: Names | None = Field(
        default=None, description="a list of view:feature, or no key at all for every feature"
    )
    request_fields: dict[str, str] = Field(
        default={}, description="a mapping of what a caller sends to its type: {cart_value: DOUBLE}"
    )
    request_features: dict[str, Any] = Field(
        default={}, description="a mapping of name to {data_type, sql}: computed when asked for"
    )
    fallbacks: dict[str, str] = Field(
        default={},
        description="a mapping of view:feature to the view:feature that stands in for it",
    )
    policy: dict[str, Any] | None = Field(
        default=None, description="a mapping of deadline, cache_ttl, stale_for and others"
    )


class LabelDeclaration(Declaration):
    """`config.meta.label` of a model of labels: when a label is known (rule 17)."""

    STAND_IN: ClassVar[dict[str, Any]] = {"horizon": timedelta(days=1)}

    horizon: Duration = Field(
        description="how long after `at` a label is decided, a duration such as 30d"
    )
    at: Annotated[str, Field(min_length=1)] | None = Field(
        default=None, description="the column a label's horizon begins at"
    )
