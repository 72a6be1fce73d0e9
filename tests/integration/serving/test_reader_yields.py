"""What takes long to compute holds up nobody else in the same event loop."""

from __future__ import annotations

import asyncio
import time

from featmill.contract.catalog import RequestFeature, RequestField
from featmill.contract.types import parse_type
from featmill.serving.async_reader import AsyncFeatureReader
from tests.integration.serving.stored import Stored, service
from tests.unit.online.tables import feature_table


def test_what_duckdb_computes_is_computed_beside_the_loop(store):
    table = feature_table("users", features={"visits": "BIGINT"})
    text = parse_type("VARCHAR")
    slow = service("users:visits").model_copy(
        update={
            "request_fields": (
                RequestField(name="a", type=text),
                RequestField(name="b", type=text),
            ),
            "request_features": (
                RequestFeature(name="far", type=parse_type("BIGINT"), sql="levenshtein(a, b)"),
            ),
        }
    )
    stored = Stored(store, [table], [slow])

    async def longest_gap():
        async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
            sent = {"a": "x" * 12_000, "b": "y" * 12_000}
            read = asyncio.create_task(reader.read(slow.name, {"user_id": 1}, sent))
            gaps, last = [], time.perf_counter()
            while not read.done():
                await asyncio.sleep(0.001)
                gaps.append(time.perf_counter() - last)
                last = time.perf_counter()
            return max(gaps), sum(gaps), (await read).to_dict()["values"]["far"]

    gap, whole, far = asyncio.run(longest_gap())

    assert far == [12_000]
    assert gap < whole / 2
