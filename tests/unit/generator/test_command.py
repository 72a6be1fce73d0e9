"""`featmill generate` on the command line."""

from __future__ import annotations

from datetime import date

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from featmill.cli.generate import register


@pytest.fixture
def app():
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return app


def test_the_command_writes_and_reports(app, tmp_path):
    out = tmp_path / "raw"
    arguments = ["--events", "1000", "--days", "7", "--end", "2025-06-01", "--duplicate", "0.1"]
    result = CliRunner().invoke(app, ["generate", *arguments, "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "events.parquet" in result.stdout
    assert "10.00%" in result.stdout
    with duckdb.connect() as connection:
        query = f"select max(ingested_at) from '{out}/events.parquet'"
        [[newest]] = connection.execute(query).fetchall()
    assert newest.date() == date(2025, 6, 1)


def test_the_command_writes_below_the_project_by_default(app, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATMILL_PROJECT_DIR", str(tmp_path))
    result = CliRunner().invoke(app, ["generate", "--events", "10", "--format", "csv"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "data" / "raw" / "events.csv").exists()


def test_every_option_has_help(app):
    command = typer.main.get_group(app).commands["generate"]
    unexplained = [option.name for option in command.params if not getattr(option, "help", None)]
    assert unexplained == []
