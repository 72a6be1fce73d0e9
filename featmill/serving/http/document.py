"""GET /openapi.json: made of the models that answers are held against, and of the compiled services."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from featmill.contract.types import OnlineKind
from featmill.serving.http import models
from featmill.serving.http.features import ARROW
from featmill.serving.http.served_services import kind_of

if TYPE_CHECKING:
    from featmill.contract.types import FeatureType
    from featmill.serving.http.options import ServeOptions
    from featmill.serving.http.served_services import OfferedService

#: What each refusal means; the body is a Problem.
REFUSALS = {
    400: "The body is not JSON.",
    401: "There is no key, or none that opens anything.",
    403: "The key does not open this.",
    404: "There is no such service, or none that the key opens.",
    406: "Answers have no such form.",
    408: "The body did not come in time.",
    413: "Too many entities, or too long a body.",
    415: "The body is of another type than application/json.",
    422: "A field is wrong; `field` says which.",
    429: "More requests a second than the key may make.",
    503: "Too many requests at once.",
}
_MOMENT = {"type": "string", "format": "date-time"}
_BOUNDS = {OnlineKind.INT32: 2**31, OnlineKind.INT64: 2**63}
_HEADERS = {
    "X-Request-ID": {
        "description": "The request's own id, or a new one.",
        "schema": {"type": "string"},
    }
}
_OF_ANSWERS = {
    "X-Featmill-Service-Version": {
        "description": "The `version` of GET /services/{name}: types that are remembered are those of a version.",
        "schema": {"type": "string"},
    },
    "X-Featmill-Degraded": {
        "description": "Only where the store had no part in the answer: why.",
        "schema": {"type": "string"},
    },
}


def document(services: Mapping[str, OfferedService], options: ServeOptions) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server of these services."""
    security: list[dict[str, list[str]]] = [{"bearer": []}, {"header": []}] if options.auth else []
    metrics = _text("What Prometheus reads", "text/plain", _keyed(options.auth, 403))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "featmill",
            "version": version("featmill"),
            "description": "Features for models, each value with its status and its age.",
        },
        "paths": {
            "/features": {"post": _features(services, options.entities, options.auth)},
            "/services": {"get": _get("The services", "Services", _keyed(options.auth))},
            "/services/{name}": {"get": _service(options.auth)},
            "/healthz": {"get": _get("Whether the process lives", "Alive", ()) | _OPEN},
            "/readyz": {"get": _readyz() | _OPEN},
            **({"/metrics": {"get": metrics}} if options.metrics else {}),
            "/": {"get": _text("The status page", "text/html", _keyed(options.auth))},
        },
        "components": {
            "schemas": models.schemas(
                models.Alive,
                models.Columns,
                models.Problem,
                models.Ready,
                models.Rows,
                models.Service,
                models.Services,
            ),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            },
        },
        "security": security,
    }


_OPEN: dict[str, Any] = {"security": []}


def _keyed(auth: bool, *more: int) -> tuple[int, ...]:
    return (401, 429, *more) if auth else (429,)


def _features(services: Mapping[str, OfferedService], entities: int, auth: bool) -> dict[str, Any]:
    answers = {
        "application/json": {"schema": {"anyOf": [_ref("Columns"), _ref("Rows")]}},
        ARROW: {"schema": {"type": "string", "format": "binary"}},
    }
    without_keys = {status for status in REFUSALS if status != 403 and (auth or status != 401)}
    return {
        "operationId": "readFeatures",
        "summary": f"Features of 1 to {entities:,} entities",
        "description": "Lists are of one length; one value instead of a list counts for every row. The status is 200 "
        "also where the store does not answer: then the statuses say so, and X-Featmill-Degraded.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request_schema(services, entities)}},
        },
        "responses": {
            "200": {
                "description": "Values with their statuses, ages and snapshots.",
                "headers": _HEADERS | _OF_ANSWERS,
                "content": answers,
            },
            **_refusals(sorted(without_keys)),
        },
    }


def request_schema(services: Mapping[str, OfferedService], entities: int) -> dict[str, Any]:
    """What POST /features takes: one form for each service."""
    forms = [_request(service, entities) for service in services.values()]
    if not forms:
        return {"type": "object"}
    return {"oneOf": forms} if len(forms) > 1 else forms[0]


def _request(service: OfferedService, entities: int) -> dict[str, Any]:
    required = ["service", "keys", *(["request"] if service.request else [])]
    return {
        "type": "object",
        "title": service.name,
        "additionalProperties": False,
        "required": required,
        "properties": {
            "service": {"const": service.name, "type": "string"},
            "keys": _columns(service.keys, entities, is_nullable=False),
            "request": _columns(service.request, entities, is_nullable=True),
            "format": {"type": "string", "enum": ["columns", "rows"], "default": "columns"},
        },
    }


def _columns(
    columns: Mapping[str, FeatureType], entities: int, *, is_nullable: bool
) -> dict[str, Any]:
    found = {}
    for name, column in columns.items():
        one = value_schema(column)
        if is_nullable:
            one = {"anyOf": [one, {"type": "null"}]}
        many = {"type": "array", "items": one, "minItems": 1, "maxItems": entities}
        found[name] = {"anyOf": [one, many]}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(columns),
        "properties": found,
    }


def value_schema(column: FeatureType) -> dict[str, Any]:
    """What one value of a contract type is in JSON."""
    kind = kind_of(column)
    if kind == "int":
        bound = _BOUNDS[column.kind]
        return {"type": "integer", "minimum": -bound, "maximum": bound - 1}
    texts = {
        "moment": _MOMENT,
        "date": {"type": "string", "format": "date"},
        "bytes": {"type": "string", "contentEncoding": "base64"},
        "bool": {"type": "boolean"},
        "float": {"type": "number"},
    }
    if column.sql == "UUID":
        return {"type": "string", "format": "uuid"}
    return texts.get(kind, {"type": "string"})


def _service(auth: bool) -> dict[str, Any]:
    name = {
        "name": "name",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "The service's name.",
    }
    return _get("One service", "Service", (*_keyed(auth), 404)) | {"parameters": [name]}


def _get(summary: str, model: str, refusals: tuple[int, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(model)}}
    return {
        "summary": summary,
        "responses": {
            "200": {"description": summary, "headers": _HEADERS, "content": content},
            **_refusals(sorted(refusals)),
        },
    }


def _readyz() -> dict[str, Any]:
    found = _get("Whether requests should be sent here", "Ready", ())
    found["responses"]["503"] = found["responses"]["200"] | {
        "description": "They should not; the status says why."
    }
    return found


def _text(summary: str, kind: str, refusals: tuple[int, ...]) -> dict[str, Any]:
    found = _get(summary, "Alive", refusals)
    found["responses"]["200"]["content"] = {kind: {"schema": {"type": "string"}}}
    return found


def _refusals(statuses: list[int]) -> dict[str, Any]:
    content = {"application/json": {"schema": _ref("Problem")}}
    return {
        str(status): {"description": REFUSALS[status], "headers": _HEADERS, "content": content}
        for status in statuses
    }


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}
