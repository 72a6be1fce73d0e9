"""The fixture project's manifests, as dbt itself writes them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.unit.contract.manifests import Project, feature_table

#: One process for both: dbt costs seconds to start. `dbt deps` of a local package is a symlink.
DBT = """
import json, sys
from dbt.cli.main import dbtRunner

runner = dbtRunner()
for arguments in json.loads(sys.argv[1]):
    done = runner.invoke(arguments)
    if not done.success:
        sys.exit(str(done.exception))
"""


@dataclass(frozen=True)
class Parsed:
    """A project on disk and its manifests."""

    folder: Path
    sound: Path
    mistaken: Path


@pytest.fixture(scope="session")
def parsed(repository, tmp_path_factory) -> Parsed:
    """The fixture project with this repository as its package, parsed with and without mistakes."""
    folder = tmp_path_factory.mktemp("contract") / "project"
    shutil.copytree(repository / "tests/fixtures/contract/project", folder)
    packages = {"packages": [{"local": str(repository)}]}
    (folder / "packages.yml").write_text(json.dumps(packages), encoding="utf-8")
    sound, mistaken = folder / "target", folder / "target_mistaken"
    with_mistakes = ["--vars", "{with_mistakes: true}", "--target-path", str(mistaken)]
    steps = [["deps"], ["parse"], ["parse", *with_mistakes]]
    done = subprocess.run(
        [sys.executable, "-c", DBT, json.dumps([["--quiet", *step] for step in steps])],
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith("FEATMILL_")}
        | {"DBT_PROFILES_DIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        pytest.fail(f"dbt could not parse the fixture project: {done.stdout}{done.stderr}")
    return Parsed(folder, sound / "manifest.json", mistaken / "manifest.json")


@pytest.fixture
def project(tmp_path) -> Project:
    """A sound project of one feature table, to break one thing of."""
    return Project(tmp_path, [feature_table("feat_user__buys")])
