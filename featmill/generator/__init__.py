"""Demonstration data of any size: deterministic, realistic, dirty on purpose by declared shares."""

from __future__ import annotations

from featmill.generator.generate import (
    DEFAULT_END,
    DirtyShares,
    FileFormat,
    GeneratedFile,
    generate,
)

__all__ = ["DEFAULT_END", "DirtyShares", "FileFormat", "GeneratedFile", "generate"]
