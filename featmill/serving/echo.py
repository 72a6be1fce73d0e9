"""What of a caller's own words is said back to them: enough to find it, and no more."""

from __future__ import annotations

_LONGEST = 100


def echoed(text: str) -> str:
    """A text, cut where it is long."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def shown(value: object) -> str:
    """A value as Python writes it, cut where it is long."""
    if isinstance(value, str | bytes):
        # Before it is written: of a long one that takes as long.
        value = value[: _LONGEST + 1]
    return echoed(repr(value))
