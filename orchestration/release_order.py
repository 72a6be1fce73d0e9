"""Promotions only move forward: which release may go live, by the ledger and by what the store says (rule 21).

The store's pointer flips first and the ledger is told after. A run that was killed between the two is made good by the
next one, before it decides anything by the ledger.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.errors import NotNewer, UsageError
from featmill.online.serving_state import read_state
from featmill.warehouse import promotions

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from featmill.online.connection import OnlineTarget
    from featmill.online.serving_state import ServingState
    from featmill.warehouse.model import Release
    from featmill.warehouse.promotions import Promotion
    from featmill.warehouse.registry import Registry
    from orchestration.online_views import OnlineRelease


def current(entries: Sequence[Promotion]) -> Promotion | None:
    """The entry that put online what the ledger calls live, or called so before an outage."""
    lives = [state.live for state in promotions.served(entries) if state.live is not None]
    return lives[-1] if lives else None


def heal_ledger(
    registry: Registry, target: OnlineTarget, projects: Iterable[str]
) -> Promotion | None:
    """Tell the ledger of a flip that it does not know of, at the moment that it happened; the entry if there is one.

    Only where every Feast project serves the same release, whole: what is half done is not live yet.

    Raises:
        LakeError: the ledger cannot be read or written.
        OnlineUnreachable: the store does not answer.
    """
    found = {p: state for p in projects if (state := read_state(target, p)) is not None}
    entries = promotions.ledger(registry.lake)
    states = list(of_the_ledger(entries, found).values())
    served = {state.release_id for state in states if state.is_complete}
    if len(served) != 1 or not all(state.is_complete for state in states):
        return None
    (release_id,) = served
    known = {release.release_id: release for release in registry.releases()}
    if release_id not in known or is_told(entries, release_id, states):
        return None
    return _tell(registry, known[release_id], states, entries)


def of_the_ledger(
    entries: Sequence[Promotion], states: Mapping[str, ServingState]
) -> dict[str, ServingState]:
    """The Feast projects that what the ledger calls live is in, or what a run was about to make live.

    Another serves what was live before, and no view of what is: that of a tenant that is not declared any more.
    """
    live = current(entries)
    before = {entry.release_id for entry in entries if entry.kind == "live"}
    return {
        project: state
        for project, state in states.items()
        if live is None
        or state.release_id == live.release_id
        or state.release_id not in before
        or not live.snapshots.keys().isdisjoint(state.views)
    }


def is_told(entries: Sequence[Promotion], release_id: str, states: Sequence[ServingState]) -> bool:
    """Whether the ledger knows that the release serves, of this reading of the registry.

    The same release holds other rows where its history was corrected between two promotions of it.
    """
    live = current(entries)
    if live is None or live.release_id != release_id:
        return False
    read = [state.read_at for state in states if state.read_at is not None]
    return not read or max(read) == live.read_at


def require_newer(step: OnlineRelease) -> None:
    """Refuse a release that does not come after every one that was promoted, unless it serves already.

    So a task that is retried late cannot undo a rollback.

    Raises:
        NotNewer: the message names the newest, since when it is known and what serves.
    """
    entries = promotions.ledger(step.registry.lake)
    known = {release.release_id: release for release in step.registry.releases()}
    states = [read_state(step.target, project) for project in step.projects]
    serving = {state.release_id for state in states if state is not None}
    went_live = {entry.release_id for entry in entries if entry.kind == "live"}
    # What a run has begun to make live, and has not told yet, counts as well.
    promoted = [known[name] for name in went_live | serving if name in known]
    newest = max(promoted, key=_order, default=None)
    if newest is None or _order(step.release) > _order(newest):
        return
    if newest.release_id not in went_live:
        if step.release == newest:
            return
        raise NotNewer(
            f"release {step.release.release_id} does not come after {newest.release_id}, "
            "which a run has begun to make live",
            hint="featmill promote finishes it; featmill rollback takes it back",
        )
    if step.release == newest and serving <= {newest.release_id}:
        return
    told = next(e for e in reversed(entries) if e.release_id == newest.release_id)
    live = current(entries)
    since = f"went live {_moment(told.promoted_at)} (epoch {told.epoch} of featmill promotions)"
    wanted = step.release
    said = f"release {wanted.release_id} {since} and does not serve any more"
    if wanted != newest:
        said = (
            f"release {wanted.release_id} (as of {_moment(wanted.as_of)}, released "
            f"{_moment(wanted.released_at)}) does not come after {newest.release_id}, which {since}"
        )
    raise NotNewer(
        f"{said}; live is {live.release_id if live is not None else 'nothing'}",
        hint="featmill rollback goes back; featmill promote --again promotes it all the same",
    )


def to_go_back_to(
    entries: Sequence[Promotion], wanted: str | None, serving: Iterable[str]
) -> Promotion:
    """The ledger's entry of what a rollback brings back.

    Where `serving`, the releases that the Feast projects serve, is not what the ledger calls live, a run was killed: a
    rollback is finished, a promotion taken back. Else it is what was live before what is.

    Raises:
        UsageError: nothing, or not the release that is wanted, was live before.
    """
    lives = [entry for entry in entries if entry.kind == "live"]
    live = current(entries)
    if live is None:
        raise UsageError(
            "nothing has ever gone live", hint="featmill promote makes a release serve"
        )
    if wanted is not None:
        found = [entry for entry in lives if entry.release_id == wanted]
        if not found:
            known = ", ".join(dict.fromkeys(entry.release_id for entry in lives))
            raise UsageError(f"release {wanted!r} was never live", hint=f"live were: {known}")
        return found[-1]
    others = set(serving) - {live.release_id}
    if others:
        begun = [entry for entry in lives if entry.release_id in others]
        return begun[-1] if begun else live
    before = promotions.went_live_before(entries, live)
    if before is None:
        raise UsageError(
            f"nothing was live before release {live.release_id}",
            hint="featmill promotions lists what was; --to names one of them",
        )
    return before


def _tell(
    registry: Registry,
    release: Release,
    states: Sequence[ServingState],
    entries: Sequence[Promotion],
) -> Promotion:
    at = max(state.flipped_at for state in states)
    read_at = max((s.read_at for s in states if s.read_at is not None), default=at)
    tables = {view for state in states for view in state.views}
    before = [e for e in entries if e.kind == "live" and e.release_id == release.release_id]
    # A rollback serves what was served, so it read the registry as it had stood.
    if before and before[-1].read_at == read_at:
        return promotions.record(registry.lake, "rollback", release.release_id, at, tables)
    held = sorted(tables & release.snapshots.keys())
    return promotions.record_live(registry.lake, release, held, read_at, at)


def _order(release: Release) -> tuple[datetime, datetime]:
    return release.as_of, release.released_at


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
