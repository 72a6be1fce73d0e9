"""Request features over a spine: what a request at each row's moment would have been answered (rules 2 and 15)."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hiredis import Reader
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill import clock
from featmill.contract.catalog import (
    Catalog,
    FeatureRef,
    FeatureService,
    RequestFeature,
    RequestField,
)
from featmill.contract.types import parse_type
from featmill.errors import ContractError, SpineError, UsageError
from featmill.online.codec import expected_replies
from featmill.online.one_value import value_decoder
from featmill.online.plan import OnlineColumn, ViewPlan
from featmill.serving.request.features import RequestPlan
from featmill.training.training_set import TrainingRequest, build_training_set, training_frame
from featmill.training.verify import verify_training_set
from featmill.warehouse.columns import published_expression
from featmill.warehouse.lake import Lake
from featmill.warehouse.model import Snapshot
from featmill.warehouse.registry import Registry
from tests.unit.online.tables import feature_table

AT = datetime(2026, 3, 1, tzinfo=UTC)
STORED = {
    "mean_30d": "double",
    "spent": "decimal(15, 2)",
    "wide": "decimal(22, 4)",
    "last_event_at": "timestamp",
    "born": "date",
    "bought": "bigint",
    "city": "varchar",
    "score": "float",
    "kinds": "bigint[]",
}
SENT = {
    "price": "decimal(10, 2)",
    "quantity": "integer",
    "country": "varchar",
    "clicked_at": "timestamp",
    "weight": "double",
}
FEATURES = {
    "since_last": ("bigint", "epoch_us(as_of) - epoch_us(last_event_at)"),
    "current_hour": ("bigint", "hour(as_of)"),
    "is_weekend": ("boolean", "isodow(as_of) >= 6"),
    "price_ratio": ("double", "price / nullif(mean_30d, 0)"),
    "ordered": ("decimal(21, 2)", "price * quantity"),
    "left_over": ("decimal(16, 2)", "spent - price"),
    "share": ("double", "spent / nullif(wide, 0)"),
    "log_weight": ("double", "case when weight > 0 then ln(weight) end"),
    "rounded": ("double", "round(weight / nullif(mean_30d, 0), 2)"),
    "age_days": ("bigint", "as_of::date - born"),
    "place": ("varchar", "lower(coalesce(country, 'none')) || '/' || coalesce(city, '?')"),
    "click_day": ("timestamp", "date_trunc('day', clicked_at)"),
    "kinds_seen": ("bigint", "len(kinds)"),
    "single": ("float", "score + 1"),
    "next_bought": ("bigint", "bought + 1"),
}
TABLE = feature_table("users", features=STORED)
REFS = tuple(FeatureRef(view="users", feature=name) for name in STORED)


def service(features=None, sent=None, refs=REFS):
    declared = FEATURES if features is None else features
    return FeatureService(
        name="churn",
        description="",
        owner=None,
        features=refs,
        request_fields=tuple(
            RequestField(name=name, type=parse_type(kind)) for name, kind in (sent or SENT).items()
        ),
        request_features=tuple(
            RequestFeature(name=name, type=parse_type(kind), sql=sql)
            for name, (kind, sql) in declared.items()
        ),
    )


def catalog(**more):
    return Catalog(project="shop", tables=(TABLE,), services=(service(**more),), sources=())


def publish(folder, rows):
    """Release `rows` of the table, as tuples of user_id and its features, valid from AT."""
    registry = Registry(Lake(folder / "lake"))
    location = str(registry.lake.location("users"))
    snapshot = Snapshot(
        "users", "20260301T000000Z-1-aa", AT, AT, AT, "f", (), len(rows), "c", location, -1
    )
    declared = ", ".join(f"{name} {kind}" for name, kind in STORED.items())
    published = ", ".join(
        published_expression(name, parse_type(kind).sql) for name, kind in STORED.items()
    )
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE given (user_id BIGINT, {declared})")
        connection.executemany(
            f"INSERT INTO given VALUES ({', '.join('?' * (len(STORED) + 1))})", rows
        )
        reader = connection.sql(
            f"SELECT user_id, TIMESTAMPTZ '{AT}' AS feature_at, {published}, "
            f"TIMESTAMPTZ '{AT}' AS published_at, '{snapshot.snapshot_id}' AS snapshot_id FROM given"
        ).to_arrow_reader(1_000)
        snapshot = registry.lake.append(reader, snapshot)
    with clock.frozen(AT):
        registry.commit(AT, [snapshot], "shop")
    return registry


def naive(text):
    """A TIMESTAMP as a candidate has it: in UTC, without saying so (rule 1)."""
    return datetime.fromisoformat(text)


LAST = (naive("2026-02-27 23:59:01"), naive("1969-12-31 01:00:00"))
USERS = [
    (1, 12.5, Decimal("99.99"), Decimal("1.5"), LAST[0], "1990-05-01", 3, "Ulm", 0.1, [1]),
    (2, 0.0, None, Decimal("-123456789012345678.0001"), None, None, None, None, None, None),
    (
        3,
        float("nan"),
        Decimal("-0.01"),
        Decimal(0),
        LAST[1],
        "1969-12-31",
        2**63 - 1,
        "İ",
        -1.5,
        [],
    ),
]


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("users"), USERS)


def spine_of(rows):
    """An Arrow spine of `(user_id, moment, price, quantity, country, clicked_at, weight)`."""
    kinds = [pa.int64(), pa.timestamp("us", "UTC"), pa.decimal128(10, 2), pa.int32(), pa.string()]
    kinds += [pa.timestamp("us", "UTC"), pa.float64()]
    columns = list(zip(*rows, strict=True))
    names = ["user_id", "asked_at", *SENT]
    return pa.table({n: pa.array(c, k) for n, c, k in zip(names, columns, kinds, strict=True)})


ROW = (1, AT + timedelta(days=6, hours=5), Decimal("25.00"), 2, "DE", AT, 2.0)


def request(spine, **more):
    return TrainingRequest(spine, "asked_at", REFS, service="churn", **more)


def rows(registry, spine, declared=None, **more):
    return training_frame(declared or catalog(), registry, request(spine, **more))


def test_each_row_has_what_a_request_at_its_moment_would_have_given(registry):
    found = rows(registry, spine_of([ROW, (9, AT, None, None, None, None, None)]))

    names = ["user_id", "asked_at", *SENT, *(f"users__{name}" for name in STORED), *FEATURES]
    assert found.column_names == names
    first, nobody = found.select(list(FEATURES)).to_pylist()
    assert first == {
        "since_last": 7 * 86_400_000_000 + 5 * 3_600_000_000 + 59_000_000,
        "current_hour": 5,
        "is_weekend": True,
        "price_ratio": 2.0,
        "ordered": Decimal("50.00"),
        "left_over": Decimal("74.99"),
        "share": 99.99 / 1.5,
        "log_weight": 0.6931471805599453,
        "rounded": 0.16,
        "age_days": 13_094,
        "place": "de/Ulm",
        "click_day": AT,
        "kinds_seen": 1,
        "single": pytest.approx(1.1),
        "next_bought": 4,
    }
    assert nobody == dict.fromkeys(FEATURES) | {
        "current_hour": 0,
        "is_weekend": True,
        "place": "none/?",
    }


def test_features_without_a_service_add_nothing(registry):
    spine = spine_of([ROW])
    made = training_frame(catalog(), registry, TrainingRequest(spine, "asked_at", REFS))

    assert not set(FEATURES).intersection(made.column_names)


def online(name, column):
    """A column of the set as the reader would have read it: through the exporter's bytes."""
    kind = parse_type(STORED[name])
    plan = ViewPlan("", "", (), "at", (OnlineColumn(name, kind.kind, b"1", kind.is_list),))
    decode = value_decoder(kind, name)
    found = []
    for value in column.combine_chunks().to_pylist():
        one = pa.RecordBatch.from_arrays(
            [pa.array([value], column.type), pa.array([AT], pa.timestamp("us", "UTC"))],
            [name, "at"],
        )
        reader = Reader()
        reader.feed(bytes(expected_replies(plan, one)))
        found.append(decode(reader.gets()[0]))
    return found


def bits(value):
    return struct.pack("<d", value) if isinstance(value, float) else (type(value), value)


def as_online(kind, value):
    """A training set's value in the online form."""
    if not isinstance(value, Decimal):
        return value
    return float(value) if parse_type(kind).kind == "double" else f"{value:f}"


def assert_equal_online(made, plan):
    """Every request feature of every row is what evaluating it online gives."""
    stored = {name: online(name, made.column(f"users__{name}")) for name in STORED}
    sent = {name: made.column(name).to_pylist() for name in SENT}
    for row, moment in enumerate(made.column("asked_at").to_pylist()):
        answered = plan.evaluate(
            1,
            {name: values[row : row + 1] for name, values in stored.items()},
            {name: values[row : row + 1] for name, values in sent.items()},
            moment,
        )
        for name, (kind, _) in FEATURES.items():
            trained = as_online(kind, made.column(name)[row].as_py())
            assert bits(answered[name][0]) == bits(trained), (row, name)


_MOMENTS = st.integers(-3_000_000, 10_000_000).map(
    lambda s: AT + timedelta(seconds=s, microseconds=s)
)
_ROWS = st.tuples(
    st.sampled_from([1, 2, 3, 4]),
    _MOMENTS,
    st.none() | st.decimals(-(10**8) + 1, 10**8 - 1, places=2, allow_nan=False),
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.sampled_from(["DE", "éß", "", "\U0001f600"]),
    st.none() | _MOMENTS,
    st.none() | st.floats(),
)


@settings(max_examples=25)
@given(given_rows=st.lists(_ROWS, min_size=1, max_size=12))
def test_training_and_request_agree_to_the_bit(registry, given_rows):
    """Rule 2 end to end: from a snapshot through the exporter's bytes on one side, through a spine on the other."""
    plan = RequestPlan.compiled(service(), {n: parse_type(kind) for n, kind in STORED.items()})

    assert_equal_online(rows(registry, spine_of(given_rows)), plan)


def test_a_set_is_made_again_and_a_changed_expression_is_said(registry, tmp_path):
    """Rule 22."""
    pq.write_table(spine_of([ROW]), tmp_path / "spine.parquet")
    made = build_training_set(
        catalog(), registry, request(tmp_path / "spine.parquet", out=tmp_path / "set.parquet")
    )
    assert verify_training_set(made.manifest, registry.lake).causes == ()

    manifest = json.loads(made.manifest.read_text())
    assert manifest["request_features"]["service"] == "churn"
    manifest["request_features"]["features"][1]["sql"] = "minute(as_of)"
    made.manifest.write_text(json.dumps(manifest))
    found = verify_training_set(made.manifest, registry.lake)
    assert found.causes == ("value differs: current_hour in 1 rows (row 0: was 5, is 0)",)


def test_a_declaration_that_changed_since_is_noted(registry, tmp_path):
    pq.write_table(spine_of([ROW]), tmp_path / "spine.parquet")
    made = build_training_set(
        catalog(), registry, request(tmp_path / "spine.parquet", out=tmp_path / "set.parquet")
    )
    now = catalog(features=FEATURES | {"current_hour": ("bigint", "minute(as_of)")})

    same, other = (
        verify_training_set(made.manifest, registry.lake, catalog=one) for one in (catalog(), now)
    )

    assert (same.is_identical, same.notes) == (True, ())
    assert other.is_identical
    assert other.notes == (
        "other declaration: churn computes current_hour by `minute(as_of)` now, the set has `hour(as_of)`",
    )


def test_a_set_of_a_frame_is_made_again_without_its_request_features_as_a_spine(registry, tmp_path):
    made = build_training_set(
        catalog(), registry, request(spine_of([ROW]), out=tmp_path / "a.parquet")
    )

    assert verify_training_set(made.manifest, registry.lake).causes == ()


def test_many_batches_keep_their_order(registry):
    """More rows than one batch holds."""
    spine = spine_of([(1, AT, Decimal(n % 1_000), n, None, None, None) for n in range(70_000)])

    found = rows(registry, spine)

    assert found.column("ordered").to_pylist() == [Decimal(n % 1_000) * n for n in range(70_000)]


def test_a_missing_request_field_is_named(registry):
    spine = spine_of([ROW]).drop_columns(["price", "weight"])

    with pytest.raises(SpineError, match="has no column price, weight, a request field of churn"):
        rows(registry, spine)


def test_a_field_that_no_expression_reads_may_be_missing(registry):
    declared = catalog(features={"h": ("bigint", "hour(as_of)")})

    assert rows(registry, spine_of([ROW]).select(["user_id", "asked_at"]), declared).column(
        "h"
    ).to_pylist() == [5]


@pytest.mark.parametrize(
    ("name", "column", "wrong"),
    [
        ("price", pa.array(["1.00"]), "request field price is VARCHAR, the contract says DECIMAL"),
        ("price", pa.array([1.234]), "price has values that are no DECIMAL.10, 2. in 1 rows"),
        ("quantity", pa.array([2**40]), "quantity has values that are no INT in 1 rows"),
        ("quantity", pa.array([1.5]), "quantity has values that are no INT in 1 rows"),
        ("quantity", pa.array([True]), "request field quantity is BOOLEAN"),
        ("country", pa.array([1]), "request field country is BIGINT"),
        ("clicked_at", pa.array([1]), "request field clicked_at is BIGINT"),
        ("clicked_at", pa.array([0], pa.timestamp("us")), "without a zone .rule 1., in 1 rows"),
    ],
)
def test_a_column_that_no_caller_could_have_sent_is_refused(registry, name, column, wrong):
    spine = spine_of([ROW])
    spine = spine.set_column(spine.column_names.index(name), name, column)

    with pytest.raises(SpineError, match=wrong):
        rows(registry, spine)


@pytest.mark.parametrize(
    ("name", "column", "feature", "value"),
    [
        ("price", pa.array([19.99]), "ordered", Decimal("39.98")),
        ("quantity", pa.array([3.0]), "ordered", Decimal("75.00")),
        ("quantity", pa.array([None], pa.float64()), "ordered", None),
        ("weight", pa.array([float("nan")]), "log_weight", None),
        ("weight", pa.array([1]), "log_weight", 0.0),
        ("clicked_at", pa.array([AT], pa.timestamp("ns", "UTC")), "click_day", AT),
    ],
)
def test_a_column_of_another_width_is_taken_where_nothing_is_lost(
    registry, name, column, feature, value
):
    """As pandas and CSV give them."""
    spine = spine_of([ROW])
    spine = spine.set_column(spine.column_names.index(name), name, column)

    assert rows(registry, spine).column(feature).to_pylist() == [value]


def test_a_naive_moment_is_read_in_the_zone_that_is_given(registry):
    spine = spine_of([ROW])
    column = pa.array([naive("2026-03-01 01:00:00")], pa.timestamp("us"))
    spine = spine.set_column(spine.column_names.index("clicked_at"), "clicked_at", column)

    found = rows(registry, spine, zone="Asia/Tokyo")

    assert found.column("click_day").to_pylist() == [AT - timedelta(days=1)]


def test_a_column_of_a_request_features_name_is_refused(registry):
    spine = spine_of([ROW]).append_column("Current_Hour", pa.array([1]))

    with pytest.raises(
        SpineError, match="already has a column current_hour, which is a request feature"
    ):
        rows(registry, spine)


def test_a_wrong_expression_stops_before_anything_is_read(registry):
    with pytest.raises(ContractError, match=r"churn: request feature a \(now\(\)\)"):
        rows(registry, spine_of([ROW]), catalog(features={"a": ("timestamptz", "now()")}))


def test_a_stored_feature_that_was_not_asked_for_is_named(registry):
    few = TrainingRequest(spine_of([ROW]), "asked_at", REFS[1:], service="churn")

    with pytest.raises(UsageError, match="churn read users:mean_30d, which was not asked for"):
        training_frame(catalog(), registry, few)
