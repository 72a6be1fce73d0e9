"""Feature tables, rows and releases that a benchmark makes up."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np
import pyarrow as pa

from featmill.contract.catalog import Feature, FeatureTable, JoinKey
from featmill.contract.types import parse_type
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import Registry


def feature_table(name: str, columns: Mapping[str, str]) -> FeatureTable:
    """An online table of users with these features, by their SQL types; its rows never expire."""
    features = tuple(
        Feature(
            name=column,
            type=parse_type(sql_type),
            description="",
            has_default=False,
            default=None,
            ignore_nulls=False,
            classification="internal",
            window=None,
        )
        for column, sql_type in columns.items()
    )
    return FeatureTable(
        name=name,
        model=f"model.bench.feat_{name}",
        candidate=f"feat_{name}",
        publish_node=None,
        version=None,
        entity="user",
        join_keys=(JoinKey(name="user_id", type=parse_type("BIGINT")),),
        event_time="feature_at",
        ttl=None,
        online=True,
        tenant="default",
        owner=None,
        description="",
        tags=(),
        features=features,
        sources=(),
    )


def rows(
    columns: Mapping[str, str], users: np.ndarray, at: datetime, *, nulls: float = 0.1
) -> pa.Table:
    """A row for each user: numbers and texts by type, a share of the texts NULL."""
    random = np.random.default_rng(7)
    count = len(users)
    made: dict[str, pa.Array] = {
        "user_id": pa.array(users, pa.int64()),
        "feature_at": pa.array([at] * count, pa.timestamp("us", "UTC")),
    }
    for name, sql_type in columns.items():
        if sql_type == "BIGINT":
            made[name] = pa.array(random.integers(0, 10_000_000, count))
        elif sql_type == "DOUBLE":
            made[name] = pa.array(random.random(count))
        else:
            texts = np.char.add("city-", random.integers(0, 5_000, count).astype(str))
            made[name] = pa.array(texts.tolist(), mask=random.random(count) < nulls)
    return pa.table(made)


def release(registry: Registry, table: FeatureTable, as_of: datetime, rows: pa.Table) -> str:
    """Publish rows as a snapshot and release it alone; the release's id."""
    made = Snapshot(
        table=table.name,
        snapshot_id=f"{as_of:%Y%m%dT%H%M%SZ}-0000-aa",
        as_of=as_of,
        cut_off=as_of,
        published_at=as_of,
        fingerprint="f",
        sources=(),
        rows=rows.num_rows,
        content_hash="c",
        location=str(registry.lake.location(table.name)),
        delta_version=-1,
    )
    published = pa.array([as_of] * rows.num_rows, pa.timestamp("us", "UTC"))
    ids = pa.array([made.snapshot_id] * rows.num_rows)
    stored = rows.append_column("published_at", published).append_column("snapshot_id", ids)
    snapshot = registry.lake.append(stored.to_reader(), made)
    return registry.commit(as_of, [snapshot], "bench")[0].release_id
