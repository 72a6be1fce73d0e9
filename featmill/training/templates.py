"""dbt's point-in-time macros, rendered outside dbt: one text decides a training set, whoever asks for it.

The macros used here are plain Jinja by contract (they say so): they read their arguments and nothing of dbt's.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_MACROS = ("feature_rows_sql", "point_in_time_sql", "spine_sql")


@cache
def _namespace() -> SimpleNamespace:
    from jinja2 import Environment, StrictUndefined

    # SQL, not markup: nothing to escape.
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # noqa: S701
    namespace = SimpleNamespace()
    environment.globals["featmill"] = namespace
    for name in _MACROS:
        module = environment.from_string((_folder() / f"{name}.sql").read_text()).module
        setattr(namespace, name, getattr(module, name))
    return namespace


def _folder() -> Path:
    """The macros lie at the root of the dbt project, or inside the package where it was installed as a wheel."""
    package = Path(str(files("featmill")))
    for folder in (
        package / "dbt" / "macros" / "point_in_time",
        package.parent / "macros" / "point_in_time",
    ):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"featmill's point-in-time macros are missing beside {package}")


def feature_rows_sql(view: dict[str, Any]) -> str:
    """The rows of a feature table that a lookup may find (rules 13 and 14), as SQL."""
    return str(_namespace().feature_rows_sql(view))


def point_in_time_sql(
    spine: str, time: str, views: list[dict[str, Any]], *, status: bool, hidden: list[str]
) -> str:
    """The training set over a spine's SQL (rules 12 to 15), as SQL."""
    return str(_namespace().point_in_time_sql(spine, time, views, status, hidden))
