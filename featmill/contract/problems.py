"""Mistakes in a project's declarations, and the file and line each is found at."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from featmill.contract.places import YamlFiles

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from featmill.contract.nodes import Place


@dataclass(frozen=True, slots=True)
class Mistake:
    """What a rule found: about what, what is wrong, and what was expected instead."""

    place: Place
    subject: str
    message: str
    expected: str


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A mistake with the file (relative to the project) and the line, counted from 1."""

    file: str
    line: int
    subject: str
    message: str
    expected: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.subject}: {self.message}; expected {self.expected}"


def locate(mistakes: Iterable[Mistake], project: str, project_dir: Path) -> list[Problem]:
    """Find each mistake's line; each problem once, in the order of files and lines."""
    files = YamlFiles(project, project_dir)
    problems = {
        Problem(*files.find(found.place), found.subject, found.message, found.expected)
        for found in mistakes
    }
    return sorted(problems)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The known word that was probably meant, if any is as near as `cutoff` (1 is equal)."""
    return next(iter(get_close_matches(word, list(known), n=1, cutoff=cutoff)), None)


def one_of(known: Iterable[str], got: str) -> str:
    """What was expected, as a list of words, the probable one named."""
    words = list(known)
    if len(words) < 2:
        return words[0] if words else "none"
    meant = nearest(got, words)
    listed = f"one of {', '.join(words)}"
    return listed if meant is None else f"{listed}; did you mean {meant}?"
