"""What holds the parts apart: layers, light imports, and no knowledge of the example project."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib

import pytest
from ruamel.yaml import YAML

#: Importing one of these costs 9 to 59 times what importing duckdb costs.
HEAVY = ("airflow", "dbt", "feast", "great_expectations", "pandas")
PREFIXES = ("stg_", "int_", "feat_", "trn_", "mon_")


def test_every_part_of_the_library_has_a_layer(repository):
    configuration = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    layers = configuration["tool"]["importlinter"]["contracts"][0]["layers"]
    placed = set(re.findall(r"featmill\.(\w+)", " ".join(layers)))
    parts = {p.stem for p in (repository / "featmill").glob("*.py") if p.stem != "__init__"}
    parts |= {p.parent.name for p in (repository / "featmill").glob("*/__init__.py")}

    assert parts <= placed, "add it to the layers in pyproject.toml"


def test_the_command_line_starts_light(repository):
    probe = "import json, sys, featmill.cli.main; print(json.dumps(list(sys.modules)))"

    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=repository, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    imported = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not imported & set(HEAVY), "import it inside the function that needs it"


def test_no_code_knows_the_example_project(modules, example_names):
    word = re.compile(rf"\b(?:{'|'.join(sorted(map(re.escape, example_names)))})\b")
    known = [
        f"{m.name}:{line} {found.group()}"
        for m in modules
        for line, text in words_of(m.tree)
        if example_names and (found := word.search(text))
    ]

    assert not known, "featmill reads any dbt project: derive it from the manifest"


def test_prose_may_name_an_example():
    tree = ast.parse('"""Reads feat_a."""\nx = "feat_b"\ndef feat_c():\n    """feat_d"""\n')

    assert [text for _, text in words_of(tree)] == ["feat_c", "x", "feat_b"]


@pytest.fixture(scope="session")
def example_names(repository) -> set[str]:
    """The root project's own names. One word alone (`users`) is English, not a name."""
    stems = {p.stem for p in (repository / "models").rglob("*.sql")}
    stems |= {p.stem for p in (repository / "seeds").rglob("*") if p.suffix in (".csv", ".parquet")}
    stems |= {name for p in (repository / "models").rglob("*.yml") for name in sources_in(p)}
    stems |= {re.sub(r"_v\d+$", "", stem) for stem in stems}
    stems |= {stem.removeprefix("feat_") for stem in stems if stem.startswith("feat_")}
    return {stem for stem in stems if "_" in stem}


def sources_in(path) -> set[str]:
    declared = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
    return {t["name"] for s in declared.get("sources") or [] for t in s.get("tables") or []}


def words_of(tree: ast.Module):
    """Every string and every name that code can act on, with its line; docstrings are prose."""
    prose = {id(text) for node in ast.walk(tree) for text in docstring_of(node)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield node.lineno, text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield node.lineno, text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text):
                yield node.lineno, text


def docstring_of(node):
    """A string that stands alone as a statement documents what is above it."""
    body = getattr(node, "body", None)
    for statement in body if isinstance(body, list) else []:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            yield statement.value
