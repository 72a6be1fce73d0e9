"""What a reader knows of its store without asking it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featmill.online.serving_state import ServingState


@dataclass(frozen=True, slots=True)
class Health:
    """`reachable`: whether the last attempt was answered in time, None before the first.

    `problem` says what went wrong last; None once an attempt was answered. `breakers` are the circuit breakers' states
    by service: `closed`, `open` or `half_open`. `serving` is what serves by Feast project, None where not known.
    """

    reachable: bool | None
    problem: str | None
    breakers: Mapping[str, str]
    serving: Mapping[str, ServingState | None]
