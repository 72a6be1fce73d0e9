"""Write `docs/reference` from the code: `python docs/generate.py`; `--check` says what is out of date.

Every page is read off one thing that the code itself uses: the commands, the settings, the tree of errors, the macros'
own comments, the declaration models and the type table. A page is therefore never edited by hand.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
REFERENCE = REPOSITORY / "docs" / "reference"

_NOTE = "<!-- Written by docs/generate.py; edit the code it names, then run it again. -->"
_MARKUP = re.compile(r"\[/?(?:[a-z ]+)?\]")  # rich's [bold]x[/] -> x
#: `{% macro name(arguments) %}`, `{% test name(arguments) %}`.
_MACRO = re.compile(r"\{%-?\s*(macro|test)\s+(\w+)\((.*?)\)\s*-?%\}", re.DOTALL)
_COMMENT = re.compile(r"\{#-?(.*?)-?#\}", re.DOTALL)
_RAW = re.compile(r"\{%\s*(?:end)?raw\s*%\}")


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` only compare; 1 where a page is out of date."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/generate.py [--check]\n")
        return 2
    stale = [name for name, text in pages().items() if _read(name) != text]
    if arguments:
        for name in stale:
            sys.stderr.write(f"docs/reference/{name} is out of date: run python docs/generate.py\n")
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (REFERENCE / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(stale)} of {len(_PAGES)} pages changed\n")
    return 0


def pages() -> dict[str, str]:
    """File name -> text, of every page."""
    return {
        name: "\n".join([f"# {title}", "", _NOTE, "", *_squeezed(lines())]).rstrip() + "\n"
        for name, (title, lines) in _PAGES.items()
    }


def _read(name: str) -> str | None:
    path = REFERENCE / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _squeezed(lines: Iterator[str]) -> Iterator[str]:
    """The lines with at most one blank line in a row."""
    before = ""
    for line in lines:
        if line or before:
            yield line
        before = line


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    found = [tuple(cell.replace("|", r"\|").replace("\n", " ") for cell in row) for row in rows]
    if found:
        yield f"| {' | '.join(head)} |"
        yield "|" + "---|" * len(head)
        yield from (f"| {' | '.join(row)} |" for row in found)
        yield ""


def _code(text: object) -> str:
    return f"`{text}`"


# --- commands ---------------------------------------------------------------------------------------------------------


def command_line() -> Iterator[tuple[str, Any]]:
    """Every command by the words that call it, groups before what they hold."""
    from typer.main import get_command

    from featmill.cli.main import app

    queue: list[tuple[str, Any]] = [("featmill", get_command(app))]
    for words, command in queue:  # grows while it is walked
        yield words, command
        for name, child in getattr(command, "commands", {}).items():
            queue.append((f"{words} {name}", child))


def _cli() -> Iterator[str]:
    yield "Each command exits with 0, or with the code of [its error](errors.md) and a message on standard error."
    yield "Settings that all commands read are [environment variables](settings.md)."
    yield ""
    found = sorted(command_line(), key=lambda pair: pair[0])
    # A group with an argument of its own is a command as well: `featmill train SPINE`, `featmill train verify`.
    listed = [pair for pair in found if not hasattr(pair[1], "commands") or _arguments(pair[1])]
    rows = (
        (f"[`{words}`](#{words.replace(' ', '-')})", _plain(_first(command.help)))
        for words, command in listed
    )
    yield from _table(("command", "what it does"), rows)
    for words, command in listed:
        yield f"## {words}"
        yield ""
        yield _plain(command.help or "")
        yield ""
        yield from _parameters(command)


def _arguments(command: Any) -> list[Any]:  # noqa: ANN401 - typer's commands are not typed
    return [p for p in command.params if p.param_type_name == "argument"]


def _parameters(command: Any) -> Iterator[str]:  # noqa: ANN401 - typer's commands are not typed
    arguments = _arguments(command)
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    rows = ((_code(p.name.upper()), _plain(p.help or "")) for p in arguments)
    yield from _table(("argument", "meaning"), rows)
    rows3 = (
        (
            " / ".join(_code(o) for o in (*p.opts, *p.secondary_opts)),
            _default(p),
            _plain(p.help or ""),
        )
        for p in options
    )
    yield from _table(("option", "default", "meaning"), rows3)


def _default(option: Any) -> str:  # noqa: ANN401 - typer's options are not typed
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return option.show_default
    if option.is_flag and option.secondary_opts:
        return _code((option.opts if option.default else option.secondary_opts)[0])
    return "" if option.default is None else _code(option.default)


def _plain(text: str) -> str:
    """Help text without the terminal's markup, its paragraphs kept."""
    paragraphs = inspect.cleandoc(_MARKUP.sub("", text)).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _first(text: str | None) -> str:
    return (text or "").strip().split("\n\n")[0]


# --- settings ---------------------------------------------------------------------------------------------------------


def _settings() -> Iterator[str]:
    from featmill.settings import Settings

    yield "Environment variables. dbt's profile and models read the same names, so `dbt build` and `featmill build`"
    yield "agree. A relative path is relative to the project."
    yield ""
    rows = (
        (
            _code("FEATMILL_" + name.upper()),
            "unset" if field.default is None else _code(field.default),
            " ".join((field.description or "").split()),
        )
        for name, field in Settings.model_fields.items()
    )
    yield from _table(("variable", "default", "meaning"), rows)
    yield "## Where things lie"
    yield ""
    yield "Below `FEATMILL_HOME`:"
    yield ""
    home = Settings(home=Path("/home"), project_dir=Path("/project"))
    found = (
        (_code(path.relative_to("/home")), _first(property_.__doc__))
        for name, property_ in vars(Settings).items()
        if isinstance(property_, property)
        and isinstance(path := getattr(home, name), Path)
        and path.is_relative_to("/home")
        and path != Path("/home")
    )
    yield from _table(("path", "what it is"), found)


# --- errors -----------------------------------------------------------------------------------------------------------


def _errors() -> Iterator[str]:
    from featmill import errors

    yield "A command prints `error: <message>`, where there is one `hint: <what to do>`, and exits with the error's"
    yield "code. In Python, catch the class; each carries `message`, `hint` and `exit_code`."
    yield ""
    tree = re.search(r"```\n(.*?)```", errors.__doc__ or "", re.DOTALL)
    if tree is not None:
        yield "```text"
        yield tree[1].rstrip()
        yield "```"
        yield ""
    classes = [
        kind
        for _, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, errors.FeatmillError)
    ]
    rows = (
        (
            _code(kind.__name__),
            _code(kind.__mro__[1].__name__),
            str(kind.exit_code),
            _first(kind.__doc__),
        )
        for kind in sorted(classes, key=lambda kind: (len(kind.__mro__), kind.__name__))
    )
    yield from _table(("class", "is a", "exit code", "when"), rows)


# --- macros -----------------------------------------------------------------------------------------------------------


def _macros() -> Iterator[str]:
    yield "What a model or a yml calls, as `{{ featmill.name(...) }}`; a test as"
    yield "`data_tests: [featmill.name]`. A macro whose name starts with `_` is private and not listed."
    yield "A rule that is named by its number is one of [the rules](../explanation/rules.md)."
    yield ""
    described = _described_macros()
    for folder in sorted(path for path in (REPOSITORY / "macros").iterdir() if path.is_dir()):
        public = [path for path in sorted(folder.glob("*.sql")) if not path.stem.startswith("_")]
        if public:
            yield f"## {folder.name.replace('_', ' ')}"
            yield ""
        for path in public:
            yield from _macro(path, described)


def _macro(path: Path, described: dict[str, dict[str, Any]]) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    comment, found = _COMMENT.match(text), _MACRO.search(text)
    name = found[2] if found else path.stem
    kind = {"test": "test"}.get(found[1], "macro") if found else "materialization"
    yield f"### {name}"
    yield ""
    arguments = " ".join(found[3].split()) if found else ""
    yield _code(f"{name}({arguments})" if found else f"materialized='{name}'") + f" ({kind})"
    yield ""
    if comment is not None:
        yield inspect.cleandoc(_RAW.sub("", comment[1]).strip())
        yield ""
    declared = described.get(path.stem, {}).get("arguments") or []
    rows = (
        (_code(a["name"]), _plain(str(a.get("type", ""))), _plain(str(a.get("description", ""))))
        for a in declared
    )
    yield from _table(("argument", "type", "meaning"), rows)


def _described_macros() -> dict[str, dict[str, Any]]:
    """The macros that a yml below `macros` describes, by name."""
    from ruamel.yaml import YAML

    found: dict[str, dict[str, Any]] = {}
    for path in sorted((REPOSITORY / "macros").rglob("*.yml")):
        document = YAML(typ="safe").load(path.read_text(encoding="utf-8")) or {}
        found |= {macro["name"]: macro for macro in document.get("macros") or []}
    return found


# --- contract ---------------------------------------------------------------------------------------------------------

_HOMES = {
    "FeatureTableDeclaration": "of a model",
    "FeatureDeclaration": "of a column",
    "FeatureServiceDeclaration": "of an exposure `type: ml`",
    "LabelDeclaration": "of a model of labels",
}

#: What stands within one of these.
_WITHIN = {
    "PolicyDeclaration": "`feature_service.policy`: how a service is read and how it degrades.",
    "RequestFeatureDeclaration": "`feature_service.request_features.<name>`: computed when asked for.",
    "SelectionDeclaration": "`feature_table.selection`: which entities go online.",
}


def _contract() -> Iterator[str]:
    from featmill.contract import declarations, serving_declarations

    yield "What may stand under `config.meta`. Any other key there is an error of `featmill check`, with file and line."
    yield "What dbt has a word for is said in dbt's own: description, `data_type` under an enforced contract, group and"
    yield "owner, `access`, versions, data tests, `loaded_at_field`."
    yield ""
    for name, where in _HOMES.items():
        model = getattr(declarations, name)
        key = re.search(r"`config\.meta\.(\w+)`", model.__doc__ or "")
        yield f"## {key[1] if key else name}"
        yield ""
        yield f"`config.meta.{key[1] if key else name}` {where}."
        yield ""
        rows = (_declared_key(name, field) for name, field in model.model_fields.items())
        yield from _table(("key", "default", "expected"), rows)
        elsewhere = ((_code(k), v) for k, v in sorted(model.ELSEWHERE.items()))
        yield from _table(("not here", "but"), elsewhere)
    for name, what in _WITHIN.items():
        model = getattr(serving_declarations, name)
        title, _, meaning = what.partition(":")
        yield f"## {title}"
        yield ""
        yield f"Under `config.meta`:{meaning}"
        yield ""
        rows = (_declared_key(name, field) for name, field in model.model_fields.items())
        yield from _table(("key", "default", "expected"), rows)
    yield "## Aggregates"
    yield ""
    yield ", ".join(_code(name) for name in declarations.AGGREGATES) + "."


def _declared_key(name: str, field: Any) -> tuple[str, ...]:  # noqa: ANN401 - pydantic's FieldInfo
    choices = _choices(field.annotation)
    words = f"one of {', '.join(map(_code, choices))}" if choices else field.description or ""
    if field.is_required():
        default = "required"
    elif isinstance(field.default, timedelta):
        default = _code(f"{field.default // timedelta(milliseconds=1)}ms")
    elif field.default == {}:
        default = ""
    elif isinstance(field.default, bool):
        default = _code(str(field.default).lower())
    else:
        default = "" if field.default is None else _code(field.default)
    return _code(name), default, words


def _choices(annotation: object) -> list[str]:
    """The words that are all a key may hold; none where it may hold anything else."""
    from types import NoneType
    from typing import Literal, get_args, get_origin

    parts = [annotation] if get_origin(annotation) is Literal else list(get_args(annotation))
    parts = [part for part in parts if part is not NoneType]
    if not all(get_origin(part) is Literal for part in parts):
        return []
    return [str(value) for part in parts for value in get_args(part)]


# --- types ------------------------------------------------------------------------------------------------------------


def _types() -> Iterator[str]:
    from featmill.contract import types

    yield "The closed type table: what a column's `data_type` may be, what it is in Feast, and online."
    yield "A type outside of it is an error of `featmill check`; nothing is converted in silence."
    yield ""
    spelled = [_in_duckdb(name) for name in types._SCALARS]
    found = {t.sql: t for t in map(types.parse_type, [*spelled, *_DECIMALS])}
    rows = (
        (_code(_DECIMALS.get(sql, sql)), _code(found[sql].feast), _code(found[sql].kind.value))
        for sql in sorted(found, key=lambda sql: (found[sql].kind.value, sql))
    )
    yield from _table(("data_type", "Feast", "online value"), rows)
    same = (f"`{alias}` is `{types.parse_type(alias).sql}`" for alias in _ALIASES)
    yield f"Other names of the same types count as well: {', '.join(same)}."
    yield ""
    yield "A list of any of these (`BIGINT[]`, `FLOAT[768]`) is Feast's `Array(...)`; online no list may hold a"
    yield "NULL, and no moment may lie outside of the years 1 to 9999. A `TIMESTAMP` or `TIMESTAMPTZ`"
    yield "that is a feature of an online table also declares `online_type`: `int64` keeps"
    yield "microseconds, `unix_timestamp` whole seconds."
    yield ""
    yield "## Outside the table"
    yield ""
    advice = {_in_duckdb(name): advice for name, advice in types._CASTS.items()}
    yield from _table(("type", "instead"), ((_code(k), v) for k, v in sorted(advice.items())))


_DECIMALS = {"DECIMAL(15, 2)": "DECIMAL(p <= 15, s)", "DECIMAL(16, 2)": "DECIMAL(p > 15, s)"}
_ALIASES = ("VARCHAR", "INTEGER", "FLOAT", "NUMERIC(12, 2)")
#: What sqlglot's names are in DuckDB where it would give no name or another type's.
_SPELLED = {
    "ENUM": "ENUM('a', 'b')",
    "ARRAY": "a list of lists",
    "LIST": "a list of lists",
    "INT128": "HUGEINT",
    "UINT128": "UHUGEINT",
}


def _in_duckdb(name: str) -> str:
    """DuckDB's spelling of sqlglot's name of a type."""
    from sqlglot import exp

    if name in _SPELLED or name not in exp.DataType.Type.__members__:
        return _SPELLED.get(name, name)
    return exp.DataType(this=exp.DataType.Type[name]).sql(dialect="duckdb")


# --- http -------------------------------------------------------------------------------------------------------------


def _http() -> Iterator[str]:
    from featmill.serving.http import models
    from featmill.serving.http.document import REFUSALS, document
    from featmill.serving.http.options import ServeOptions

    said = document({}, ServeOptions(project_dir=REPOSITORY))
    yield "What `featmill serve` answers. `GET /openapi.json` of a server that runs says it for its own services."
    yield ""
    rows = (
        (_code(f"{method.upper()} {path}"), route["summary"], ", ".join(sorted(route["responses"])))
        for path, methods in said["paths"].items()
        for method, route in methods.items()
    )
    yield from _table(("route", "what it is", "statuses"), rows)
    yield "## Refusals"
    yield ""
    yield "Every refusal is a `Problem` that names the field. 500 is never caused by a request."
    yield ""
    yield from _table(("status", "when"), ((str(k), v) for k, v in REFUSALS.items()))
    for name, schema in sorted(said["components"]["schemas"].items()):
        yield f"## {name}"
        yield ""
        yield _first(getattr(models, name).__doc__)
        yield ""
        fields = (
            (_code(field), _json_type(one), one.get("description", ""))
            for field, one in schema["properties"].items()
        )
        yield from _table(("member", "type", "meaning"), fields)


def _json_type(schema: dict[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in schema:
        return f"[{(name := schema['$ref'].rpartition('/')[2])}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_json_type(one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return ", ".join(_code(word) for word in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_json_type(schema['items'])}"
    if schema.get("type") == "object":
        return f"object of {_json_type(schema['additionalProperties'])}"
    return schema.get("format") or schema.get("type", "anything")


_PAGES: dict[str, tuple[str, Callable[[], Iterator[str]]]] = {
    "cli.md": ("Commands", _cli),
    "settings.md": ("Settings", _settings),
    "errors.md": ("Errors", _errors),
    "http.md": ("HTTP", _http),
    "macros.md": ("Macros", _macros),
    "contract.md": ("Declarations", _contract),
    "types.md": ("Types", _types),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
