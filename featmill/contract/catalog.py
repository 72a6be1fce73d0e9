"""The contract: what a dbt project declares, as frozen objects.

A change here is a change of the contract that every deriver (plans, Feast objects, Redis fields,
DAGs) stands on: it needs a changelog fragment and, where it breaks a declaration, a migration note.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from featmill.contract.types import FeatureType
from featmill.errors import UsageError


class Frozen(BaseModel):
    """Base of everything in the catalogue: immutable, and no field that is not declared."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


class JoinKey(Frozen):
    """A column that identifies an entity, with its contract type."""

    name: str
    type: FeatureType


class Window(Frozen):
    """A declared aggregate over a window: `[floor(t - length - delay, hop), t - delay)` (rule 4).

    `length` is None for `lifetime`; `hop` is None for `exact`. Durations are exact (rule 1). Of a
    calendar window `calendar` (day, week or month) and `zone` are set, and it covers
    `[first instant of the local day, ISO week or month that holds t - delay, t - delay)`; it has
    neither length nor hop.

    `scale` is what a value is rounded to before it is aggregated (rule 6), None where it is exact
    as it comes. `of` is what a ratio's value is divided by, `n` how many values last_n holds.
    """

    aggregate: str
    value: str | None
    length: timedelta | None
    hop: timedelta | None
    delay: timedelta
    where: str | None
    scale: int | None = None
    of: str | None = None
    n: int | None = None
    calendar: str | None = None
    zone: str | None = None

    @property
    def is_lifetime(self) -> bool:
        """Whether the window has no left edge."""
        return self.length is None and self.calendar is None


class Feature(Frozen):
    """One feature: a column that is neither key nor time.

    `default` is the declared default; `has_default` tells a declared `null` from no declaration.
    `type.kind` is the declared online form where `online_type` is declared: INT64 under a TIMESTAMP
    is microseconds since the epoch. `drift` overrides how the feature's drift is measured.
    """

    name: str
    type: FeatureType
    description: str
    has_default: bool
    default: Any
    ignore_nulls: bool
    classification: str
    window: Window | None
    drift: dict[str, Any] | None = None


class OnlineSelection(Frozen):
    """Which entities of a table go online: those that `where` holds for, and of these the `top` greatest by `by`.

    `where` and `by` are SQL over the table's columns and `as_of`, the moment of the snapshot. None leaves a part out.
    """

    where: str | None = None
    top: int | None = None
    by: str | None = None


class FeatureTable(Frozen):
    """One feature table, known to readers as `name`.

    That is the publish node's name, or without one the candidate's without `feat_`. `model` is the
    candidate's name; `candidate` and `publish_node` are dbt's unique ids, `sources` those of the
    sources it descends from. `event_time` is the column of rule 3's `feature_at`; `ttl` of None
    means a row never expires. Of a versioned table each version is a table; `is_latest` marks the
    one that its name alone means. `access` is dbt's.
    """

    name: str
    model: str
    candidate: str
    publish_node: str | None
    version: str | None
    entity: str
    join_keys: tuple[JoinKey, ...]
    event_time: str
    ttl: timedelta | None
    online: bool
    tenant: str
    owner: str | None
    description: str
    tags: tuple[str, ...]
    features: tuple[Feature, ...]
    sources: tuple[str, ...]
    is_latest: bool = True
    access: str = "protected"
    formats: tuple[str, ...] = ("delta",)
    index: bool = False
    selection: OnlineSelection | None = None

    @property
    def key_names(self) -> tuple[str, ...]:
        """The join keys' column names, in declared order."""
        return tuple(key.name for key in self.join_keys)

    def feature(self, name: str) -> Feature:
        """The feature called `name`.

        Raises:
            UsageError: there is none; the message lists what there is.
        """
        for feature in self.features:
            if feature.name == name:
                return feature
        known = ", ".join(f.name for f in self.features)
        raise UsageError(f"{self.name} has no feature {name!r}", hint=f"it has: {known}")


class FeatureRef(Frozen):
    """`view:feature`, as Feast writes it."""

    view: str
    feature: str

    def __str__(self) -> str:
        return f"{self.view}:{self.feature}"


class RequestField(Frozen):
    """What a caller sends with each row, beside the join keys."""

    name: str
    type: FeatureType


class RequestFeature(Frozen):
    """A feature computed when it is asked for: `sql` over request fields, the service's stored features and `as_of`.

    The same expression runs over a spine in training, with `as_of` the row's time (rule 2). A stored feature is called
    by its name, or `view__feature` where two views of the service have one of that name.
    """

    name: str
    type: FeatureType
    sql: str
    description: str = ""


class Fallback(Frozen):
    """Where a value comes from when its own row is not there: another stored feature of the same entities."""

    feature: FeatureRef
    source: FeatureRef


class ServingPolicy(Frozen):
    """How a service is read and how it degrades.

    An answer is due within `deadline`. A row read less than `cache_ttl` ago is answered from memory as it was (None: no
    cache), an entity that was not there less than `negative_ttl` ago is not asked for again; each is varied by
    `jitter`, a fraction, so that rows read together do not expire together. While the store is unreachable or late a
    row read less than `stale_for` ago is answered `stale` (None: never), then come fallbacks and defaults. After
    `failures` in a row the store is left alone for `pause`.
    """

    deadline: timedelta = timedelta(milliseconds=25)
    cache_ttl: timedelta | None = None
    negative_ttl: timedelta | None = None
    stale_for: timedelta | None = None
    entities: int = 100_000
    jitter: float = 0.1
    failures: int = 5
    pause: timedelta = timedelta(milliseconds=500)


class FeatureService(Frozen):
    """A dbt exposure `type: ml`: the features a model reads, and how they are served."""

    name: str
    description: str
    owner: str | None
    features: tuple[FeatureRef, ...]
    request_fields: tuple[RequestField, ...] = ()
    request_features: tuple[RequestFeature, ...] = ()
    fallbacks: tuple[Fallback, ...] = ()
    policy: ServingPolicy = ServingPolicy()

    @property
    def names(self) -> dict[FeatureRef, str]:
        """What an answer and an expression call each feature: its name, or `view__feature` where two have one name."""
        plain = [ref.feature for ref in self.features]
        return {
            ref: ref.feature if plain.count(ref.feature) == 1 else f"{ref.view}__{ref.feature}"
            for ref in self.features
        }


class Source(Frozen):
    """A dbt source table that feature tables descend from; `loaded_at` is its `loaded_at_field`."""

    unique_id: str
    name: str
    loaded_at: str | None


class Catalog(Frozen):
    """Everything the project declares; of a versioned table the latest version comes first."""

    project: str
    tables: tuple[FeatureTable, ...]
    services: tuple[FeatureService, ...]
    sources: tuple[Source, ...]

    def table(self, name: str, version: str | None = None) -> FeatureTable:
        """The feature table called `name`: this version of it, or the latest.

        Raises:
            UsageError: there is none; the message lists what there is.
        """
        for table in self.tables:
            if table.name == name and version in (None, table.version):
                return table
        wanted = name if version is None else f"{name} version {version}"
        known = ", ".join(_with_version(t) for t in self.tables) or "none"
        raise UsageError(
            f"there is no feature table {wanted!r}", hint=f"the project declares: {known}"
        )

    def service(self, name: str) -> FeatureService:
        """The feature service called `name`.

        Raises:
            UsageError: there is none; the message lists what there is.
        """
        for service in self.services:
            if service.name == name:
                return service
        known = ", ".join(s.name for s in self.services) or "none"
        raise UsageError(
            f"there is no feature service {name!r}", hint=f"the project declares: {known}"
        )

    def feast_project(self, tenant: str = "default") -> str:
        """The name that isolates a tenant online: `project` or `project_tenant`."""
        return self.project if tenant == "default" else f"{self.project}_{tenant}"


def _with_version(table: FeatureTable) -> str:
    return table.name if table.version is None else f"{table.name} version {table.version}"
