"""A release as it is: the tables that were online with it, and of each the features that its snapshot has.

What is declared now may be more. A feature that was added since has no value in an older snapshot, so there is nothing
to write for it: a reader finds the field absent, and the live record does not name it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    from collections.abc import Collection

    from featmill.contract.catalog import FeatureTable
    from featmill.warehouse.model import Snapshot
    from orchestration.online_views import OnlineRelease


def as_held(step: OnlineRelease, only: Collection[str] | None = None) -> OnlineRelease:
    """The step with no more than the release holds; `only` names the tables that went online with it.

    Raises:
        LakeError: a published snapshot cannot be read.
    """
    views = []
    for table, snapshot in step.views:
        if only is not None and table.name not in only:
            continue
        has = _columns(table, snapshot)
        features = tuple(f for f in table.features if f.name.lower() in has)
        if features == table.features:
            views.append((table, snapshot))
        elif features:
            views.append((table.model_copy(update={"features": features}), snapshot))
    names = {table.name for table, _ in views}
    lacks = (table.name for table, _ in step.views if table.name not in names)
    return replace(
        step,
        views=tuple(views),
        absent=tuple(sorted((*step.absent, *lacks))),
        only=None if only is None else frozenset(only),
    )


def _columns(table: FeatureTable, snapshot: Snapshot) -> set[str]:
    import duckdb

    from exporters.rows import translated_reads

    with translated_reads(table), duckdb.connect() as connection:
        found = connection.execute(f"DESCRIBE {relation_sql([snapshot])}").fetchall()
    return {str(row[0]).lower() for row in found}
