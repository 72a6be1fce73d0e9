"""A feature service compiled to a static read plan: everything that can be known before a request is known here.

Views with the same join keys share one hash per entity, so they form one key group, which is read by one HMGET an
entity. What remains for a request is to pack its keys, to send, and to decode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import ContractError, UsageError
from featmill.online.columns import ColumnsDecoder
from featmill.online.one_value import value_decoder
from featmill.online.plan import KEY_WIDTHS, plan_view
from featmill.serving.declared_defaults import online_defaults
from featmill.serving.key_columns import KeyColumn, key_column
from featmill.serving.moments import span

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from featmill.contract.catalog import (
        Catalog,
        FeatureRef,
        FeatureService,
        FeatureTable,
        ServingPolicy,
    )
    from featmill.contract.types import FeatureType
    from featmill.online.plan import OnlineColumn, ViewPlan
    from featmill.serving.request.features import RequestPlan


@dataclass(frozen=True, slots=True)
class ReadView:
    """One view of a plan: the group its rows are read with, where its event time lies in a reply, its ttl in µs."""

    name: str
    group: int
    time_at: int
    ttl: int | None


@dataclass(frozen=True, slots=True)
class ReadFeature:
    """One stored feature: where it lies in its group's reply, how it is decoded, what stands in for it.

    `default` is in the online form; `fallback` is the index of another stored feature of the plan.
    """

    name: str
    ref: FeatureRef
    type: FeatureType
    view: int
    group: int
    at: int
    decode: Callable[[bytes | None], Any]
    default: Any
    fallback: int | None


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """The views that share their entities' hashes.

    `keys` are in Feast's order, `fields` what is read of each entity: features and event times. `prefix` is how a
    Redis key begins, whatever the entity.
    """

    keys: tuple[KeyColumn, ...]
    prefix: bytes
    fields: tuple[bytes, ...]
    times: tuple[int, ...]

    @property
    def width(self) -> int | None:
        """How long a Redis key is without the project's name; None where that depends on the entity."""
        widths = [KEY_WIDTHS.get(key.kind) for key in self.keys]
        known = [width + 8 for width in widths if width is not None]
        return len(self.prefix) + sum(known) if len(known) == len(widths) else None


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """A service as it is read.

    `project` is the Feast project. `keys` are all join keys a request gives, with their contract types. `stored` are
    the features that are read, the first `answered` of which are answered; the rest are read as fallbacks only.
    `request` computes the request-time features, None where there are none. `names`, `types` and `view_of` are an
    answer's: of the stored features, then of those computed on request. `decoders` are the stored features of
    each key group, by their numbers, and what decodes them together.
    """

    name: str
    project: str
    keys: tuple[KeyColumn, ...]
    groups: tuple[KeyGroup, ...]
    views: tuple[ReadView, ...]
    stored: tuple[ReadFeature, ...]
    answered: int
    policy: ServingPolicy
    service: FeatureService
    request: RequestPlan | None
    key_names: tuple[str, ...]
    request_names: tuple[str, ...]
    names: tuple[str, ...]
    types: tuple[FeatureType, ...]
    view_of: tuple[int | None, ...]
    decoders: tuple[tuple[tuple[int, ...], ColumnsDecoder], ...]

    @classmethod
    def compiled(cls, catalog: Catalog, name: str) -> ServicePlan:
        """Compile a service of the catalogue.

        Raises:
            UsageError: there is no such service or feature, a table of it is not online, or it spans tenants.
            ContractError: a join key's type cannot be a key online, or a feature is called like a join key.
        """
        service = catalog.service(name)
        refs = _refs(service)
        tables = _tables(catalog, service, refs)
        project = catalog.feast_project(next(iter(tables.values())).tenant)
        views = {view: plan_view(project, table) for view, table in tables.items()}
        layout = _Layout(tables, views, refs)
        stored = _stored(service, refs, tables, layout)
        answered, computed = stored[: len(service.features)], service.request_features
        keys = _request_keys(tables)
        names = (*(one.name for one in answered), *(one.name for one in computed))
        _check_names(service, keys, names)
        return cls(
            name=name,
            project=project,
            keys=keys,
            groups=layout.groups,
            views=layout.views,
            stored=stored,
            answered=len(service.features),
            policy=service.policy,
            service=service,
            request=_request_plan(service, answered),
            key_names=tuple(key.name for key in keys),
            request_names=tuple(field.name for field in service.request_fields),
            names=names,
            types=(*(one.type for one in answered), *(one.type for one in computed)),
            decoders=tuple(_decoder(stored, group) for group in range(len(layout.groups))),
            view_of=(*(feature.view for feature in answered), *(None for _ in computed)),
        )


def is_served_online(catalog: Catalog, service: FeatureService) -> bool:
    """Whether every table a service reads is online: one that only trains cannot be read here."""
    refs = _refs(service)
    return bool(refs) and all(catalog.table(ref.view).online for ref in refs)


def _refs(service: FeatureService) -> tuple[FeatureRef, ...]:
    """What is read: the service's features, then fallback sources that are not among them."""
    sources = (fallback.source for fallback in service.fallbacks)
    return tuple(dict.fromkeys([*service.features, *sources]))


def _tables(
    catalog: Catalog, service: FeatureService, refs: Sequence[FeatureRef]
) -> dict[str, FeatureTable]:
    tables = {ref.view: catalog.table(ref.view) for ref in refs}
    if not tables:
        raise UsageError(f"the feature service {service.name} has no stored features")
    offline = sorted(name for name, table in tables.items() if not table.online)
    if offline:
        raise UsageError(
            f"the feature service {service.name} reads {', '.join(offline)}, which is not online",
            hint="declare `online: true`, or train with it and serve another service",
        )
    tenants = sorted({table.tenant for table in tables.values()})
    if len(tenants) > 1:
        raise UsageError(
            f"the feature service {service.name} spans the tenants {', '.join(tenants)}",
            hint="each tenant's rows are isolated online; give each a service of its own",
        )
    return tables


class _Layout:
    """Where each field lies: a group for each set of join keys, in it a view's event time before its features."""

    def __init__(
        self,
        tables: dict[str, FeatureTable],
        plans: dict[str, ViewPlan],
        refs: Sequence[FeatureRef],
    ) -> None:
        by_key: dict[tuple[Any, ...], list[str]] = {}
        for view, plan in plans.items():
            by_key.setdefault(tuple((key.name, key.kind) for key in plan.keys), []).append(view)
        self._at: dict[FeatureRef, tuple[int, int]] = {}
        self._columns: dict[FeatureRef, OnlineColumn] = {}
        groups, views = [], {}
        for number, members in enumerate(by_key.values()):
            fields: list[bytes] = []
            times = []
            for view in members:
                views[view] = ReadView(view, number, len(fields), _ttl(tables[view]))
                times.append(len(fields))
                fields.append(plans[view].time_field)
                of_feature = {column.name: column for column in plans[view].features}
                for ref in refs:
                    if ref.view == view:
                        column = of_feature[tables[view].feature(ref.feature).name]
                        self._columns[ref] = column
                        self._at[ref] = (number, len(fields))
                        fields.append(column.field)
            first = members[0]
            columns = {key.name: key_column(key) for key in tables[first].join_keys}
            keys = tuple(columns[key.name] for key in plans[first].keys)
            groups.append(KeyGroup(keys, plans[first].key_prefix, tuple(fields), tuple(times)))
        self.groups = tuple(groups)
        self.views = tuple(views[view] for view in tables)
        self.view_index = {view: at for at, view in enumerate(tables)}

    def column(self, ref: FeatureRef) -> OnlineColumn:
        """How a feature is stored."""
        return self._columns[ref]

    def place(self, ref: FeatureRef) -> tuple[int, int]:
        """The group of a feature and its place in the group's reply."""
        return self._at[ref]


def _stored(
    service: FeatureService,
    refs: Sequence[FeatureRef],
    tables: dict[str, FeatureTable],
    layout: _Layout,
) -> tuple[ReadFeature, ...]:
    declared = [tables[ref.view].feature(ref.feature) for ref in refs]
    defaults = online_defaults(
        [(feature, layout.column(ref)) for ref, feature in zip(refs, declared, strict=True)]
    )
    index = {ref: at for at, ref in enumerate(refs)}
    sources = {fallback.feature: index[fallback.source] for fallback in service.fallbacks}
    names = service.names
    found = []
    for ref, feature, default in zip(refs, declared, defaults, strict=True):
        group, at = layout.place(ref)
        found.append(
            ReadFeature(
                name=names.get(ref, f"{ref.view}__{ref.feature}"),
                ref=ref,
                type=feature.type,
                view=layout.view_index[ref.view],
                group=group,
                at=at,
                decode=value_decoder(feature.type, str(ref)),
                default=default,
                fallback=sources.get(ref),
            )
        )
    return tuple(found)


def _decoder(stored: Sequence[ReadFeature], group: int) -> tuple[tuple[int, ...], ColumnsDecoder]:
    members = tuple(at for at, feature in enumerate(stored) if feature.group == group)
    return members, ColumnsDecoder([(stored[at].type, str(stored[at].ref)) for at in members])


def _request_keys(tables: dict[str, FeatureTable]) -> tuple[KeyColumn, ...]:
    found: dict[str, KeyColumn] = {}
    for table in tables.values():
        for key in table.join_keys:
            column = key_column(key)
            other = found.setdefault(key.name, column)
            if other.kind != column.kind:
                raise UsageError(
                    f"join key {key.name!r} is {column.type.sql} in {table.name} and "
                    f"{other.type.sql} in another view of the service",
                    hint="give it one type",
                )
    return tuple(found.values())


def _check_names(
    service: FeatureService, keys: Sequence[KeyColumn], features: Sequence[str]
) -> None:
    """An answer has keys and features side by side; of a project `featmill check` says so with file and line."""
    taken = sorted({key.name for key in keys}.intersection(features))
    if taken:
        raise ContractError(
            f"{service.name}: {', '.join(taken)} is a feature and a join key",
            hint="rename the feature, or leave it out of the service",
        )


def _request_plan(service: FeatureService, stored: Sequence[ReadFeature]) -> RequestPlan | None:
    if not service.request_fields and not service.request_features:
        return None
    from featmill.serving.request.features import RequestPlan

    return RequestPlan.compiled(service, {feature.name: feature.type for feature in stored})


def _ttl(table: FeatureTable) -> int | None:
    return None if table.ttl is None else span(table.ttl)
