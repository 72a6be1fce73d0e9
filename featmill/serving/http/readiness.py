"""Whether a server can answer from the store, and what serves there.

The reader knows what its last request met; without requests it would not learn that the store came back. So whoever
asks for readiness has the store asked, at most once a second.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.errors import FeatmillError
from featmill.online.serving_state import read_state

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget
    from featmill.online.serving_state import ServingState
    from featmill.serving.http.served_services import OfferedService
    from featmill.serving.http.server_parts import ServerParts

#: How long what the store said counts, and how long it may take to say it, in seconds.
_COUNTS_FOR = 1.0
_PATIENCE = 1.0


@dataclass(frozen=True, slots=True)
class StoreSeen:
    """What the store said: what serves by Feast project, None where nothing does; or why it said nothing."""

    serving: Mapping[str, ServingState | None]
    problem: str | None = None


class StoreProbe:
    """Asks the store what serves, beside the requests."""

    def __init__(self, target: OnlineTarget, projects: Iterable[str]) -> None:
        self._target = target
        self._projects = tuple(sorted(projects))
        self._asking: asyncio.Task[StoreSeen] | None = None
        self._seen = StoreSeen(dict.fromkeys(self._projects), "it has not been asked yet")
        self._seen_at = -_COUNTS_FOR

    async def look(self) -> StoreSeen:
        """What the store says, or said less than a second ago."""
        if time.monotonic() - self._seen_at < _COUNTS_FOR:
            return self._seen
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(asyncio.to_thread(self._ask))
        try:
            async with asyncio.timeout(_PATIENCE):
                self._seen = await asyncio.shield(self._asking)
        except TimeoutError:
            self._seen = StoreSeen(self._seen.serving, "the store does not answer in time")
        self._seen_at = time.monotonic()
        return self._seen

    def _ask(self) -> StoreSeen:
        try:
            serving = {name: read_state(self._target, name) for name in self._projects}
        except FeatmillError as error:
            return StoreSeen(self._seen.serving, error.message)
        return StoreSeen(serving)


async def readiness(
    parts: ServerParts, services: Mapping[str, OfferedService]
) -> tuple[bool, dict[str, Any]]:
    """Whether requests should be sent here, and what GET /readyz says of these services.

    `ready`: the store answers and something was promoted, if not of every project: the others, null in `serving`, must
    not take the server from those who serve. `degraded`: it does not answer, and what is answered comes from memory and
    declared defaults. `empty`: nothing was promoted. `stopping`: the server finishes what it began.
    """
    seen = await parts.probe.look()
    if parts.is_stopping:
        word = "stopping"
    elif seen.problem is not None:
        word = "degraded"
    elif all(state is None for state in seen.serving.values()):
        word = "empty"
    else:
        word = "ready"
    breakers = {
        name: state
        for name, state in parts.reader.health().breakers.items()
        if state != "closed" and name in services
    }
    projects = {parts.reader.plans[name].project for name in services}
    views = {view for service in services.values() for view in service.views}
    return word == "ready", {
        "status": word,
        "problem": seen.problem,
        "breakers": breakers,
        "serving": {
            project: _told(state, views)
            for project, state in seen.serving.items()
            if project in projects
        },
    }


async def ages(parts: ServerParts) -> Iterator[tuple[str, float]]:
    """Of each Feast project the seconds since the as_of of what serves."""
    seen, at = await parts.probe.look(), parts.moment()
    return (
        (project, (at - state.as_of).total_seconds())
        for project, state in seen.serving.items()
        if state is not None
    )


def _told(state: ServingState | None, views: Collection[str]) -> dict[str, Any] | None:
    if state is None:
        return None
    return {
        "release": state.release_id,
        "as_of": state.as_of.isoformat(),
        "promoted_at": state.flipped_at.isoformat(),
        "mode": state.mode.value,
        "complete": state.is_complete,
        "snapshots": {
            name: view.snapshot_id for name, view in state.views.items() if name in views
        },
    }
