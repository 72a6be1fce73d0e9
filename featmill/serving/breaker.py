"""When to leave the store alone: purgatory's circuit breaker, with one probe at a time.

The states and the count are the library's. Ours are the clock, which is monotonic, and that a half-open circuit lets
one request through and not all that come.
"""

from __future__ import annotations

import time
from threading import Lock
from typing import TYPE_CHECKING

from purgatory.domain.model import CLOSED, OPENED, Context, HalfOpenedState

if TYPE_CHECKING:
    from collections.abc import Callable


class Breaker:
    """Opens after `failures` in a row, for `pause` seconds; then one request tries whether the store is back."""

    def __init__(
        self, name: str, failures: int, pause: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._context = Context(name, failures, pause)
        self._pause = pause
        self._clock = clock
        self._lock = Lock()
        self._opened_at = 0.0
        self._is_clean = True

    @property
    def state(self) -> str:
        """`closed`, `open` or `half_open`."""
        state = self._context.state
        return "open" if state == OPENED else "closed" if state == CLOSED else "half_open"

    def admits(self) -> bool:
        """Whether a request may go to the store; it then has to say how it went."""
        if self._is_clean:
            return True
        with self._lock:
            if self._context.state == CLOSED:
                return True
            # A probe that never said how it went is given up like a closed circuit's pause.
            if self._clock() < self._opened_at + self._pause:
                return False
            self._context.set_state(HalfOpenedState())
            self._opened_at = self._clock()
            self._context.messages.clear()
            return True

    def succeeded(self) -> None:
        """The store answered in time."""
        if self._is_clean:
            return
        with self._lock:
            if self._context.state == OPENED:
                # A late success of a request from before: the next probe decides.
                return
            self._context.handle_end_request()
            self._context.messages.clear()
            self._is_clean = True

    def failed(self, error: Exception) -> None:
        """The store did not answer, or not in time."""
        with self._lock:
            self._is_clean = False
            if self._context.state == OPENED:
                return
            self._context.handle_exception(error)
            self._context.messages.clear()
            if self._context.state == OPENED:
                self._opened_at = self._clock()
