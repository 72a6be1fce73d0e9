"""`--project-dir` is one option, declared once."""

from __future__ import annotations

import importlib
import pkgutil

from featmill import cli
from featmill.cli import console


def test_every_command_takes_the_same_project_option():
    modules = [
        importlib.import_module(f"featmill.cli.{found.name}")
        for found in pkgutil.iter_modules(cli.__path__)
    ]
    declared = {m.__name__: m.ProjectDir for m in modules if hasattr(m, "ProjectDir")}

    assert len(declared) > 5
    assert [name for name, option in declared.items() if option is not console.ProjectDir] == []
