"""Which events a feature table's log keeps: those its windows read, by what it declares and what its build settled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from featmill.errors import ContractError
from featmill.warehouse.event_log import EventSource

#: The keys of `meta.feature` whose texts are expressions over an event.
_VALUES = ("value", "of")


def event_source(
    candidate: Any,  # noqa: ANN401 - dbt's node types have no common base
    table: str,
    pins: Mapping[str, str],
    run: str | None,
) -> EventSource | None:
    """What to keep of a candidate's events; None where it does not declare `keep_events`.

    Args:
        candidate: the feature table's node in dbt's manifest.
        table: what readers know it by.
        pins: what the runs of this process settled; `featmill.windows` settles which relation it read.
        run: the invocation that built the candidate; None where an earlier one of this process did.

    Raises:
        ContractError: it is to keep events, and no `featmill.windows` of it said which.
    """
    declared = candidate.config.meta or {}
    feature_table = declared.get("feature_table") or {}
    if not feature_table.get("keep_events"):
        return None
    suffix = f":{candidate.unique_id}:events"
    told = [
        text
        for name, text in pins.items()
        if name.endswith(suffix if run is None else run + suffix)
    ]
    if not told:
        raise ContractError(
            f"{candidate.name} declares keep_events and computes no windows, so there are no events to keep",
            hint="compute it with featmill.windows, or take keep_events out of config.meta.feature_table",
        )
    read = json.loads(told[-1])
    features = [
        (column.config.meta or {}).get("feature") or {} for column in candidate.columns.values()
    ]
    features = [feature for feature in features if feature.get("aggregate")]
    return EventSource(
        table=table,
        tenant=str(declared.get("tenant", "default")),
        version=str(candidate.version or 1),
        relation=read["relation"],
        keys=tuple(feature_table["join_keys"]),
        event_at=read["event_at"],
        ingested_at=read["ingested_at"],
        event_id=read["event_id"],
        values=_distinct(features, *_VALUES),
        conditions=_distinct(features, "where"),
    )


def _distinct(features: list[dict[str, Any]], *keys: str) -> tuple[str, ...]:
    texts = (feature.get(key) for feature in features for key in keys)
    return tuple(dict.fromkeys(str(text) for text in texts if text is not None))
