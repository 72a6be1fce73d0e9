"""The API's bodies as models: what the OpenAPI document is made of, and what tests hold the answers against."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Word = Literal["ok", "default", "stale", "expired", "missing"]
ViewWord = Literal["ok", "default", "stale", "expired", "missing"]
Scalar = bool | int | float | str
Value = Scalar | list[Scalar | None] | None


class Body(BaseModel):
    """Base of what is answered: nothing is in it that is not declared."""

    model_config = ConfigDict(extra="forbid")


class Problem(Body):
    """Why a request was refused."""

    error: str = Field(description="What is wrong.")
    field: str | None = Field(description="Where: a field of the body, or `header.<name>`.")
    expected: str | None = Field(description="What was expected there, or what to do.")
    request_id: str = Field(description="As in the header X-Request-ID, and in the server's log.")


class ViewColumns(Body):
    """What was found of one view, for each row."""

    snapshot: str | None = Field(
        description="The snapshot that serves; null while it is being replaced in place."
    )
    release: str | None = Field(description="The release that serves.")
    statuses: list[ViewWord] = Field(description="What the lookup of each row found.")
    event_at: list[datetime | None] = Field(description="When each row is from (feature_at).")
    ages: list[float | None] = Field(description="How old that is at `as_of`, in seconds.")


class Columns(Body):
    """The answer to one request, column by column: of each name one value for each row."""

    service: str
    as_of: datetime = Field(description="The moment the answer is for; it decides what is expired.")
    degraded: str | None = Field(description="Why the store had no part in it; null where it had.")
    keys: dict[str, list[Scalar]]
    values: dict[str, list[Value]]
    statuses: dict[str, list[Word]]
    views: dict[str, ViewColumns]


class ServedView(Body):
    """What serves of one view."""

    snapshot: str | None
    release: str | None


class RowOfView(Body):
    """What was found of one view for one row."""

    status: ViewWord
    event_at: datetime | None
    age: float | None


class Row(Body):
    """One row of an answer."""

    keys: dict[str, Scalar]
    values: dict[str, Value]
    statuses: dict[str, Word]
    views: dict[str, RowOfView]


class Rows(Body):
    """The answer to one request, row by row."""

    service: str
    as_of: datetime
    degraded: str | None
    views: dict[str, ServedView]
    rows: list[Row]


class Column(Body):
    """A key, a request field or a feature: its contract type and its form in JSON."""

    name: str
    type: str = Field(description="The contract's type, in DuckDB's spelling.")
    json_type: str = Field(description="bool, int, float, text, bytes, date or moment.")
    is_list: bool


class FeatureColumn(Column):
    """A feature."""

    view: str | None = Field(description="The view it is of; null if it is computed on request.")


class Service(Body):
    """One feature service."""

    name: str
    description: str
    owner: str | None
    views: list[str]
    keys: list[Column]
    request: list[Column]
    features: list[FeatureColumn]
    version: str = Field(
        description="Changes with any of the above; answers have it as X-Featmill-Service-Version."
    )


class Services(Body):
    """The services that the caller's key opens."""

    services: list[Service]


class Alive(Body):
    """The process lives."""

    status: Literal["alive"]


class ServingNow(Body):
    """What serves in one Feast project."""

    release: str
    as_of: datetime
    promoted_at: datetime
    mode: Literal["in_place", "generation"]
    complete: bool
    snapshots: dict[str, str | None]


class Ready(Body):
    """Whether requests should be sent here."""

    status: Literal["ready", "degraded", "empty", "stopping"]
    problem: str | None
    breakers: dict[str, str] = Field(
        default={}, description="Circuit breakers that are not closed, by service; with a key."
    )
    serving: dict[str, ServingNow | None] = Field(
        default={}, description="By Feast project; null where nothing was promoted. With a key."
    )


def schemas(*models: type[BaseModel]) -> dict[str, Any]:
    """The JSON schemas of models and of what they are made of, by name."""
    found: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(
            ref_template="#/components/schemas/{model}", mode="serialization"
        )
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found
