"""What the networks share: numbers in tensors' names, and sizes of tensors."""

from __future__ import annotations

from collections.abc import Collection

from tintype.families.spec import Tensors


def numbers_after(prefix: str, names: Collection[str]) -> set[int]:
    """The numbers that follow a prefix in any of the names."""
    rests = (name.removeprefix(prefix + ".") for name in names if name.startswith(prefix + "."))
    return {int(number) for rest in rests if (number := rest.partition(".")[0]).isdecimal()}


def count(prefix: str, names: Collection[str]) -> int:
    """How many numbers follow a prefix."""
    return len(numbers_after(prefix, names))


def size(tensors: Tensors, name: str, dimension: int = 0) -> int:
    """A tensor's size along a dimension; raises KeyError."""
    return int(tensors[name].shape[dimension])
