"""When the project is parsed anew: where something that dbt reads is newer than the manifest."""

from __future__ import annotations

import os

import pytest

from featmill.settings import Settings
from orchestration import tasks
from orchestration.dbt_process import DbtProcess

LONG_AGO, PARSED, SINCE = 1_000_000, 2_000_000, 3_000_000


class Project:
    """A project that was parsed, and counts how often it is parsed again."""

    def __init__(self, root, parses):
        self.root = root
        self._parses = parses

    def write(self, file, text=""):
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def settle(self):
        """Everything was there before the manifest was written."""
        for path in [self.root, *self.root.rglob("*")]:
            os.utime(path, (LONG_AGO, LONG_AGO))
        os.utime(self.write("target/manifest.json"), (PARSED, PARSED))

    def touch(self, file):
        os.utime(self.root / file, (SINCE, SINCE))

    def delete(self, file):
        """The folder says when; the clock of the test machine is not asked."""
        (self.root / file).unlink()
        self.touch((self.root / file).parent)

    @property
    def is_parsed_again(self) -> bool:
        before = len(self._parses)
        tasks.ensure_parsed(Settings(project_dir=self.root, home=self.root / "home"))
        return len(self._parses) > before


@pytest.fixture
def project(monkeypatch, tmp_path):
    parses = []
    monkeypatch.setattr(DbtProcess, "parse", lambda process: parses.append(process))
    made = Project(tmp_path, parses)
    made.write("dbt_project.yml", "name: p\nmodel-paths: [sql/models, more]\ntest-paths: []\n")
    for file in (
        "sql/models/staging/a.sql",
        "sql/models/staging/b.sql",
        "more/c.yml",
        "macros/m.sql",
        "models/not_ours.sql",
        "tests/not_ours.sql",
    ):
        made.write(file)
    made.settle()
    return made


def test_nothing_new_is_nothing_to_parse(project):
    assert not project.is_parsed_again


def test_without_a_manifest_it_is_parsed(project):
    (project.root / "target" / "manifest.json").unlink()

    assert project.is_parsed_again


@pytest.mark.parametrize(
    "file", ["sql/models/staging/a.sql", "more/c.yml", "macros/m.sql", "dbt_project.yml"]
)
def test_a_changed_file_is_parsed_in_the_folders_that_the_project_declares(project, file):
    """Those of the `*-paths` in dbt_project.yml; dbt's defaults for the keys it leaves out."""
    project.touch(file)

    assert project.is_parsed_again


@pytest.mark.parametrize("folder", ["analyses", "functions", "seeds", "snapshots"])
def test_dbt_s_default_folders_count(project, folder):
    project.write(f"{folder}/new.yml")
    project.settle()
    assert not project.is_parsed_again

    project.touch(f"{folder}/new.yml")

    assert project.is_parsed_again


@pytest.mark.parametrize("file", ["models/not_ours.sql", "tests/not_ours.sql"])
def test_a_default_folder_that_the_project_replaced_does_not_count(project, file):
    project.touch(file)

    assert not project.is_parsed_again


@pytest.mark.parametrize("file", ["sql/models/staging/b.sql", "more/c.yml", "macros/m.sql"])
def test_a_deleted_file_is_noticed_by_its_folder(project, file):
    project.delete(file)

    assert project.is_parsed_again


def test_a_project_that_is_its_own_model_folder_does_not_see_what_is_written_there(project):
    """target, dbt_packages, logs, hidden folders and featmill's home are newer for no reason."""
    project.write("dbt_project.yml", "name: p\nmodel-paths: ['.']\n")
    written = [
        "dbt_packages/x/models/y.sql",
        "logs/dbt.md",
        ".venv/lib/x.yml",
        "home/feast/feature_store.yaml",
        "sql/__pycache__/x.md",
    ]
    for file in written:
        project.write(file)
    project.settle()

    for file in written:
        project.touch(file)
        project.touch((project.root / file).parent)
    assert not project.is_parsed_again

    project.touch("sql/models/staging/a.sql")
    assert project.is_parsed_again


@pytest.mark.parametrize(
    "text",
    ["name: [", "just a word", "model-paths: ['{{ env_var(\"X\") }}']", "model-paths: [[a]]"],
)
def test_what_only_dbt_can_tell_is_left_to_dbt(project, text):
    """It renders, or says what is wrong, by file and line."""
    project.write("dbt_project.yml", text)
    os.utime(project.root / "dbt_project.yml", (LONG_AGO, LONG_AGO))

    assert project.is_parsed_again


def test_a_project_that_is_gone_is_left_to_dbt(project):
    (project.root / "dbt_project.yml").unlink()

    assert project.is_parsed_again
