"""The types of answers' members: money, moments, what may be left out; pages of rows; large numbers."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, Self, TypeVar

from pydantic import Field, PlainSerializer, WithJsonSchema
from pydantic.json_schema import SkipJsonSchema

from tintype.store.billing.ledger import dollars
from tintype.store.billing.reports import DAY
from tintype.web.declared import Answer

#: Above it, floats lack some whole numbers.
MAX_EXACT = 2**53 - 1

T = TypeVar("T")
Row = TypeVar("Row")


def utc(moment: float) -> str:
    """A moment in unix seconds as answers have it, to the millisecond."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds")


def exact(value: Any) -> Any:
    """A JSON value for readers that have floats only, as JavaScript: large whole numbers as strings.

    They may be sent back as they are: parameters that are numbers may come as strings.
    """
    if isinstance(value, dict):
        return {name: exact(one) for name, one in value.items()}
    if isinstance(value, list):
        return [exact(one) for one in value]
    return str(value) if isinstance(value, int) and abs(value) > MAX_EXACT else value


def _date(number: int) -> str:
    return datetime.fromtimestamp(number * DAY, UTC).date().isoformat()


Id = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Url = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]
#: Micro-dollars here, dollars in JSON.
Dollars = Annotated[
    int,
    PlainSerializer(dollars, return_type=float),
    WithJsonSchema({"type": "number", "description": "Dollars"}, mode="serialization"),
]
#: Unix seconds here, a date and a time of UTC in JSON.
Moment = Annotated[
    float,
    PlainSerializer(utc, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]
#: Days since 1970-01-01 here, a date in JSON.
DayNumber = Annotated[
    int,
    PlainSerializer(_date, return_type=str),
    WithJsonSchema({"type": "string", "format": "date"}, mode="serialization"),
]
#: None here, left out in JSON.
Omittable = Annotated[T | SkipJsonSchema[None], Field(exclude_if=lambda value: value is None)]


class Paged(Answer, Generic[Row]):
    """One page of rows, and the number of all rows and pages."""

    data: list[Row]
    page: int
    per_page: int
    total: int
    total_pages: int

    @classmethod
    def of(cls, rows: Iterable[Row], page: int, size: int, total: int, **more: Any) -> Self:
        """A page of `size` rows, of `total` rows in all; `more` is what it has in addition."""
        return cls(data=[*rows], page=page, per_page=size, total=total, total_pages=-(-total // size), **more)
