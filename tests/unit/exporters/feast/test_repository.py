"""The folders: what they hold, whole at every moment, and who may read it."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from exporters.feast import repository
from exporters.feast.repository import repository_folder, write_repository
from featmill.errors import SettingError
from tests.integration.feast.shop import SHOP, catalog, table

VISITS = table("visits", {"id": "BIGINT"}, {"n": "BIGINT"})
ONLY = catalog(VISITS)


def write(settings, declared=ONLY, address="localhost:1"):
    online = {"type": "redis", "connection_string": address}
    return write_repository(settings, declared, {}, online)[0]


def test_a_repository_holds_declarations_and_no_data(settings):
    folder = write(settings)

    assert {p.name for p in folder.iterdir()} == {
        ".lock",
        "definitions.py",
        "feature_store.yaml",
        "tables.json",
    }
    stock = folder.with_name("feast-stock")
    assert {p.name for p in stock.iterdir()} == {".lock", "definitions.py", "feature_store.yaml"}


def test_a_reader_never_sees_half_a_file(settings):
    """Written beside and renamed: whatever a reader opens is one export's, whole."""
    folder = write(settings, SHOP)
    seen, stop = set(), threading.Event()

    def watch():
        while not stop.wait(0.0005):
            seen.add((folder / "definitions.py").read_text())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for n in range(10):
        write(settings, ONLY if n % 2 else SHOP)
    stop.set()
    watcher.join()

    assert 1 <= len(seen) <= 2


def test_a_failed_write_leaves_what_was_there(settings, monkeypatch):
    folder = write(settings)
    before = (folder / "definitions.py").read_text()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", fail)
    with pytest.raises(SettingError, match="disk full"):
        write(settings, SHOP)

    assert (folder / "definitions.py").read_text() == before
    assert not list(folder.glob(".definitions*"))


def test_only_the_owner_reads_a_password(settings):
    def mode(address):
        folder = write(settings, address=address)
        return stat.S_IMODE((folder / "feature_store.yaml").stat().st_mode) & 0o044

    assert mode('localhost:1,password="x"') == 0
    assert mode("localhost:1") == 0o044


def test_a_tenant_s_repository_is_beside_not_below(settings):
    """`feast apply` runs every Python file below its folder."""
    folders = {
        repository_folder(settings, tenant, is_stock=is_stock)
        for tenant in ("default", "acme", "stock")
        for is_stock in (False, True)
    }

    assert settings.feast_repository in folders
    assert len(folders) == 6
    assert {folder.parent for folder in folders} == {settings.home_dir}


def test_who_keeps_the_lock_is_waited_for_then_named(settings, monkeypatch):
    folder = write(settings)
    monkeypatch.setattr(repository, "_LOCK_LIMIT", 0.05)

    with (
        repository.locked(folder),
        pytest.raises(SettingError, match="another process has been writing"),
    ):
        write(settings)


def test_a_folder_that_cannot_be_made_is_named(settings):
    settings.home_dir.mkdir(parents=True)
    settings.feast_repository.write_text("a file")

    with pytest.raises(SettingError, match="cannot be written"):
        write(settings)
