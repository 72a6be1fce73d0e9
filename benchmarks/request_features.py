"""Five request features of a request: how long one evaluation takes, from Python values to Python values.

    python -m benchmarks.request_features [--size s|m|l]

For each number of rows, after a warm-up, the median of many calls of `RequestPlan.evaluate`: `featmill` as it is,
`duckdb` with every row left to DuckDB's kept statement, which the answers are compared with to the bit. The first reads
the request fields too, as a request does. What one row is held to is 0.2 ms, `0.2 ms`.
"""

from __future__ import annotations

import argparse
import random
import struct
import sys
import time
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from benchmarks.harness import Measured, Outcome, check_goals, cpu_seconds, peak_mib, show
from featmill.contract.catalog import FeatureService, RequestFeature, RequestField
from featmill.contract.types import parse_type
from featmill.serving.request import features as request_features
from featmill.serving.request.features import RequestPlan

if TYPE_CHECKING:
    from collections.abc import Callable

#: Rows of a request.
SIZES = {"s": (1, 100), "m": (1, 100, 1_000), "l": (1, 100, 1_000, 10_000)}
#: Calls of one row; of more rows fewer.
CALLS = 4_000
AS_OF = datetime(2026, 3, 1, 17, 30, tzinfo=UTC)
STORED = {"last_event_at": "timestamp", "mean_purchase_30d": "double", "purchases_30d": "bigint"}
SENT = {"product_price": "decimal(10, 2)", "country": "varchar"}
FEATURES = {
    "time_since_last_event": ("bigint", "epoch_us(as_of) - epoch_us(last_event_at)"),
    "current_hour": ("bigint", "hour(as_of)"),
    "is_weekend": ("boolean", "isodow(as_of) >= 6"),
    "price_ratio": ("double", "product_price / nullif(mean_purchase_30d, 0)"),
    "segment": (
        "varchar",
        "case when purchases_30d > 10 then 'often' else lower(coalesce(country, 'none')) end",
    ),
}


def main() -> int:
    """Print the medians and the goals; exit code 1 where an answer differs or a goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="s")
    given = parser.parse_args()
    plan = compiled()
    outcomes: dict[str, Outcome] = {}
    for rows in SIZES[given.size]:
        values = drawn(rows)
        ours, answer = timed(plan, rows, values)
        with patch.object(request_features, "FEW", 0):
            theirs, wanted = timed(plan, rows, values)
        verdict = "ok" if answer == wanted else "WRONG"
        for name, one in ((f"{rows} rows: featmill", ours), (f"{rows} rows: duckdb", theirs)):
            outcomes[name] = Outcome(name, one, verdict)
            print(f"{name}: {one.wall * 1e6:,.0f} us")
    limit = Measured(0.0002, 0.0002, peak_mib())
    show("A call, median", outcomes, "1 rows: duckdb")
    reached = check_goals(
        "request_features", given.size, outcomes | {"0.2 ms": Outcome("0.2 ms", limit)}
    )
    return 0 if reached and all(one.verdict == "ok" for one in outcomes.values()) else 1


def compiled() -> RequestPlan:
    """The plan of a service that computes five features from three stored ones and two fields."""
    service = FeatureService(
        name="bench",
        description="",
        owner=None,
        features=(),
        request_fields=tuple(
            RequestField(name=name, type=parse_type(kind)) for name, kind in SENT.items()
        ),
        request_features=tuple(
            RequestFeature(name=name, type=parse_type(kind), sql=sql)
            for name, (kind, sql) in FEATURES.items()
        ),
    )
    return RequestPlan.compiled(service, {n: parse_type(kind) for n, kind in STORED.items()})


def drawn(rows: int) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
    """Stored values and request fields, the same for the same number of rows; one in ten is None."""
    chance = random.Random(rows)
    makers: dict[str, Callable[[], Any]] = {
        "last_event_at": lambda: AS_OF - timedelta(seconds=chance.randrange(10**7)),
        "mean_purchase_30d": lambda: chance.choice([0.0, chance.uniform(1, 500)]),
        "purchases_30d": lambda: chance.randrange(30),
        "product_price": lambda: chance.randrange(1, 10**6) / 100,
        "country": lambda: chance.choice(["DE", "FR", "at"]),
    }
    columns = {
        name: [None if chance.random() < 0.1 else make() for _ in range(rows)]
        for name, make in makers.items()
    }
    return {n: columns[n] for n in STORED}, {n: columns[n] for n in SENT}


def timed(
    plan: RequestPlan, rows: int, values: tuple[dict[str, list[Any]], dict[str, list[Any]]]
) -> tuple[Measured, dict[str, list[Any]]]:
    """The median of a call with its check, in seconds, and the answer with reals as their bits."""
    stored, sent = values
    answer: dict[str, list[Any]] = {}
    took = []
    calls = max(CALLS // rows, 5)
    for number in range(calls + 3):
        cpu, wall = cpu_seconds(), time.perf_counter()
        plan.check_request(rows, sent)
        answer = plan.evaluate(rows, stored, sent, AS_OF)
        if number >= 3:
            took.append((time.perf_counter() - wall, cpu_seconds() - cpu))
    wall, cpu = (median(one[at] for one in took) for at in (0, 1))
    return Measured(wall, cpu, peak_mib()), {name: _bits(column) for name, column in answer.items()}


def _bits(column: list[Any]) -> list[Any]:
    return [struct.pack("<d", value) if isinstance(value, float) else value for value in column]


if __name__ == "__main__":
    sys.exit(main())
