"""A declared default is what the reader would have read, had it been a row's value: the same as in training."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from featmill.contract.types import parse_type
from featmill.errors import ContractError
from featmill.online.plan import plan_view
from featmill.serving.declared_defaults import online_defaults
from tests.unit.online.tables import feature_table

CASES = [
    ("BOOLEAN", False, False),
    ("TINYINT", -1, -1),
    ("BIGINT", 2**63 - 1, 2**63 - 1),
    ("FLOAT", 0.1, 0.10000000149011612),
    ("DOUBLE", 0.1, 0.1),
    ("DECIMAL(9, 2)", 1.5, 1.5),
    ("DECIMAL(30, 4)", "1.5", "1.5000"),
    ("VARCHAR", "it's", "it's"),
    ("UUID", "0F0F0F0F-1111-4222-8333-444444444444", "0f0f0f0f-1111-4222-8333-444444444444"),
    ("ENUM('a', 'b')", "b", "b"),
    ("BLOB", "ab", b"ab"),
    ("DATE", "2026-01-31", date(2026, 1, 31)),
    ("TIMESTAMP", "2026-01-31T06:00:00", datetime(2026, 1, 31, 6, tzinfo=UTC)),
    ("TIMESTAMPTZ", "2026-01-31T06:00:00+01:00", datetime(2026, 1, 31, 5, tzinfo=UTC)),
    ("BIGINT[]", [1, 2], [1, 2]),
    ("VARCHAR", None, None),
]


def pairs(table, defaults):
    plan = plan_view("shop", table)
    features = [
        feature.model_copy(update={"default": default, "has_default": True})
        for feature, default in zip(table.features, defaults, strict=True)
    ]
    return list(zip(features, plan.features, strict=True))


def test_every_type_has_its_online_form():
    table = feature_table(features={f"f{n}": kind for n, (kind, _, _) in enumerate(CASES)})

    found = online_defaults(pairs(table, [default for _, default, _ in CASES]))

    assert found == [wanted for _, _, wanted in CASES]
    assert [type(value) for value in found] == [type(wanted) for _, _, wanted in CASES]


def test_a_moment_stored_as_an_integer_has_its_microseconds():
    table = feature_table(features={"at": "TIMESTAMP"})
    stored = parse_type("TIMESTAMP").stored_as("int64")
    features = (table.features[0].model_copy(update={"type": stored}),)
    table = table.model_copy(update={"features": features})

    found = online_defaults(pairs(table, ["2026-01-31T06:00:00.000001"]))

    assert found == [datetime(2026, 1, 31, 6, 0, 0, 1, tzinfo=UTC)]


def test_a_default_of_another_type_is_an_error():
    table = feature_table(features={"n": "BIGINT"})

    with pytest.raises(ContractError, match="a default of n is no value of its type"):
        online_defaults(pairs(table, ["x"]))
