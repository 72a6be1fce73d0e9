"""The newest release of a table up to a moment."""

from __future__ import annotations

from datetime import datetime

from featmill.errors import NoRelease
from featmill.warehouse.model import Release
from featmill.warehouse.registry import Registry


def release_at(registry: Registry, table: str, moment: datetime) -> Release:
    """The newest release of a table whose as_of is not after the moment.

    Only what was released can be found: a snapshot whose tests or gates failed is in no release.

    Raises:
        NoRelease: there is none.
    """
    held = [r for r in registry.releases() if table in r.snapshots and r.as_of <= moment]
    if not held:
        raise NoRelease(
            f"{table} has no release with an as_of up to {moment:%Y-%m-%d %H:%M:%S} UTC",
            hint="featmill snapshots lists what there is; materialize up to a later end_date",
        )
    return held[-1]
