"""What the codec writes of composite keys, decimals and every list, the stock Feast SDK reads."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest

from exporters.redis import ExportJob, export_view, verify_view
from tests.integration.feast.shop import table

pytestmark = [pytest.mark.redis, pytest.mark.feast]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MIDNIGHT = NOON.replace(hour=0)
TIME = pa.timestamp("us", "UTC")
MOST = 10**38 - 1

#: Contract type, Arrow type, a value as it is published, and as a reader has it.
TYPES = {
    "flags": ("BOOLEAN[]", pa.bool_(), [True, False], [True, False]),
    "small": ("SMALLINT[]", pa.int16(), [-5, 0, 300], [-5, 0, 300]),
    "counts": ("BIGINT[]", pa.int64(), [-(2**63), 0, 2**63 - 1], [-(2**63), 0, 2**63 - 1]),
    "vector": ("FLOAT[3]", pa.float32(), [0.5, -1.5, 0.0], [0.5, -1.5, 0.0]),
    "scores": ("DOUBLE[]", pa.float64(), [0.1, -0.0, 1e300], [0.1, -0.0, 1e300]),
    "tags": ("VARCHAR[]", pa.string(), ["é", "", "a" * 200], ["é", "", "a" * 200]),
    "blobs": ("BLOB[]", pa.binary(), [b"\x00\xff", b""], [b"\x00\xff", b""]),
    "days": ("DATE[]", pa.date32(), [MIDNIGHT.date()], [MIDNIGHT]),
    "times": ("TIMESTAMPTZ[]", TIME, [NOON, datetime(1969, 1, 1, tzinfo=UTC)], None),
    "cents": ("DECIMAL(15, 2)[]", pa.decimal128(15, 2), [Decimal("-0.07")], [-0.07]),
    "exact": ("DECIMAL(16, 2)[]", pa.decimal128(16, 2), [Decimal("-0.07")], ["-0.07"]),
    "d15": ("DECIMAL(15, 15)", pa.decimal128(15, 15), Decimal("1e-15"), 1e-15),
    "d15_most": ("DECIMAL(15, 0)", pa.decimal128(15, 0), Decimal(10**15 - 1), float(10**15 - 1)),
    "d16": ("DECIMAL(16, 16)", pa.decimal128(16, 16), Decimal("-1e-16"), f"-0.{'0' * 15}1"),
    "d38": ("DECIMAL(38, 0)", pa.decimal128(38, 0), Decimal(-MOST), str(-MOST)),
    "d38_small": ("DECIMAL(38, 38)", pa.decimal128(38, 38), Decimal("1e-38"), f"0.{'0' * 37}1"),
    "d38_zero": ("DECIMAL(38, 2)", pa.decimal128(38, 2), Decimal("0.00"), "0.00"),
}
KEYS = {
    "a_text": ("VARCHAR", pa.string(), ["x", "y", "é" * 40]),
    "b_day": ("DATE", pa.date32(), [MIDNIGHT.date()] * 3),
    "c_number": ("BIGINT", pa.int64(), [1, -1, 2**62]),
    "d_small": ("INTEGER", pa.int32(), [0, -(2**31), 7]),
}
DECLARED = table(
    "types",
    {name: declared for name, (declared, *_) in KEYS.items()},
    {name: declared for name, (declared, *_) in TYPES.items()},
    ttl=timedelta(days=36_500),
)


def rows():
    """Three entities: all values, all NULL, all values and every list empty."""
    columns = {name: pa.array(values, arrow) for name, (_, arrow, values) in KEYS.items()}
    columns["as_of"] = pa.array([NOON] * 3, TIME)
    for name, (declared, arrow, value, _) in TYPES.items():
        if "[3]" in declared:
            columns[name] = pa.array([value, None, value], pa.list_(arrow, 3))
        elif "[" in declared:
            columns[name] = pa.array([value, None, []], pa.list_(arrow))
        else:
            columns[name] = pa.array([value, None, value], arrow)
    return pa.table(columns)


def expected(name, row):
    declared, _, published, read = TYPES[name]
    if row == 1:
        return None
    return [] if row == 2 and declared.endswith("[]") else published if read is None else read


@pytest.fixture
def stock(online, tmp_path):
    """The stock SDK over a repository that names nothing of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, types
        from feast.value_type import ValueType

    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(tmp_path / "registry.db"),
        online_store={"type": "redis", "connection_string": online.feast_connection_string()},
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    fields = [Field(name=f.name, dtype=feast_type(f.type, types)) for f in DECLARED.features]
    entities = [
        Entity(name=k.name, join_keys=[k.name], value_type=ValueType[k.type.kind.name])
        for k in DECLARED.join_keys
    ]
    view = FeatureView(
        name="types",
        entities=entities,
        ttl=DECLARED.ttl,
        schema=fields,
        source=FileSource(path=str(tmp_path / "none.parquet"), timestamp_field="as_of"),
    )
    store.apply([*entities, view])
    return store


def feast_type(column, types):
    element = getattr(types, column.feast.removeprefix("Array(").removesuffix(")"))
    return types.Array(element) if column.is_list else element


def test_every_list_and_decimal_reads_back_through_the_stock_sdk(stock, online):
    published = rows()
    job = ExportJob("shop", DECLARED, "s1", "r1", NOON, published.num_rows)
    export_view(online, job, published.to_reader())
    asked = [{name: KEYS[name][2][row] for name in KEYS} for row in range(3)]
    for entity in asked:
        entity["b_day"] = MIDNIGHT

    answer = stock.get_online_features([f"types:{name}" for name in TYPES], asked).to_dict()

    for name in TYPES:
        assert answer[name] == [expected(name, row) for row in range(3)], name
    assert verify_view(online, "shop", DECLARED, published.to_reader()).is_proof
