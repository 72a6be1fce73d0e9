"""Features that are computed when they are asked for: one SQL expression, at request time and in training.

`RequestPlan` is compiled once for a service. What an expression means is what DuckDB says of it. A few rows are
computed by Python functions that are equal to that to the bit (`native`); many rows, and whatever has no such
function, by DuckDB itself with a statement that is kept. A value whose computation fails (an overflow, a text that is
no number) is NULL, here as in training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from featmill.errors import ContractError, EncodingError, RequestError
from featmill.serving.echo import shown
from featmill.serving.moments import micros_of
from featmill.serving.request.in_duckdb import DuckdbRows
from featmill.serving.request.native import native_function
from featmill.serving.request.sql import AS_OF, Binder, is_lossless
from featmill.serving.request.values import WrongValue, online_form, reader_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from featmill.contract.catalog import Catalog, FeatureRef, FeatureService, RequestFeature
    from featmill.contract.types import FeatureType
    from featmill.serving.request.sql import BoundExpression, Node

Engine = Literal["native", "duckdb"]

#: Up to so many rows Python functions cost less than a statement of DuckDB.
FEW = 256


@dataclass(frozen=True, slots=True)
class _Input:
    """A column that an expression reads: whose it is, its type, and how a value is read."""

    name: str
    is_sent: bool
    type: FeatureType
    read: Callable[[Any], Any]


class RequestPlan:
    """The request features of one service; may be used by several threads at once."""

    def __init__(
        self,
        service: FeatureService,
        inputs: Sequence[_Input],
        native: Mapping[str, Callable[[Sequence[Any]], Any]],
        read: Mapping[str, frozenset[str]],
    ) -> None:
        self._service = service.name
        self._sent = {field.name: reader_of(field.type) for field in service.request_fields}
        self._inputs = tuple(inputs)
        self._features = service.request_features
        self._native = dict(native)
        stored = [one.name for one in inputs if not one.is_sent]
        #: The stored features that each request feature is computed from.
        self.stored_inputs = {
            feature: tuple(name for name in stored if name.lower() in names)
            for feature, names in read.items()
        }
        self._forms = {feature.name: online_form(feature.type) for feature in self._features}
        self._rows = DuckdbRows({one.name: one.type for one in inputs}, self._features)

    @classmethod
    def compiled(cls, service: FeatureService, stored: Mapping[str, FeatureType]) -> RequestPlan:
        """Compile a service's request features.

        Args:
            service: what declares them.
            stored: the types of its stored features, by the names that expressions call them by.

        Raises:
            ContractError: an expression is wrong; the message names the service, the feature and the expression.
        """
        columns = _columns(service, stored)
        bound, problems = _bound(service, columns)
        if problems:
            raise problems[0]
        reads = {
            one.feature.name: frozenset(name.lower() for name in one.expression.columns)
            for one in bound
        }
        read = frozenset[str]().union(*reads.values())
        sent = {field.name for field in service.request_fields}
        inputs = [
            _Input(name, name in sent, kind, reader_of(kind))
            for name, kind in columns.items()
            if name.lower() in read
        ]
        slots = {AS_OF: 0} | {one.name: at for at, one in enumerate(inputs, start=1)}
        native = {}
        with Binder(columns) as binder:
            for one in bound:
                found = native_function(one.cast, slots, binder.constant)
                if found is not None:
                    native[one.feature.name] = found
        return cls(service, inputs, native, reads)

    @property
    def engines(self) -> dict[str, Engine]:
        """What computes each feature of a few rows; many rows are always DuckDB's."""
        return {
            feature.name: "native" if feature.name in self._native else "duckdb"
            for feature in self._features
        }

    def is_long(self, n: int) -> bool:
        """Whether n rows are computed by DuckDB, for which nobody in the same event loop should wait."""
        return n > FEW or len(self._native) < len(self._features)

    def check_request(self, n: int, request: Mapping[str, Sequence[Any]]) -> None:
        """Check what a caller sent: every declared field, nothing else, n values of its type each.

        Raises:
            RequestError: the message and `field` name the field.
        """
        for name in request.keys() - self._sent.keys():
            known = ", ".join(self._sent) or "none"
            raise _refused(name, f"{self._service} has no request field {name}", f"it has: {known}")
        for name, read in self._sent.items():
            if name not in request:
                message = f"{self._service} needs the request field {name}"
                raise _refused(name, message, "send it beside the keys; null says it is not known")
            if len(request[name]) != n:
                message = f"request field {name} has {len(request[name])} values, expected {n}"
                raise _refused(name, message, "send one for each row")
            self._read(name, read, request[name])

    def evaluate(
        self,
        n: int,
        stored: Mapping[str, Sequence[Any]],
        request: Mapping[str, Sequence[Any]],
        as_of: datetime,
    ) -> dict[str, list[Any]]:
        """The features of n rows, each a list of n values in the online form, in declared order.

        Args:
            n: how many rows.
            stored: the service's stored features, n values each in the online form, defaults applied.
            request: the request fields, n values each, as `check_request` lets them through.
            as_of: the moment, aware.

        Raises:
            RequestError: a request field has a value that is none of its type.
            EncodingError: a stored feature has one.
        """
        columns = [
            self._read(one.name, one.read, request[one.name])
            if one.is_sent
            else _stored(one, stored[one.name])
            for one in self._inputs
        ]
        moment = micros_of(as_of)
        found: dict[str, list[Any]] = {}
        if n <= FEW:
            found = self._computed(
                [(moment, *row) for row in zip(*columns, strict=True)] or n * [(moment,)]
            )
        left = [feature.name for feature in self._features if feature.name not in found]
        if left:
            found |= self._rows.values(left, n, moment, columns)
        return {name: self._online(name, found[name]) for name in self._forms}

    def _computed(self, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
        found = {}
        for name, function in self._native.items():
            try:
                found[name] = [function(row) for row in rows]
            except (ArithmeticError, ValueError):
                # A row needs care: DuckDB computes them all.
                continue
        return found

    def _online(self, name: str, values: list[Any]) -> list[Any]:
        form = self._forms[name]
        if form is None:
            return values
        return [None if value is None else form(value) for value in values]

    def _read(self, name: str, read: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
        try:
            return [None if value is None else read(value) for value in values]
        except WrongValue as error:
            at = _first_wrong(read, values)
            message = f"request field {name}: {shown(values[at])} in row {at}, expected {error}"
            raise _refused(name, message, None) from error


def check_expressions(service: FeatureService, stored: Mapping[str, FeatureType]) -> list[str]:
    """What is wrong with a service's request features, a message each; nothing is compiled."""
    try:
        columns = _columns(service, stored)
    except ContractError as error:
        return [error.message]
    return [error.message for error in _bound(service, columns)[1]]


def columns_read(service: FeatureService, stored: Mapping[str, FeatureType]) -> frozenset[str]:
    """The request fields and stored features that a service's expressions read.

    Raises:
        ContractError: an expression is wrong.
    """
    found, problems = _bound(service, _columns(service, stored))
    if problems:
        raise problems[0]
    return frozenset(name for one in found for name in one.expression.columns)


def stored_columns(
    catalog: Catalog, service: FeatureService
) -> dict[str, tuple[FeatureRef, FeatureType]]:
    """What expressions call a service's stored features: their names, or `view__feature` where two have one name."""
    return {
        name: (ref, catalog.table(ref.view).feature(ref.feature).type)
        for ref, name in service.names.items()
    }


@dataclass(frozen=True, slots=True)
class _Bound:
    """A feature with its expression, and that as its declared type."""

    feature: RequestFeature
    expression: BoundExpression
    cast: Node


def _columns(service: FeatureService, stored: Mapping[str, FeatureType]) -> dict[str, FeatureType]:
    """What an expression may read beside `as_of`, once."""
    from featmill.serving.request.sql import check_distinct

    sent = {field.name: field.type for field in service.request_fields}
    both = sorted({name.lower() for name in sent} & {name.lower() for name in stored})
    if both:
        raise ContractError(
            f"{service.name}: {', '.join(both)} is a request field and a stored feature",
            hint="rename the request field",
        )
    try:
        check_distinct({**sent, **stored})
    except ContractError as error:
        raise ContractError(f"{service.name}: {error.message}", hint=error.hint) from error
    return {**sent, **stored}


def _bound(
    service: FeatureService, columns: Mapping[str, FeatureType]
) -> tuple[list[_Bound], list[ContractError]]:
    """The features that can be bound, and what is wrong with the others."""
    found, problems = [], []
    if not service.request_features:
        return [], []
    with Binder(columns) as binder:
        for feature in service.request_features:
            try:
                expression = binder.bind(feature.sql)
                found.append(_Bound(feature, expression, _declared(binder, feature, expression)))
            except ContractError as error:
                message = f"{service.name}: request feature {feature.name} ({feature.sql}): {error.message}"
                hint = error.hint or f"it may read: {', '.join([AS_OF, *columns])}"
                problems.append(ContractError(message, hint=hint))
    return found, problems


def _declared(binder: Binder, feature: RequestFeature, expression: BoundExpression) -> Node:
    from featmill.serving.request.sql import Node

    declared = binder.type_of(feature.type)
    if not is_lossless(expression.type, declared):
        raise ContractError(
            f"it gives {expression.type}, the declaration says {declared}",
            hint=f"declare {expression.type.lower()}, or write cast(... as {declared.lower()}) around it",
        )
    return Node("__cast", declared, (expression.tree,))


def _stored(one: _Input, values: Sequence[Any]) -> list[Any]:
    try:
        return [None if value is None else one.read(value) for value in values]
    except WrongValue as error:
        at = _first_wrong(one.read, values)
        raise EncodingError(
            f"stored feature {one.name}: {values[at]!r}, expected {error}",
            hint="what is online is not of the type that the contract declares now: publish it again",
        ) from error


def _first_wrong(read: Callable[[Any], Any], values: Sequence[Any]) -> int:
    for at, value in enumerate(values):
        try:
            if value is not None:
                read(value)
        except WrongValue:
            return at
    return 0


def _refused(name: str, message: str, hint: str | None) -> RequestError:
    return RequestError(message, field=f"request.{name}", hint=hint)
