"""What a training set computes beside what it looks up: a service's request features, pinned as they were declared."""

from __future__ import annotations

from featmill.contract.catalog import Frozen, RequestFeature, RequestField
from featmill.contract.types import FeatureType


class StoredInput(Frozen):
    """A stored feature that request features read: what they call it, its column in the set, and its contract type."""

    name: str
    column: str
    type: FeatureType


class Computed(Frozen):
    """The request features of a service, and what they read: request fields (columns of the spine), stored features."""

    service: str
    fields: tuple[RequestField, ...]
    features: tuple[RequestFeature, ...]
    stored: tuple[StoredInput, ...]
