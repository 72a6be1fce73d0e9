"""API keys: made once, kept as hashes, scoped, revoked, noticed."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from featmill import clock
from featmill.errors import SettingError, UsageError
from featmill.serving import api_keys
from featmill.serving.api_keys import ApiKeys, Scope

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VIEWS = {"clicks": "default", "orders": "retail"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "home" / "serving" / "keys.json"


@pytest.fixture
def keys(path):
    return ApiKeys(path)


def test_a_key_opens_and_another_does_not(path, keys):
    stored, presented = api_keys.create(path, "scoring")
    keys.refresh()

    assert keys.find(presented, NOON) == stored
    assert keys.find(presented[:-1] + ("A" if presented[-1] != "A" else "B"), NOON) is None
    assert keys.find(presented + "x", NOON) is None
    for nonsense in ("", "fm", "fm_", f"fm_{stored.key_id}", f"fm_{stored.key_id}_", "fm_x_y", "ÿ"):
        assert keys.find(nonsense, NOON) is None


def test_the_file_holds_the_hash_and_not_the_key(path):
    _, presented = api_keys.create(path, "scoring")
    text = path.read_text()

    assert presented not in text
    assert presented.split("_", 2)[2] not in text
    assert hashlib.sha256(presented.encode()).hexdigest() in text


def test_only_the_owner_reads_the_file(path):
    api_keys.create(path, "scoring")
    assert path.stat().st_mode & 0o777 == 0o600

    path.chmod(0o640)
    with pytest.raises(SettingError, match="others than its owner"):
        api_keys.read(path)


def test_a_key_expires_at_its_moment(path, keys):
    with clock.frozen(NOON):
        _, presented = api_keys.create(path, "trial", expires_in=timedelta(days=1))
    keys.refresh()

    end = NOON + timedelta(days=1)
    assert keys.find(presented, end - timedelta(microseconds=1)) is not None
    assert keys.find(presented, end) is None


def test_what_is_created_and_revoked_is_noticed(path, keys):
    assert keys.refresh() is False
    stored, presented = api_keys.create(path, "scoring")
    assert keys.find(presented, NOON) is None

    assert keys.refresh() is True
    assert keys.find(presented, NOON) is not None
    assert keys.refresh() is False

    api_keys.revoke(path, stored.key_id)
    assert keys.refresh() is True
    assert keys.find(presented, NOON) is None


def test_a_file_that_broke_changes_nothing(path, keys):
    _, presented = api_keys.create(path, "scoring")
    keys.refresh()
    path.write_text("{")

    with pytest.raises(SettingError, match="cannot be read"):
        keys.refresh()
    assert keys.find(presented, NOON) is not None


def test_a_file_that_went_away_opens_nothing(path, keys):
    _, presented = api_keys.create(path, "scoring")
    keys.refresh()
    path.unlink()

    assert keys.refresh() is True
    assert keys.find(presented, NOON) is None


def test_a_name_is_taken_until_its_key_is_revoked(path):
    api_keys.create(path, "scoring")
    with pytest.raises(UsageError, match="scoring"):
        api_keys.create(path, "scoring")

    api_keys.revoke(path, "scoring")
    api_keys.create(path, "scoring")

    assert [key.revoked_at is None for key in api_keys.read(path)] == [False, True]


def test_revoking_what_is_not_there_is_an_error(path):
    with pytest.raises(UsageError, match="no live key"):
        api_keys.revoke(path, "scoring")


@pytest.mark.parametrize(
    ("scope", "excluded"),
    [
        (Scope(), None),
        (Scope(services=frozenset({"churn"})), None),
        (Scope(services=frozenset({"other"})), "service churn"),
        (Scope(views=frozenset({"clicks", "orders"})), None),
        (Scope(views=frozenset({"clicks"})), "view orders"),
        (Scope(tenants=frozenset({"default", "retail"})), None),
        (Scope(tenants=frozenset({"default"})), "tenant retail"),
        (Scope(services=frozenset({"churn"}), views=frozenset({"clicks"})), "view orders"),
    ],
)
def test_a_scope_opens_a_service_only_with_all_its_views(scope, excluded):
    assert scope.excluded("churn", VIEWS) == excluded


def test_a_secret_is_made_once_for_its_owner(tmp_path):
    path = tmp_path / "new" / "secret"
    secret = api_keys.secret_of(path)

    assert len(secret) == 32
    assert api_keys.secret_of(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600


def test_nobody_sees_a_secret_that_is_not_whole(tmp_path):
    path = tmp_path / "secret"
    gate = threading.Barrier(16)

    def worker():
        gate.wait(10)
        return api_keys.secret_of(path)

    with ThreadPoolExecutor(16) as pool:
        found = {one.result() for one in [pool.submit(worker) for _ in range(16)]}

    assert found == {api_keys.secret_of(path)}
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


@pytest.mark.parametrize("text", ["", "00", "zz" * 32, "00" * 33], ids=len)
def test_a_secret_that_is_none_is_refused(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    path.chmod(0o600)

    with pytest.raises(SettingError, match="secret"):
        api_keys.secret_of(path)


def test_a_secret_that_others_can_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    api_keys.secret_of(path)
    path.chmod(0o640)

    with pytest.raises(SettingError, match="others than its owner"):
        api_keys.secret_of(path)


def test_a_folder_that_went_away_changes_nothing(path, keys):
    _, presented = api_keys.create(path, "scoring")
    keys.refresh()
    path.parent.rename(path.parent.with_name("elsewhere"))
    path.parent.write_text("a file where the folder should be")

    with pytest.raises(SettingError, match="cannot be read"):
        keys.refresh()
    assert keys.find(presented, NOON) is not None
