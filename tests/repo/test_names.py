"""Names: what is public is listed, what is private stays home, and no name says nothing."""

from __future__ import annotations

import ast

import pytest

#: Names that say nothing about what is inside; such modules and classes grow without end.
EMPTY_MODULES = {"base", "common", "core", "helper", "helpers", "misc", "util", "utils"}
EMPTY_CLASSES = ("Manager", "Helper", "Handler", "Util", "Utils")


def test_all_is_sorted_and_true(modules):
    wrong = [m.name for m in modules if not lists_its_names(m.tree)]

    assert not wrong, "__all__ must be sorted and name only what the module has"


def test_private_names_stay_in_their_module(modules):
    leaks = [
        f"{m.name}:{node.lineno} {node.module}.{alias.name}"
        for m in modules
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(ours())
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
    ]

    assert not leaks, "a name that another module needs is public: drop the underscore"


def test_no_module_is_called_utils(modules):
    empty = [m.name for m in modules if {m.path.stem, m.path.parent.name} & EMPTY_MODULES]

    assert not empty, f"name a module for what is in it, not {sorted(EMPTY_MODULES)}"


def test_no_class_is_called_manager(modules):
    empty = [
        f"{m.name}:{node.lineno} {node.name}"
        for m in modules
        for node in ast.walk(m.tree)
        if isinstance(node, ast.ClassDef) and node.name.endswith(EMPTY_CLASSES)
    ]

    assert not empty, f"name a class for what it is, not {EMPTY_CLASSES}"


@pytest.mark.parametrize(
    ("source", "is_right"),
    [
        ("", True),
        ("from a import x, y\n__all__ = ['x', 'y']", True),
        ("def f(): ...\n__all__ = ['f']", True),
        ("x: int = 1\n__all__ = ('x',)", True),
        ("x = y = 1\n__all__ = ['y', 'x']", False),
        ("x = 1\n__all__ = ['x', 'z']", False),
    ],
)
def test_lists_are_read(source, is_right):
    assert lists_its_names(ast.parse(source)) is is_right


def ours() -> tuple[str, ...]:
    return ("featmill", "exporters", "orchestration")


def lists_its_names(tree: ast.Module) -> bool:
    bound = {name for statement in tree.body for name in names_bound_by(statement)}
    if "__all__" not in bound:
        return True
    listed = next(
        ast.literal_eval(s.value)
        for s in tree.body
        if isinstance(s, ast.Assign | ast.AnnAssign) and "__all__" in names_bound_by(s) and s.value
    )
    return list(listed) == sorted(listed) and set(listed) <= bound


def names_bound_by(statement: ast.stmt) -> set[str]:
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return {statement.name}
        case ast.Import() | ast.ImportFrom():
            return {alias.asname or alias.name.split(".")[0] for alias in statement.names}
        case ast.Assign():
            return {target.id for target in statement.targets if isinstance(target, ast.Name)}
        case ast.AnnAssign(target=ast.Name(id=name)):
            return {name}
        case ast.If():
            return {name for inner in statement.body for name in names_bound_by(inner)}
        case _:
            return set()
