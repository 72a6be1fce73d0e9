"""What the API offers: each declared service with its keys, request fields and features, worked out once."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from featmill.contract.types import OnlineKind

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, FeatureService
    from featmill.contract.types import FeatureType
    from featmill.serving.plan import ServicePlan


@dataclass(frozen=True, slots=True)
class OfferedService:
    """One service.

    `keys` and `request` are the fields a caller sends, `features` what is answered, with their types; `views` are the
    views it reads, with their tenants; `view_of` says which of them a feature is of, None for one that is computed on
    request. `from_json` has, for those fields whose values JSON cannot hold as they are,
    what makes them of their text.
    """

    declared: FeatureService
    keys: Mapping[str, FeatureType]
    request: Mapping[str, FeatureType]
    features: Mapping[str, FeatureType]
    views: Mapping[str, str]
    view_of: Mapping[str, str | None]
    from_json: Mapping[str, Callable[[str], Any]]

    @property
    def name(self) -> str:
        """The service's name."""
        return self.declared.name


def offered_services(
    catalog: Catalog, plans: Mapping[str, ServicePlan]
) -> dict[str, OfferedService]:
    """The compiled services by name."""
    return {name: _offered(catalog, plans[name]) for name in sorted(plans)}


def kind_of(column: FeatureType) -> str:
    """What a value of a type is in JSON: bool, int, float, text, bytes, date or moment."""
    if column.sql.startswith("TIMESTAMP"):
        return "moment"
    if column.kind is OnlineKind.UNIX_TIMESTAMP:
        return "date" if column.sql.startswith("DATE") else "moment"
    return _KINDS[column.kind]


_KINDS = {
    OnlineKind.BOOL: "bool",
    OnlineKind.INT32: "int",
    OnlineKind.INT64: "int",
    OnlineKind.FLOAT: "float",
    OnlineKind.DOUBLE: "float",
    OnlineKind.STRING: "text",
    OnlineKind.BYTES: "bytes",
}


def _offered(catalog: Catalog, plan: ServicePlan) -> OfferedService:
    keys = {key.name: key.type for key in plan.keys}
    request = {field.name: field.type for field in plan.service.request_fields}
    return OfferedService(
        declared=plan.service,
        keys=keys,
        request=request,
        features=dict(zip(plan.names, plan.types, strict=True)),
        views={view.name: catalog.table(view.name).tenant for view in plan.views},
        view_of={
            name: None if at is None else plan.views[at].name
            for name, at in zip(plan.names, plan.view_of, strict=True)
        },
        from_json={
            name: FROM_TEXT[kind]
            for name, column in {**request, **keys}.items()
            if (kind := kind_of(column)) in FROM_TEXT
        },
    )


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        # Rule 1: a naive time is nobody's.
        raise ValueError("a moment needs its zone")
    return found.astimezone(UTC)


def _day(text: str) -> date:
    return date.fromisoformat(text)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error


#: What makes a value of its text, for the kinds that JSON has no form of; each raises ValueError.
FROM_TEXT: Mapping[str, Callable[[str], Any]] = {"moment": _moment, "date": _day, "bytes": _bytes}
#: What such a text looks like.
EXPECTED_TEXT: Mapping[str, str] = {
    "moment": "a moment with its zone, such as 2026-03-01T12:00:00Z",
    "date": "a date, such as 2026-03-01",
    "bytes": "base64",
}
