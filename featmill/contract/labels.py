"""What a dbt model of labels declares of them (rule 17)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.contract.declaration_reader import read_declaration
from featmill.contract.declarations import LabelDeclaration
from featmill.errors import ContractError, SpineError

if TYPE_CHECKING:
    from featmill.contract.nodes import Manifest, ModelNode
    from featmill.contract.problems import Mistake


def is_label(model: ModelNode) -> bool:
    """Whether a model declares a label: `label` is no word of ours alone, a mapping under it is meant for us."""
    return isinstance(model.meta.get("label"), dict)


def read_label(model: ModelNode) -> tuple[LabelDeclaration, list[Mistake]]:
    """The label of a model, and what is wrong with it."""
    place = model.place("config", "meta", "label")
    return read_declaration(LabelDeclaration, model.meta["label"], place, model.label)


def label_of(manifest: Manifest, name: str) -> LabelDeclaration | None:
    """What a model declares of its labels, None where it declares nothing.

    Raises:
        SpineError: there is no such model, or several packages have one.
        ContractError: the declaration has mistakes.
    """
    found = [model for model in manifest.models.values() if model.name == name]
    if len(found) != 1:
        known = ", ".join(
            sorted(m.name for m in manifest.models.values() if m.name.startswith("trn_"))
        )
        raise SpineError(
            f"there is {'no' if not found else 'more than one'} dbt model {name!r}",
            hint=f"models of training data: {known or 'none is called trn_...'}",
        )
    if not is_label(found[0]):
        return None
    label, mistakes = read_label(found[0])
    if mistakes:
        listed = "; ".join(f"{m.message}, expected {m.expected}" for m in mistakes)
        raise ContractError(f"{name}: meta.label: {listed}")
    return label
