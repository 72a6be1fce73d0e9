"""Why the store did not answer: caught where an answer is made, and named in it."""

from __future__ import annotations


class StoreLost(Exception):
    """The store did not answer; `reason` is what an answer says of it (`unreachable`, `deadline`, `overloaded`)."""

    def __init__(self, reason: str, problem: str) -> None:
        super().__init__(problem)
        self.reason = reason
        self.problem = problem

    @property
    def counts(self) -> bool:
        """Whether the store is to blame; that we have too much to ask is no fault of its own."""
        return self.reason in ("unreachable", "deadline")


class SlotMoved(StoreLost):
    """A cluster's node says that a key is another's: ask again where."""


class StoreEmpty(StoreLost):
    """The store answers and does not hold what was promoted."""

    def __init__(self, project: str) -> None:
        super().__init__("empty", f"the store does not hold what was promoted to {project}")
