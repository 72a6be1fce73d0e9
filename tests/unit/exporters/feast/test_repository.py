"""The folder: exactly the released snapshots, no copies, whole at every moment."""

from __future__ import annotations

import shutil
import stat
import threading
from datetime import timedelta
from pathlib import Path

import duckdb
import pytest

from exporters.feast import repository
from exporters.feast.repository import repository_folder, write_repository
from featmill.errors import LakeError, SettingError
from featmill.warehouse.publisher import PublishOrder
from featmill.warehouse.publisher import publish as publish_order
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    DAY_2,
    DAY_3,
    SHOP,
    catalog,
    feature,
    table,
)

# The lake asks delta-rs by an argument that is going away.
pytestmark = pytest.mark.filterwarnings("ignore:.partition_filters.:DeprecationWarning")

VISITS = table("visits", {"id": "BIGINT"}, {"n": "BIGINT"})
ONLY = catalog(VISITS)


def write(settings, warehouse, declared=ONLY, address="localhost:1"):
    return write_repository(settings, declared, warehouse.released(), address)


def visits(n, extra=""):
    return f"SELECT 1::BIGINT AS id, {n}::BIGINT AS n{extra}"


def publish(warehouse, as_of, rows, *, published_at=None):
    snapshot = warehouse.snapshot("visits", as_of, rows, published_at=published_at or as_of)
    warehouse.release(snapshot)
    return snapshot


def rows_in(folder, columns="n", view="visits"):
    """What Feast's store reads: the whole folder, by the first file's schema."""
    return duckdb.execute(
        f"SELECT {columns} FROM read_parquet('{folder}/data/{view}') ORDER BY ALL"
    ).fetchall()


def real_files(folder):
    return [p for p in folder.rglob("*.parquet") if not p.is_symlink()]


def test_the_folder_holds_links_to_the_released_snapshots(settings, warehouse):
    first = publish(warehouse, DAY_1, visits(1))
    second = publish(warehouse, DAY_2, visits(2))
    warehouse.snapshot("visits", DAY_3, visits(3), published_at=DAY_3)

    folder = write(settings, warehouse)

    names = sorted(p.name for p in (folder / "data/visits").iterdir())
    assert names == [f"{s.snapshot_id}-0000.parquet" for s in (first, second)]
    assert rows_in(folder) == [(1,), (2,)]
    assert not real_files(folder)


def test_a_correction_replaces_what_it_corrects(settings, warehouse):
    """Rule 13."""
    publish(warehouse, DAY_1, visits(1))
    write(settings, warehouse)
    publish(warehouse, DAY_1, visits(9), published_at=DAY_3)

    folder = write(settings, warehouse)

    assert rows_in(folder) == [(9,)]


def test_the_folder_before_is_kept_and_no_other(settings, warehouse):
    for n in range(4):
        publish(warehouse, DAY_1, visits(n), published_at=DAY_1 + timedelta(hours=n))
        folder = write(settings, warehouse)

    assert len(list((folder / ".links/visits").iterdir())) == 2
    assert rows_in(folder) == [(3,)]


def test_writing_again_touches_no_link(settings, warehouse):
    publish(warehouse, DAY_1, visits(1))
    folder = write(settings, warehouse)
    before = (folder / "data/visits").lstat()

    write(settings, warehouse)

    after = (folder / "data/visits").lstat()
    assert (after.st_ino, after.st_ctime_ns) == (before.st_ino, before.st_ctime_ns)


def test_the_home_folder_can_be_moved(settings, warehouse):
    publish(warehouse, DAY_1, visits(1))
    folder = write(settings, warehouse)
    moved = settings.home_dir.with_name("moved")
    shutil.move(settings.home_dir, moved)

    assert rows_in(moved / folder.name) == [(1,)]


def test_a_snapshot_from_before_a_column_is_written_anew_once(settings, warehouse):
    grown = VISITS.model_copy(update={"features": (*VISITS.features, feature("m", "DOUBLE"))})
    publish(warehouse, DAY_1, visits(1))
    publish(warehouse, DAY_2, visits(2, ", 0.5::DOUBLE AS m"))

    folder = write(settings, warehouse, catalog(grown))

    assert rows_in(folder, "n, m, as_of") == [(1, None, DAY_1), (2, 0.5, DAY_2)]
    (written,) = real_files(folder)
    before = written.stat().st_mtime_ns
    publish(warehouse, DAY_3, visits(3, ", 0.75::DOUBLE AS m"))
    write(settings, warehouse, catalog(grown))
    assert [p.stat().st_mtime_ns for p in real_files(folder)] == [before]
    assert rows_in(folder, "m") == [(0.5,), (0.75,), (None,)]

    write(settings, warehouse)
    write(settings, warehouse)
    assert not real_files(folder)


def test_no_type_is_cast_in_silence(settings, warehouse, tmp_path):
    """DuckDB would read 2.5 as 2 where the first file says BIGINT."""
    lake = warehouse.registry.lake
    publish(warehouse, DAY_1, visits(1))
    lake.location = lambda name: lake.root / "default" / name / "v2"
    publish(warehouse, DAY_2, "SELECT 1::BIGINT AS id, 2.5::DOUBLE AS n")

    folder = write_repository(settings, ONLY, {"visits": lake.snapshots("visits")}, "localhost:1")

    assert rows_in(folder) == [(1.0,), (2.5,)]


def test_a_type_that_cannot_be_cast_is_refused(settings, warehouse):
    lake = warehouse.registry.lake
    publish(warehouse, DAY_1, "SELECT 1::BIGINT AS id, 'many'::VARCHAR AS n")
    folder = write(settings, warehouse)
    lake.location = lambda name: lake.root / "default" / name / "v2"
    publish(warehouse, DAY_2, visits(2))

    with pytest.raises(LakeError, match="visits could not be linked"):
        write_repository(settings, ONLY, {"visits": lake.snapshots("visits")}, "localhost:1")

    assert rows_in(folder) == [("many",)]


def test_without_rows_there_is_an_empty_file_of_the_contract_s_types(settings, warehouse):
    folder = write(settings, warehouse, SHOP)

    described = duckdb.execute(
        f"DESCRIBE SELECT * FROM read_parquet('{folder}/data/customers')"
    ).fetchall()
    assert {row[0]: row[1] for row in described} == {
        "customer_id": "BIGINT",
        "as_of": "TIMESTAMP WITH TIME ZONE",
        "orders": "INTEGER",
        "spent": "DECIMAL(12,2)",
        "first_on": "DATE",
        "last_at": "TIMESTAMP WITH TIME ZONE",
        "city": "VARCHAR",
        "is_new": "BOOLEAN",
        "published_at": "TIMESTAMP WITH TIME ZONE",
    }
    assert rows_in(folder, "*", "customers") == []


def test_the_first_rows_replace_the_empty_file(settings, warehouse):
    write(settings, warehouse)
    publish(warehouse, DAY_1, visits(1))

    folder = write(settings, warehouse)

    assert rows_in(folder) == [(1,)]
    assert not [p for p in (folder / "data/visits").iterdir() if "empty" in p.name]


def test_data_of_a_removed_view_is_removed(settings, warehouse):
    publish(warehouse, DAY_1, visits(1))
    folder = write(settings, warehouse, catalog(VISITS, CUSTOMERS))

    write(settings, warehouse, catalog(VISITS))

    for part in ("data", ".links", ".rewritten"):
        assert {p.name for p in (folder / part).iterdir()} <= {"visits"}
    assert "customers" not in (folder / "definitions.py").read_text()


def test_a_reader_never_sees_half_a_release(settings, warehouse):
    """Every listing is one release's set, while the next ones are written."""
    publish(warehouse, DAY_1, visits(1))
    folder = write(settings, warehouse)
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.wait(0.0005):
            seen.add(tuple(sorted(p.name for p in (folder / "data/visits").iterdir())))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(2, 12):
        publish(warehouse, DAY_1, visits(n), published_at=DAY_1 + timedelta(hours=n))
        write(settings, warehouse)
    stop.set()
    watcher.join()

    assert {len(names) for names in seen} == {1}


def test_a_failed_write_leaves_what_was_there(settings, warehouse, monkeypatch):
    folder = write(settings, warehouse)
    before = (folder / "definitions.py").read_text()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(SettingError, match="disk full"):
        write(settings, warehouse, SHOP)

    assert (folder / "definitions.py").read_text() == before
    assert not list(folder.glob(".definitions*"))


def test_only_the_owner_reads_a_password(settings, warehouse):
    def mode(address):
        folder = write(settings, warehouse, address=address)
        return stat.S_IMODE((folder / "feature_store.yaml").stat().st_mode) & 0o044

    assert mode('localhost:1,password="x"') == 0
    assert mode("localhost:1") == 0o044


def test_a_tenant_s_repository_is_beside_not_below(settings):
    """`feast apply` runs every Python file below its folder."""
    default, acme = repository_folder(settings), repository_folder(settings, "acme")

    assert default == settings.feast_repository
    assert acme.parent == default.parent
    assert acme != default


def test_who_keeps_the_lock_is_waited_for_then_named(settings, warehouse, monkeypatch):
    folder = write(settings, warehouse)
    monkeypatch.setattr(repository, "_LOCK_LIMIT", 0.05)

    with (
        repository.locked(folder),
        pytest.raises(SettingError, match="another process has been writing"),
    ):
        write(settings, warehouse)


def test_a_folder_that_cannot_be_made_is_named(settings, warehouse):
    settings.home_dir.mkdir(parents=True)
    settings.feast_repository.write_text("a file")

    with pytest.raises(SettingError, match="cannot be written"):
        write(settings, warehouse)


def test_a_change_snapshot_is_written_out_once_with_all_of_its_rows(settings, warehouse):
    """Feast reads files as they are, and those of a change snapshot hold only what changed."""
    lake = warehouse.registry.lake
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        made = []
        for n, as_of in enumerate((DAY_1, DAY_2, DAY_3)):
            order = PublishOrder(
                table="visits",
                sql=f"SELECT range AS id, CASE range WHEN 1 THEN {n} ELSE 7 END AS n, "
                f"TIMESTAMP '{as_of:%F %T}' AS as_of FROM range(3)",
                as_of=as_of,
                cut_off=as_of,
                join_keys=("id",),
                tenant="default",
                version="1",
                fingerprint="f",
                sources=(),
                event_time="as_of",
                storage="changes",
            )
            made.append(publish_order(connection, lake, order)[0])
    warehouse.release(*made)

    folder = write(settings, warehouse)

    assert [s.change is not None for s in made] == [False, True, True]
    assert rows_in(folder, "n") == [(0,), (1,), (2,), *[(7,)] * 6]
    assert rows_in(folder, "DISTINCT strftime(as_of AT TIME ZONE 'UTC', '%Y-%m-%d')") == [
        (f"{day:%F}",) for day in (DAY_1, DAY_2, DAY_3)
    ]
    written = {p: p.stat().st_mtime_ns for p in real_files(folder)}
    assert len(written) == 2
    write(settings, warehouse)
    assert {p: p.stat().st_mtime_ns for p in real_files(folder)} == written
