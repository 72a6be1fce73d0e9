"""Documentation that must not fall behind the code: reference pages, links, commands, examples."""

from __future__ import annotations

import importlib.util
import io
import re

import pytest
from ruamel.yaml import YAML

from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted(
    [
        *(path for path in DOCS.rglob("*.md") if path.name != "0000-template.md"),
        *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "TENETS.md")),
    ]
)
HOW_TOS = sorted((DOCS / "how-to").glob("*.md"))

#: Written by `featmill conformance`, which runs Feast; tests/integration/conformance compares it with a run.
WRITTEN_ELSEWHERE = {"conformance.md"}

#: `[text](target)`, but no `![image](target)`.
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
#: A fenced block: its language and its text.
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
#: `featmill export --force`, at the start of a line of a block or of a code span.
CALL = re.compile(r"(?:^|[`\s/])featmill ((?:[a-z]+ ?)+)((?:[^`\n|#]*))")


def relative(path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def text_of(path) -> str:
    return path.read_text(encoding="utf-8")


def blocks(path, *languages: str) -> list[str]:
    """The texts of a page's fenced blocks of these languages, without their indentation."""
    return [
        re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)
        for indent, language, text in BLOCK.findall(text_of(path))
        if language in languages
    ]


@pytest.fixture(scope="module")
def generator():
    """`docs/generate.py`, which is a script and no package."""
    specification = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert specification
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def commands(generator):
    """Words after `featmill` -> the command; groups have `commands`."""
    return {
        words.removeprefix("featmill").strip(): command
        for words, command in generator.command_line()
    }


def test_the_reference_is_what_the_code_says(generator):
    written = {path.name: text_of(path) for path in (DOCS / "reference").glob("*.md")}

    stale = [name for name, text in generator.pages().items() if written.get(name) != text]

    assert not stale, "run: python docs/generate.py"
    assert written.keys() - WRITTEN_ELSEWHERE == generator.pages().keys()


def test_every_command_and_option_has_help(commands):
    silent = [words for words, command in commands.items() if not command.help]
    silent += [
        f"{words} {parameter.name}"
        for words, command in commands.items()
        for parameter in command.params
        if not parameter.help
    ]

    assert not silent


def test_every_page_is_in_the_index():
    listed = {(DOCS / target).resolve() for target in LINK.findall(text_of(DOCS / "README.md"))}
    folders = ("how-to", "explanation", "reference")
    written = {path for folder in folders for path in (DOCS / folder).glob("*.md")}

    assert written
    assert not sorted(relative(path) for path in written - listed)


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_internal_links_lead_somewhere(page):
    broken = []
    for target in LINK.findall(BLOCK.sub("", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        if not found.exists() or (anchor and anchor not in anchors(found)):
            broken.append(target)

    assert not broken


def test_the_two_first_commands_are_targets_of_the_makefile():
    makefile = text_of(REPOSITORY / "Makefile")
    first = blocks(REPOSITORY / "README.md", "sh")[0]
    called = re.findall(r"^make ([a-z-]+)", first, re.MULTILINE)

    assert called == ["demo", "test"]
    assert not [name for name in called if not re.search(rf"^{name}:", makefile, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_make_target_that_is_named_exists(page):
    makefile = text_of(REPOSITORY / "Makefile")
    named = re.findall(r"(?:`|^)make ([a-z][a-z-]*)", text_of(page), re.MULTILINE)

    assert not [name for name in named if not re.search(rf"^{name}:", makefile, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_featmill_command_that_is_shown_exists(page, commands):
    shown = [*blocks(page, "sh"), *re.findall(r"`(featmill [^`]+)`", text_of(page))]

    assert not [fault for text in shown for fault in faults(text, commands)]


@pytest.mark.parametrize("page", [*HOW_TOS, REPOSITORY / "README.md"], ids=relative)
def test_yaml_blocks_parse(page):
    for text in blocks(page, "yaml", "yml"):
        assert YAML(typ="safe").load(io.StringIO(text)) is not None


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_python_blocks_compile(page):
    for text in blocks(page, "python"):
        compile(text, relative(page), "exec")


def test_every_how_to_has_a_goal_and_says_what_can_go_wrong():
    assert HOW_TOS
    assert not [
        relative(path) for path in HOW_TOS if "\n## What can go wrong\n" not in text_of(path)
    ]


def anchors(path) -> set[str]:
    """A page's headings, as a link names them."""
    plain = (re.sub(r"[`*]", "", heading) for heading in HEADING.findall(text_of(path)))
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in plain}


def faults(text: str, commands) -> list[str]:
    """What is wrong with the `featmill` calls in a text: no such command, no such option."""
    found = []
    for words, rest in CALL.findall(text):
        names = words.split()
        while names and " ".join(names) not in commands:
            names.pop()
        command = commands.get(" ".join(names))
        if not names or (not hasattr(command, "params")):
            found.append(f"featmill {words}{rest}")
            continue
        known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
        given = re.findall(r"(?<!\S)--[a-z-]+", f"{words}{rest}")
        found += [f"featmill {words}{option}" for option in given if option not in known]
    return found


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("featmill check\n", []),
        ("FEATMILL_HOME=x featmill export --force\n", []),
        ("featmill online status", []),
        ("featmill nothing", ["featmill nothing"]),
        ("featmill export --loudly", ["featmill export --loudly"]),
    ],
)
def test_faults_are_found(text, wrong, commands):
    assert [fault.strip() for fault in faults(text, commands)] == wrong
