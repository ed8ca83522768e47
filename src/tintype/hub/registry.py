"""The registry: the models that a server has, and which weights each of them draws with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tintype.catalog.catalogue import Catalogue
from tintype.checkpoints.weights import Weights


@dataclass(frozen=True)
class Registry:
    """What `tintype.cli` puts together once per process and hands to whoever needs it."""

    catalogue: Catalogue
    #: By slug; a model that is not named here draws with the built-in weights.
    weights: Mapping[str, Weights] = field(default_factory=dict)

    def drawing(self, slug: str, weights: Weights | None) -> Registry:
        """The same, but that one model draws with these weights, unless there are none."""
        return self if weights is None else replace(self, weights={**self.weights, slug: weights})
