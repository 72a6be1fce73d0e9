"""What a leak looks like to the person who has to mend it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Finding:
    """One leak: where it stands (`line` and `column` where known) and what is wrong.

    `check` is the check that found it, such as `clock`, `looks ahead` or `altered sources`. `about` is what the line is
    looked for by: a relation's name, a function.
    """

    check: str
    file: str
    model: str
    message: str
    line: int | None = None
    column: str | None = None
    about: str | None = None

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        what = self.model if self.column is None else f"{self.model}.{self.column}"
        return f"{where}: {what}: {self.check}: {self.message}"
