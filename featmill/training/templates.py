"""dbt's macros, rendered outside dbt: one text decides a training set, whoever asks for it.

The macros used here are plain Jinja by contract: they read their arguments and call each other. What dbt's dialect adds
to Jinja and they need is emulated (`return`, `{% do %}`, `exceptions.raise_compiler_error`, `modules.re`); `graph`,
`run_query`, `model` and whatever else asks a run are not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from featmill.errors import ContractError

if TYPE_CHECKING:
    from jinja2 import Environment

#: The folders whose macros can be plain Jinja; `contract` has a few that are.
_FOLDERS = ("windows", "point_in_time", "events", "contract")


class _Returned(Exception):
    """Not an error: dbt's `return` leaves a macro in this way too."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value


class _Macros:
    """What the macros know as `featmill`: each macro is compiled when it is first called."""

    def __getattr__(self, name: str) -> Callable[..., object]:
        macro = _compiled(name)
        setattr(self, name, macro)
        return macro


@cache
def _environment() -> Environment:
    from jinja2 import Environment, StrictUndefined

    # SQL, not markup: nothing to escape.
    environment = Environment(
        undefined=StrictUndefined,
        extensions=["jinja2.ext.do"],
        autoescape=False,  # noqa: S701
    )
    environment.globals |= {
        "featmill": _Macros(),
        "return": _leave,
        "exceptions": SimpleNamespace(raise_compiler_error=_refuse),
        "modules": SimpleNamespace(re=re),
    }
    return environment


def _compiled(name: str) -> Callable[..., object]:
    """The macro, which answers with what it `return`s, or else with its text."""
    text = _path(name).read_text(encoding="utf-8")
    # Jinja does not export a name that begins with an underscore, so it is exported under another.
    module = _environment().from_string(text + "{% set exported = " + name + " %}").module
    macro = vars(module)["exported"]

    def call(*args: object, **kwargs: object) -> object:
        try:
            return str(macro(*args, **kwargs))
        except _Returned as returned:
            return returned.value

    return call


def _leave(value: object) -> NoReturn:
    raise _Returned(value)


def _refuse(message: str) -> NoReturn:
    raise ContractError(str(message))


@cache
def _root() -> Path:
    """The macros lie at the root of the dbt project, or inside the package where it was installed as a wheel."""
    package = Path(str(files("featmill")))
    for folder in (package / "dbt" / "macros", package.parent / "macros"):
        if (folder / "point_in_time").is_dir():
            return folder
    raise FileNotFoundError(f"featmill's macros are missing beside {package}")


def _path(name: str) -> Path:
    for folder in _FOLDERS:
        path = _root() / folder / f"{name}.sql"
        if path.is_file():
            return path
    # An AttributeError, so that Jinja and `hasattr` say of it what they say of any missing name.
    raise AttributeError(f"there is no macro {name} in {', '.join(_FOLDERS)} below {_root()}")


def render(macro: str, *args: object, **kwargs: object) -> object:
    """What a plain-Jinja macro of featmill answers: the value it `return`s, or its text.

    Args:
        macro: its name, without the namespace, such as `_aggregate_plan`.
        args: its arguments.
        kwargs: its arguments by name.

    Raises:
        ContractError: the macro refused its arguments (`raise_compiler_error`).
    """
    found: Callable[..., object] = getattr(_environment().globals["featmill"], macro)
    return found(*args, **kwargs)


def feature_rows_sql(view: Mapping[str, Any]) -> str:
    """The rows of a feature table that a lookup may find (rules 13 and 14), as SQL."""
    return str(render("feature_rows_sql", view))


def point_in_time_sql(
    spine: str, time: str, views: list[dict[str, Any]], *, status: bool, hidden: list[str]
) -> str:
    """The training set over a spine's SQL (rules 12 to 15), as SQL."""
    return str(render("point_in_time_sql", spine, time, views, status, hidden))
