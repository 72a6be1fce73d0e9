"""A warehouse of its own for each test."""

from __future__ import annotations

import pytest

from featmill.settings import Settings
from tests.integration.feast.shop import Warehouse


@pytest.fixture
def settings(tmp_path):
    return Settings(project_dir=tmp_path / "a project")


@pytest.fixture
def warehouse(settings):
    return Warehouse(settings)
