"""The how-to of declarations names every key there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from featmill.contract.declarations import FeatureDeclaration, FeatureTableDeclaration

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "declare-a-feature-table.md"


@pytest.mark.parametrize("declaration", [FeatureTableDeclaration, FeatureDeclaration])
def test_the_page_names_every_key(declaration):
    named = set(re.findall(r"\b([a-z_]+)\b", " ".join(re.findall(r"`[^`\n]+`", PAGE.read_text()))))

    assert not set(declaration.model_fields) - named


def test_the_page_quotes_the_list_of_keys_as_it_is():
    assert f"expected one of {', '.join(FeatureTableDeclaration.model_fields)};" in PAGE.read_text()
