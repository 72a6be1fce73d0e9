"""Documents that must not fall behind: decisions, the Makefile's help, changelog fragments."""

from __future__ import annotations

import re
import subprocess

import pytest

TEMPLATE = "0000-template.md"
SECTIONS = ("## Context", "## Options", "## Decision", "## Consequences", "## Validation")
FRAGMENT = re.compile(r"(?:\d+|\+[\w-]+)\.(?:feature|fix|doc|removal)(?:\.\d+)?\.md")
TARGET = re.compile(r"^([a-z][a-z-]*):(?!=| export )", re.MULTILINE)


@pytest.fixture(scope="module")
def decisions(repository):
    return sorted(p for p in (repository / "docs/adr").glob("[0-9]*.md") if p.name != TEMPLATE)


def test_decisions_are_numbered_without_gaps(decisions):
    assert [int(p.name[:4]) for p in decisions] == list(range(1, len(decisions) + 1))


def test_the_index_lists_every_decision_by_its_title(repository, decisions):
    index = (repository / "docs/adr/README.md").read_text(encoding="utf-8")
    listed = re.findall(r"\[([^\]]+)\]\((\d{4}-[\w-]+\.md)\)", index)

    assert [(title, name) for title, name in listed if name != TEMPLATE] == [
        (title_of(p), p.name) for p in decisions
    ]


def test_a_decision_has_every_section(decisions):
    incomplete = {
        p.name: missing
        for p in decisions
        if (missing := [s for s in SECTIONS if f"\n{s}\n" not in p.read_text(encoding="utf-8")])
    }

    assert not incomplete


def test_help_lists_every_target(repository):
    targets = TARGET.findall((repository / "Makefile").read_text(encoding="utf-8"))

    shown = subprocess.run(
        ["make", "help"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout

    assert targets
    assert not [t for t in targets if not re.search(rf"^  {t} +\S", shown, re.MULTILINE)]


def test_every_target_is_phony(repository):
    makefile = (repository / "Makefile").read_text(encoding="utf-8")

    phony = re.findall(r"^\.PHONY: (\S+)$", makefile, re.MULTILINE)

    assert TARGET.findall(makefile) == phony


def test_changelog_fragments_have_a_known_type(repository):
    names = [p.name for p in (repository / "changes").iterdir() if p.name != "README.md"]

    assert not [name for name in names if not FRAGMENT.fullmatch(name)]


def title_of(path) -> str:
    return path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
