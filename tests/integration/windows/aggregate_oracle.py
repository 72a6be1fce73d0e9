"""Every aggregate a second time, in plain Python over one entity's events (rules 5, 6 and 8)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from tests.integration.windows.streams import Scan

#: What the declarations below aggregate, as SQL over the events and in Python.
_VALUES: dict[str | None, Callable[[Scan], Any]] = {
    None: lambda scan: scan,
    "eur": lambda scan: None if scan.cents is None else Decimal(scan.cents) / 100,
    "eur::double": lambda scan: None if scan.cents is None else Decimal(scan.cents) / 100,
    "kg": lambda scan: None if scan.grams is None else Decimal(scan.grams) / 1000,
    "pieces": lambda scan: scan.pieces,
    "kind": lambda scan: scan.kind,
    "pieces::varchar": lambda scan: None if scan.pieces is None else str(scan.pieces),
}

#: column -> its type and declaration, without a window: every aggregate, over every kind of value it takes.
COLUMNS: dict[str, tuple[str, dict[str, Any]]] = {
    "n": ("bigint", {"aggregate": "count"}),
    # A keyword is a name like any other.
    "order": ("bigint", {"aggregate": "count", "where": "kind = 'box'"}),
    "n_eur": ("bigint", {"aggregate": "count", "value": "eur"}),
    "kinds": ("bigint", {"aggregate": "count_distinct", "value": "kind"}),
    "kgs": ("bigint", {"aggregate": "count_distinct", "value": "kg"}),
    "eur": ("decimal(18, 2)", {"aggregate": "sum", "value": "eur"}),
    "eur_double": ("decimal(18, 2)", {"aggregate": "sum", "value": "eur::double", "scale": 2}),
    "eur_boxes": (
        "decimal(18, 2)",
        {"aggregate": "sum", "value": "eur", "where": "kind = 'box'", "default": -1},
    ),
    "pieces": ("bigint", {"aggregate": "sum", "value": "pieces"}),
    "eur_mean": ("double", {"aggregate": "mean", "value": "eur"}),
    "kg_mean": ("double", {"aggregate": "mean", "value": "kg", "scale": 3}),
    "eur_min": ("decimal(18, 2)", {"aggregate": "min", "value": "eur"}),
    "eur_max": ("decimal(18, 2)", {"aggregate": "max", "value": "eur"}),
    "kg_min": ("double", {"aggregate": "min", "value": "kg"}),
    "kind_max": ("varchar", {"aggregate": "max", "value": "kind", "default": "none"}),
    "eur_std": ("double", {"aggregate": "std", "value": "eur"}),
    "pieces_std": ("double", {"aggregate": "std", "value": "pieces % 1000"}),
    "kg_std": ("double", {"aggregate": "std", "value": "kg", "scale": 3}),
    "first_kind": ("varchar", {"aggregate": "first", "value": "kind"}),
    "last_kind": ("varchar", {"aggregate": "last", "value": "kind"}),
    "last_kg": ("double", {"aggregate": "last", "value": "kg"}),
    "last_kinds": ("varchar[]", {"aggregate": "last_n", "n": 2, "value": "kind"}),
    "last_eurs": (
        "decimal(12, 2)[]",
        {"aggregate": "last_n", "n": 3, "value": "eur", "default": []},
    ),
    "kg_per_piece": (
        "double",
        {"aggregate": "ratio", "value": "kg", "of": "pieces", "scale": 3},
    ),
    "eur_per_piece": (
        "double",
        {"aggregate": "ratio", "value": "eur", "of": "pieces", "default": 0},
    ),
    "since": ("bigint", {"aggregate": "time_since_last"}),
    "since_eur": (
        "integer",
        {"aggregate": "time_since_last", "value": "eur", "where": "kind = 'box'"},
    ),
    "top_kind": ("varchar", {"aggregate": "top", "value": "kind"}),
    "top_pieces": ("varchar", {"aggregate": "top", "value": "pieces::varchar"}),
    "top_kg": ("double", {"aggregate": "top", "value": "kg"}),
}
# SQL's remainder has the sign of what is divided.
_VALUES["pieces % 1000"] = lambda scan: (
    None if scan.pieces is None else int(math.fmod(scan.pieces, 1000))
)


def answer(name: str, held: Sequence[Scan], moment: int) -> Any:
    """The column's value over events of its window, in their total order, at a moment."""
    data_type, feature = COLUMNS[name]
    if feature.get("where") == "kind = 'box'":
        held = [scan for scan in held if scan.kind == "box"]
    value = _VALUES[feature.get("value")]
    present = [scan for scan in held if value(scan) is not None]
    found = _AGGREGATES[feature["aggregate"]](
        [value(s) for s in present], held, present, feature, moment
    )
    if found is None:
        found = feature.get("default")
    return typed(found, data_type)


def typed(value: Any, data_type: str) -> Any:
    """The value so that equal means equal to the bit."""
    if value is None:
        return None
    if data_type == "double":
        return float(value).hex()
    return str(Decimal(value).quantize(Decimal("0.01"))) if data_type == "decimal(18, 2)" else value


def _sum(values: Sequence[Any]) -> Any:
    return sum(values) if values else None


def _std(values: Sequence[Any], feature: dict[str, Any]) -> float | None:
    """The documented expression: over 10^scale times the value where a scale is declared."""
    n, scale = len(values), feature.get("scale")
    numbers = [int(v * 10**scale) for v in values] if scale is not None else list(values)
    spread = n * sum(v * v for v in numbers) - sum(numbers) ** 2
    if n < 2:
        return None
    return math.sqrt(float(spread) / (float(n) * (n - 1))) / float(10 ** (scale or 0))


def _ratio(held: Sequence[Scan], feature: dict[str, Any]) -> float | None:
    over, under = (
        _sum([v for scan in held if (v := _VALUES[feature[key]](scan)) is not None])
        for key in ("value", "of")
    )
    return None if over is None or not under else float(over) / float(under)


def _top(values: Sequence[Any]) -> Any:
    counted = Counter(values)
    return min((v for v, n in counted.items() if n == max(counted.values())), default=None)


_AGGREGATES: dict[str, Callable[..., Any]] = {
    "count": lambda values, *_: len(values),
    "count_distinct": lambda values, *_: len(set(values)),
    "sum": lambda values, *_: _sum(values),
    "mean": lambda values, *_: float(sum(values)) / len(values) if values else None,
    "min": lambda values, *_: min(values, default=None),
    "max": lambda values, *_: max(values, default=None),
    "std": lambda values, held, present, feature, moment: _std(values, feature),
    "first": lambda values, *_: values[0] if values else None,
    "last": lambda values, *_: values[-1] if values else None,
    "last_n": lambda values, held, present, feature, moment: (
        list(reversed(values))[: feature["n"]] or None
    ),
    "ratio": lambda values, held, present, feature, moment: _ratio(held, feature),
    "time_since_last": lambda values, held, present, feature, moment: (
        (moment - present[-1].at) // 10**6 if present else None
    ),
    "top": lambda values, *_: _top(values),
}
