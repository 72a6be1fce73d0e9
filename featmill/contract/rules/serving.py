"""Rules of how a service is served: what a caller sends, what is computed on request, what stands in for what."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from featmill.contract.problems import one_of
from featmill.contract.row_expressions import AS_OF, row_mistake
from featmill.contract.services import features_of, parse_reference, tables_of
from featmill.contract.types import parse_type
from featmill.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.catalog import FeatureRef
    from featmill.contract.declared import (
        Declared,
        DeclaredColumn,
        DeclaredService,
        DeclaredTable,
    )
    from featmill.contract.problems import Mistake

_SERVICE = ("config", "meta", "feature_service")
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


def has_request_names_of_its_own(service: DeclaredService, declared: Declared) -> Iterator[Mistake]:
    """A row of a service is one flat set of names."""
    tables = tables_of(service, declared)
    taken = {name: "a join key" for table in tables for name in table.declaration.join_keys}
    taken |= {ref.feature: "a stored feature" for ref in features_of(service, declared)}
    taken[AS_OF] = "the moment of the request"
    for part, what in (
        ("request_fields", "a request field"),
        ("request_features", "a request feature"),
    ):
        for name in getattr(service.declaration, part):
            at = (*_SERVICE, part, name)
            if not _NAME.fullmatch(name):
                expected = "lower-case letters, digits and _"
                yield service.mistake(f"{what} is called {name!r}", expected, *at)
            elif name in taken:
                yield service.mistake(
                    f"{what} is called {name}, which is {taken[name]}", "a name of its own", *at
                )
            taken.setdefault(name, what)


def has_request_types(service: DeclaredService, _: Declared) -> Iterator[Mistake]:
    """What is sent and what is computed has a type of the type table."""
    types = {("request_fields", n): t for n, t in service.declaration.request_fields.items()}
    features = service.request_features
    types |= {("request_features", n): f.data_type for n, f in features.items()}
    for (part, name), data_type in types.items():
        try:
            parse_type(data_type)
        except ContractError as error:
            below = ("data_type",) if part == "request_features" else ()
            expected = error.hint or "a type of the type table"
            yield service.mistake(
                f"{name}: {error.message}", expected, *_SERVICE, part, name, *below
            )


def computes_from_its_row(service: DeclaredService, declared: Declared) -> Iterator[Mistake]:
    """What is computed on request sees what was sent, what is stored and the moment: the same in training (rule 2)."""
    columns = {ref.feature for ref in features_of(service, declared)}
    columns |= service.declaration.request_fields.keys()
    for name, feature in service.request_features.items():
        found = row_mistake(feature.sql, columns)
        if found is not None:
            at = (*_SERVICE, "request_features", name, "sql")
            yield service.mistake(f"{name}: {found[0]}", found[1], *at)


def falls_back_on_what_it_can_read(
    service: DeclaredService, declared: Declared
) -> Iterator[Mistake]:
    """What stands in for a value is of the same type and is found by the same keys."""
    tables = {table.name: table for table in tables_of(service, declared)}
    reads = [str(ref) for ref in features_of(service, declared)]
    keys = {key for table in tables.values() for key in table.declaration.join_keys}
    for text, instead in service.declaration.fallbacks.items():
        at = (*_SERVICE, "fallbacks", text)
        if text not in reads:
            yield service.mistake(
                f"a fallback for {text}, which it does not read", one_of(reads, text), *at
            )
            continue
        source = parse_reference(instead)
        found = _column(tables, source)
        if found is None:
            message = f"{text} falls back on {instead}, no feature of a table it depends on"
            known = [f"{t.name}:{c.name}" for t in tables.values() for c in t.features]
            yield service.mistake(message, one_of(known, instead), *at)
            continue
        table = tables[source.view]
        feature = _column(tables, parse_reference(text))
        if not table.declaration.online or not set(table.declaration.join_keys) <= keys:
            message = f"{text} falls back on {instead}, which cannot be read with its keys"
            yield service.mistake(message, "a feature of a table that is online", *at)
        elif feature is not None and feature.type != found.type:
            message = f"{text} of type {feature.node.data_type} falls back on {instead} of type {found.node.data_type}"
            yield service.mistake(message, "a feature of the same type", *at)


def _column(tables: dict[str, DeclaredTable], ref: FeatureRef) -> DeclaredColumn | None:
    table = tables.get(ref.view)
    features = () if table is None else table.features
    return next((column for column in features if column.name == ref.feature), None)


SERVING_RULES: tuple[Callable[[DeclaredService, Declared], Iterator[Mistake]], ...] = (
    has_request_names_of_its_own,
    has_request_types,
    computes_from_its_row,
    falls_back_on_what_it_can_read,
)
