"""What a model costs, and the most that a request for it can come to."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import Literal

Per = Literal["picture", "second"]


@dataclass(frozen=True)
class Tariff:
    """A price in micro-dollars."""

    price: int
    #: Whether for each picture or for each second of the model's work, in which loading its weights does not count.
    per: Per = "picture"
    #: Seconds per picture that are held where the price is per second, and never exceeded.
    most_seconds: float = 60.0

    def most(self, pictures: int) -> int:
        """What is held for so many pictures, in micro-dollars."""
        return self.price * pictures if self.per == "picture" else ceil(self.price * self.most_seconds * pictures)

    @property
    def rate(self) -> int | None:
        """Micro-dollars per second; None where the price is per picture."""
        return self.price if self.per == "second" else None
