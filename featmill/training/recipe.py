"""From a request to its recipe: which tables, which snapshots of them, and the cut-off they stand for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from featmill.errors import LakeError, NoRelease, UsageError
from featmill.training.fallbacks import fallbacks_of
from featmill.training.request import Added, Epoch, Recipe
from featmill.training.request_features import computed_of
from featmill.training.served import epochs

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, Feature, FeatureRef, FeatureTable
    from featmill.training.request import TrainingRequest
    from featmill.warehouse.lake import Lake
    from featmill.warehouse.model import Snapshot
    from featmill.warehouse.registry import Registry


def recipe_of(catalog: Catalog, registry: Registry, request: TrainingRequest) -> Recipe:
    """Pin what a request means now.

    Raises:
        NoRelease: a wanted table has never been released (never been live, in the mode `served`), or not by then.
        UsageError: a view or feature does not exist, or options contradict each other.
        ContractError: a request feature of the service is wrong.
    """
    _check_options(request)
    fallbacks = fallbacks_of(catalog, request)
    sources = dict.fromkeys(fallback.source for fallback in fallbacks)
    hidden = tuple(ref for ref in sources if ref not in request.features)
    tables = wanted_tables(catalog, (*request.features, *hidden) if request.features else ())
    known: tuple[Epoch, ...] = ()
    if request.mode == "served":
        known = epochs(registry, tables)
        snapshots: dict[str, tuple[str, ...]] = {}
        read = snapshots_of(registry.lake, _held(known))
    else:
        read = {table.name: _released(registry, table.name, request) for table in tables}
        snapshots = {name: tuple(s.snapshot_id for s in found) for name, found in read.items()}
    return Recipe(
        time=request.time,
        zone=request.zone,
        tables=tables,
        snapshots=snapshots,
        cut_off=_cut_off(read),
        mode=request.mode,
        epochs=known,
        windows=request.windows,
        label=request.label,
        added=Added(request.status, request.source_times, request.value_status),
        engine=request.engine,
        memory=request.memory,
        computed=computed_of(catalog, request),
        fallbacks=fallbacks,
        hidden=hidden,
    )


def wanted_tables(catalog: Catalog, refs: Sequence[FeatureRef]) -> tuple[FeatureTable, ...]:
    """The tables of these features in the order they are first named, each with only the features named.

    Raises:
        UsageError: there is no such view or feature, or none was named.
    """
    if not refs:
        raise UsageError(
            "no feature was asked for", hint="give --service NAME or --features view:feature,..."
        )
    wanted: dict[str, list[Feature]] = {}
    for ref in refs:
        feature = catalog.table(ref.view).feature(ref.feature)
        features = wanted.setdefault(ref.view, [])
        if feature not in features:
            features.append(feature)
    return tuple(
        catalog.table(name).model_copy(update={"features": tuple(features)})
        for name, features in wanted.items()
    )


def snapshots_of(lake: Lake, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[Snapshot]]:
    """The pinned snapshots of each table, in the order given.

    Raises:
        LakeError: one is not in the lake any more; the message names all that are gone.
    """
    found: dict[str, list[Snapshot]] = {}
    gone = []
    for table, ids in wanted.items():
        there = {snapshot.snapshot_id: snapshot for snapshot in lake.snapshots(table)}
        expired = lake.expired(table)
        gone += [
            f"{table} {name}{' (expired)' if name in expired else ''}"
            for name in ids
            if name not in there
        ]
        found[table] = [there[name] for name in ids if name in there]
    if gone:
        raise LakeError(
            f"{len(gone)} snapshots are not in the lake at {lake.root} any more: {', '.join(gone[:5])}",
            hint="retention removed them, or FEATMILL_HOME is another lake's: the set cannot be made again",
        )
    return found


def _held(known: Sequence[Epoch]) -> dict[str, list[str]]:
    """Every snapshot of each table that served in some epoch."""
    found: dict[str, dict[str, None]] = {}
    for epoch in known:
        for table, ids in epoch.snapshots.items():
            found.setdefault(table, {}).update(dict.fromkeys(ids))
    return {table: list(ids) for table, ids in found.items()}


def all_snapshots(recipe: Recipe) -> dict[str, list[str]]:
    """Every snapshot of each table that a recipe reads."""
    if recipe.mode == "served":
        return _held(recipe.epochs)
    return {table: list(ids) for table, ids in recipe.snapshots.items()}


def _check_options(request: TrainingRequest) -> None:
    if request.release is not None and request.at is not None:
        raise UsageError("--snapshot and --at both say which registry to read: give one")
    pinned = request.release is not None or request.at is not None
    if request.mode == "served" and pinned:
        raise UsageError(
            "--as-of served reads what the ledger of promotions says was live: it takes no --snapshot and no --at"
        )
    if request.mode == "served" and request.windows == "spine":
        raise UsageError(
            "--windows spine evaluates windows from the events, and nothing served that: use --as-of event"
        )


def _released(registry: Registry, table: str, request: TrainingRequest) -> list[Snapshot]:
    if request.release is not None:
        release = _release_of(registry, request.release)
        found = registry.released_snapshots(table, release=release)
        then = f" by release {release}"
    elif request.at is not None:
        found = registry.released_snapshots(table, at=request.at)
        then = f" by {request.at:%Y-%m-%d %H:%M:%S} UTC"
    else:
        found, then = registry.released_snapshots(table), ""
    if found:
        return found
    if then:
        raise NoRelease(
            f"{table} had not been released{then}", hint="featmill snapshots lists what there is"
        )
    raise NoRelease(f"{table} has never been released", hint="build it first: dbt build")


def _release_of(registry: Registry, wanted: str) -> str:
    """A release by its id, or the one that first held a snapshot of this id."""
    releases = registry.releases()
    if any(release.release_id == wanted for release in releases):
        return wanted
    holding = [release for release in releases if wanted in release.snapshots.values()]
    if holding:
        return min(holding, key=lambda release: release.released_at).release_id
    raise NoRelease(
        f"there is no release and no released snapshot {wanted!r}",
        hint="featmill snapshots lists what there is",
    )


def _cut_off(read: Mapping[str, Sequence[Snapshot]]) -> datetime:
    """The moment up to which every table had learnt what happened: the earliest of the tables' newest cut-offs."""
    return min(max(snapshot.cut_off for snapshot in found) for found in read.values())
