"""The outer project, built once and copied for each test."""

from __future__ import annotations

import pytest

from tests.projects.depot_project import Depot, fresh_depot


@pytest.fixture
def depot(tmp_path_factory) -> Depot:
    """A depot after its first build, at 2026-03-06; what a test does to it stays its own."""
    return fresh_depot(tmp_path_factory)
