"""Rules of a model of labels, which is a model with a mapping `config.meta.label`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.labels import is_label, read_label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featmill.contract.declared import Declared
    from featmill.contract.problems import Mistake


def misdeclared_labels(declared: Declared) -> Iterator[Mistake]:
    """A horizon that cannot be read would let immature labels in."""
    for model in declared.manifest.models.values():
        if is_label(model):
            yield from read_label(model)[1]
