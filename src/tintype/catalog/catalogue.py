"""The catalogue: the models that one server has, by slug."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from tintype.catalog.spec import ModelSpec
from tintype.errors import NotFound

SHOWN_SLUG = 80


class Catalogue(Mapping[str, ModelSpec]):
    """An immutable mapping slug → entry, in the order in which models are listed."""

    def __init__(self, specs: Iterable[ModelSpec]) -> None:
        self._specs = MappingProxyType({spec.slug: spec for spec in specs})

    def find(self, slug: str) -> ModelSpec:
        """The entry of a slug that a caller named; raises NotFound, which names those that there are."""
        try:
            return self._specs[slug]
        except KeyError:
            raise NotFound(f"Model {slug[:SHOWN_SLUG]} not found; the models are {', '.join(self)}") from None

    def __getitem__(self, slug: str) -> ModelSpec:
        return self._specs[slug]

    def __iter__(self) -> Iterator[str]:
        return iter(self._specs)

    def __len__(self) -> int:
        return len(self._specs)
