"""What of a feature table goes online, and under which names: decided once, before a row is read.

All views with the same join keys share one Redis hash per entity, and a feature's field in it is
only a 32-bit hash of `view:feature`. Two features with one field would overwrite each other in
silence, so a plan looks for that first.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import mmh3

from featmill.contract.types import OnlineKind
from featmill.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from featmill.contract.catalog import FeatureTable

#: Feast's `ValueType` numbers of the kinds that can be keys.
KEY_TYPES: dict[OnlineKind, int] = {
    OnlineKind.BYTES: 1,
    OnlineKind.STRING: 2,
    OnlineKind.INT32: 3,
    OnlineKind.INT64: 4,
    OnlineKind.UNIX_TIMESTAMP: 8,
}

#: Bytes of a key value whose length does not depend on the value.
KEY_WIDTHS: dict[OnlineKind, int] = {
    OnlineKind.INT32: 4,
    OnlineKind.INT64: 8,
    OnlineKind.UNIX_TIMESTAMP: 8,
}


@dataclass(frozen=True, slots=True)
class OnlineColumn:
    """A column as it is stored online.

    `field` is a feature's field name in the hash, and empty for a join key. Of a list `kind` is
    what its elements are stored as.
    """

    name: str
    kind: OnlineKind
    field: bytes = b""
    is_list: bool = False


@dataclass(frozen=True, slots=True)
class ViewPlan:
    """One feature view online.

    `keys` are in Feast's order, which is by name, whatever order they were declared in.
    """

    project: str
    view: str
    keys: tuple[OnlineColumn, ...]
    event_time: str
    features: tuple[OnlineColumn, ...]

    @property
    def time_field(self) -> bytes:
        """The field that holds the row's event time."""
        return time_field(self.view)

    @property
    def fields(self) -> tuple[bytes, ...]:
        """Every field of the view, the event time's last."""
        return (*(feature.field for feature in self.features), self.time_field)

    @property
    def key_prefix(self) -> bytes:
        """How every Redis key of this view begins: the number and the names of its join keys."""
        names = [key.name.encode() for key in self.keys]
        parts = [struct.pack("<II", KEY_TYPES[OnlineKind.STRING], len(n)) + n for n in names]
        return struct.pack("<I", len(names)) + b"".join(parts)

    @property
    def key_suffix(self) -> bytes:
        """How the Redis key of every entity of this project ends."""
        return self.project.encode()


def feature_field(view: str, feature: str) -> bytes:
    """The hash field of a feature: murmur3 of `view:feature`, seed 0, little-endian."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """The hash field of a view's event time."""
    return b"_ts:" + view.encode()


def plan_view(project: str, table: FeatureTable) -> ViewPlan:
    """Plan one feature table for the Feast project `project`.

    Raises:
        ContractError: a join key's type cannot be a key, or two features hash to one field.
    """
    plan = ViewPlan(
        project=project,
        view=table.name,
        keys=tuple(
            _key(table.name, key.name, key.type.kind, is_list=key.type.is_list)
            for key in sorted(table.join_keys, key=lambda key: key.name)
        ),
        event_time=table.event_time,
        features=tuple(
            OnlineColumn(f.name, f.type.kind, feature_field(table.name, f.name), f.type.is_list)
            for f in table.features
        ),
    )
    _check_fields([plan])
    return plan


def plan_views(project: str, tables: Iterable[FeatureTable]) -> tuple[ViewPlan, ...]:
    """Plan the feature tables of one Feast project, and check them against each other.

    Raises:
        ContractError: as `plan_view`, or two features of views that share their entities' hashes
            have one field.
    """
    plans = tuple(plan_view(project, table) for table in tables)
    groups: dict[tuple[tuple[str, OnlineKind], ...], list[ViewPlan]] = {}
    for plan in plans:
        groups.setdefault(tuple((key.name, key.kind) for key in plan.keys), []).append(plan)
    for group in groups.values():
        _check_fields(group)
    return plans


def _key(view: str, name: str, kind: OnlineKind, *, is_list: bool) -> OnlineColumn:
    if is_list or kind not in KEY_TYPES:
        known = ", ".join(sorted(KEY_TYPES))
        stored = f"a list of {kind}" if is_list else kind
        raise ContractError(
            f"{view}: join key {name!r} is {stored}, which cannot be a key online",
            hint=f"a key is one of: {known}",
        )
    return OnlineColumn(name, kind)


def _check_fields(plans: Iterable[ViewPlan]) -> None:
    owners: dict[bytes, str] = {}
    for plan in plans:
        for feature in plan.features:
            name = f"{plan.view}:{feature.name}"
            other = owners.setdefault(feature.field, name)
            if other != name:
                raise ContractError(
                    f"{other} and {name} have the same 32-bit field online "
                    f"(0x{feature.field.hex()}), so one would overwrite the other",
                    hint="rename one of the two features",
                )
