"""Small pieces: the caps are the 90th percentile of the code bases we like to read."""

from __future__ import annotations

import ast

MODULE_LINES = 400
FUNCTION_LINES = 50
MODEL_LINES = 120
MACRO_LINES = 80


def test_modules_are_short(modules):
    too_long = {m.name: n for m in modules if (n := len(m.text.splitlines())) > MODULE_LINES}

    assert not too_long, f"more than {MODULE_LINES} lines"


def test_functions_are_short(modules):
    too_long = {
        f"{m.name}:{function.lineno} {function.name}": n
        for m in modules
        for function in ast.walk(m.tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        if (n := lines_without_docstring(function)) > FUNCTION_LINES
    }

    assert not too_long, f"more than {FUNCTION_LINES} lines, the docstring not counted"


def test_models_are_short(sql_files):
    too_long = {p.name: n for p in sql_files("models") if (n := lines(p)) > MODEL_LINES}

    assert not too_long, f"more than {MODEL_LINES} lines"


def test_macros_are_short(sql_files):
    too_long = {p.name: n for p in sql_files("macros") if (n := lines(p)) > MACRO_LINES}

    assert not too_long, f"more than {MACRO_LINES} lines"


def test_docstrings_do_not_count():
    function = ast.parse('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n').body[0]

    assert lines_without_docstring(function) == 2


def lines(path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def lines_without_docstring(function) -> int:
    whole = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is None:
        return whole
    docstring = function.body[0]
    return whole - (docstring.end_lineno - docstring.lineno + 1)
