"""The demo keeps to itself: its own home, its own server, its own moments."""

from __future__ import annotations

import os

import pytest

from featmill.cli import demo
from featmill.settings import Settings, load_settings

MINE = {
    "FEATMILL_HOME": "/of/mine",
    "FEATMILL_SOURCES": "/sources/of/mine",
    "FEATMILL_REDIS_URL": "redis://production:6379/0",
    "FEATMILL_AS_OF": "2020-01-01",
    "FEATMILL_CUT_OFF": "2020-01-02",
}


class Stopped(Exception):
    """The step after the one looked at."""


@pytest.fixture
def mine(monkeypatch):
    for name, value in MINE.items():
        monkeypatch.setenv(name, value)


def test_the_demo_has_a_home_and_sources_of_its_own_and_no_setting_of_the_user(mine, tmp_path):
    """Rule 2: the moments are the generated data's; nothing made up reaches a Redis of the user's."""
    with demo.own_home(tmp_path):
        settings = load_settings(tmp_path)

    assert settings.home_dir == tmp_path / ".featmill" / "demo"
    assert settings.sources == str(tmp_path / ".featmill" / "demo" / "raw")
    assert (settings.redis_url, settings.as_of, settings.cut_off) == (None, None, None)


def test_the_user_s_settings_come_back_also_where_a_step_fails(mine, tmp_path):
    with pytest.raises(Stopped), demo.own_home(tmp_path):
        raise Stopped

    assert {name: os.environ.get(name) for name in MINE} == MINE


def test_what_was_not_set_is_not_set_afterwards(monkeypatch, tmp_path):
    for name in MINE:
        monkeypatch.delenv(name, raising=False)

    with demo.own_home(tmp_path):
        pass

    assert not MINE.keys() & os.environ.keys()


def test_the_contract_is_checked_before_anything_is_generated(monkeypatch, tmp_path, capsys):
    """A mistake in a declaration costs a second, not the whole chain."""
    checked: list[Settings] = []

    def generating(*_):
        raise Stopped

    monkeypatch.setattr(demo, "run_check", checked.append)
    monkeypatch.setattr(demo, "_generate", generating)

    with pytest.raises(Stopped):
        demo.demo(project_dir=tmp_path)

    assert [settings.home_dir for settings in checked] == [tmp_path / ".featmill" / "demo"]
    assert "Check" in capsys.readouterr().out
