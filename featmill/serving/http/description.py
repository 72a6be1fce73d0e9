"""What GET /services tells of a service, and the version by which a caller notices that it is another by now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from featmill.serving.http.served_services import kind_of

if TYPE_CHECKING:
    from featmill.contract.types import FeatureType
    from featmill.serving.http.served_services import OfferedService

#: Beside each answer, so that whoever remembers types knows when they no longer count.
VERSION_HEADER = b"x-featmill-service-version"


def described(service: OfferedService) -> dict[str, Any]:
    """A service as GET /services tells of it; `version` is of all the rest."""
    told = _told(service)
    return {**told, "version": _version(told)}


def version_of(service: OfferedService) -> bytes:
    """The version of a service."""
    return _version(_told(service)).encode()


def _told(service: OfferedService) -> dict[str, Any]:
    return {
        "name": service.name,
        "description": service.declared.description,
        "owner": service.declared.owner,
        "views": list(service.views),
        "keys": _columns(service.keys),
        "request": _columns(service.request),
        "features": [
            {**column, "view": service.view_of[column["name"]]}
            for column in _columns(service.features)
        ],
    }


def _version(told: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(told)).hexdigest()[:12]


def _columns(columns: Mapping[str, FeatureType]) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": column.sql, "json_type": kind_of(column), "is_list": column.is_list}
        for name, column in columns.items()
    ]
