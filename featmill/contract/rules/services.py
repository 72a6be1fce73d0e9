"""Rules of a feature service, which is an exposure `type: ml`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.problems import one_of
from featmill.contract.services import features_of, parse_reference, tables_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.contract.declared import Declared, DeclaredService
    from featmill.contract.problems import Mistake

_FEATURES = ("config", "meta", "feature_service", "features")


def has_an_owner(service: DeclaredService, _: Declared) -> Iterator[Mistake]:
    """Someone is told when a feature changes."""
    if service.exposure.owner is None:
        yield service.mistake("no owner", "owner: {name: ..., email: ...}", "owner")


def reads_feature_tables(service: DeclaredService, declared: Declared) -> Iterator[Mistake]:
    """A model is served from feature tables, so it depends on nothing else."""
    known = {table.model.unique_id for table in declared.tables}
    known |= {node.unique_id for table in declared.tables for node in table.publish_nodes}
    for parent in service.exposure.parents:
        if parent not in known:
            name = parent.split(".", 2)[-1]
            message = f"depends on {name}, which is neither feature table nor published"
            yield service.mistake(message, "ref() of published feature tables", "depends_on")
    if not service.exposure.parents:
        message = "depends on nothing"
        yield service.mistake(message, "ref() of published feature tables", "depends_on")


def names_features(service: DeclaredService, declared: Declared) -> Iterator[Mistake]:
    """What a service names exists, in a table that its exposure depends on."""
    views = {table.name: table for table in tables_of(service, declared)}
    seen: set[str] = set()
    for index, text in enumerate(service.declaration.features or ()):
        at = (*_FEATURES, index)
        reference = parse_reference(text)
        table = views.get(reference.view)
        if text in seen:
            yield service.mistake(f"names {text} twice", "each feature once", *at)
        elif not reference.feature:
            yield service.mistake(f"{text!r} is no feature", "view:feature", *at)
        elif table is None:
            message = f"reads {text}, but depends on no table {reference.view!r}"
            yield service.mistake(message, one_of(views, reference.view), *at)
        elif reference.feature not in (names := [c.name for c in table.features]):
            message = f"{table.name} has no feature {reference.feature!r}"
            yield service.mistake(message, one_of(names, reference.feature), *at)
        seen.add(text)


def reads_no_name_twice(service: DeclaredService, declared: Declared) -> Iterator[Mistake]:
    """A model's inputs go by the feature's name alone."""
    tables = [table.name for table in tables_of(service, declared)]
    view_of: dict[str, str] = {}
    # A view that does not exist is told by name.
    known = (ref for ref in features_of(service, declared) if ref.view in tables)
    for reference in dict.fromkeys(known):
        first = view_of.setdefault(reference.feature, reference.view)
        if first != reference.view:
            named = service.declaration.features is not None
            yield service.mistake(
                f"reads {reference.feature} of both {first} and {reference.view}",
                "one feature for each name: rename one, or choose with meta.feature_service",
                *(_FEATURES if named else ("depends_on",)),
            )
    for name in sorted({name for name in tables if tables.count(name) > 1}):
        message = f"depends on two versions of {name}"
        yield service.mistake(message, "ref() of one version", "depends_on")


def stays_with_one_tenant(service: DeclaredService, declared: Declared) -> Iterator[Mistake]:
    """A tenant's features are in an online project of their own; no read spans two."""
    tenants = sorted({table.tenant for table in tables_of(service, declared)})
    if len(tenants) > 1:
        message = f"reads tables of the tenants {', '.join(tenants)}"
        yield service.mistake(message, "tables of one tenant", "depends_on")


SERVICE_RULES: tuple[Callable[[DeclaredService, Declared], Iterator[Mistake]], ...] = (
    has_an_owner,
    reads_feature_tables,
    names_features,
    reads_no_name_twice,
    stays_with_one_tenant,
)
