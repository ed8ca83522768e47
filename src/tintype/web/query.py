"""The types of query parameters."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema
from starlette.datastructures import QueryParams

from tintype.errors import BadRequest, InvalidParameter
from tintype.store.billing.reports import DAY, SPLITS, beginning
from tintype.store.db.audit import ACTS, THINGS
from tintype.web.declared import Allowed

Value = TypeVar("Value")

MAX_PAGES = 1_000_000
#: Of the operator's plots: the retention of the time series.
MAX_MINUTES = 1440

#: Days of a window of the history, at most.
MAX_WINDOW = 31
MAX_ROWS = 100
#: Digits of a whole number, at most: Python converts long ones slowly.
MAX_DIGITS = 19


def _whole(sent: object) -> object:
    """Decimal digits; not all that Python and pydantic read as a number (+1, 1_0, 1.0, １)."""
    if isinstance(sent, str) and not (sent.isascii() and sent.isdecimal() and len(sent) <= MAX_DIGITS):
        raise ValueError("not a whole number")
    return sent


def _day(sent: object) -> object:
    return datetime.strptime(sent, "%Y-%m-%d").replace(tzinfo=UTC).date() if isinstance(sent, str) else sent


def _flag(sent: object) -> object:
    return {"true": True, "false": False}.get(sent, "neither") if isinstance(sent, str) else sent


#: With a `Field` of its limits before it.
DIGITS = BeforeValidator(_whole)
Page = Annotated[int, Field(ge=1, le=MAX_PAGES, description="The page, from 1"), DIGITS]
Rows = Annotated[int, Field(ge=1, le=MAX_ROWS, description="Rows of a page"), DIGITS]
Flag = Annotated[bool, BeforeValidator(_flag)]
#: What needn't be sent: None then, which is nothing that could be sent.
Absent = SkipJsonSchema[None]
Day = Annotated[date | Absent, BeforeValidator(_day), Allowed("a day as YYYY-MM-DD")]


def window(from_date: Day, to_date: Day, *, days: int, max_days: int) -> tuple[float, float]:
    """From the start of the first day to the end of the last, UTC, in unix seconds; today and `days` before it.

    Raises InvalidParameter.
    """
    end = to_date or datetime.now(UTC).date()
    start = from_date or end - timedelta(days=min(days, (end - date.min).days))
    if not 0 <= (end - start).days < max_days:
        raise InvalidParameter(
            "from_date", start.isoformat(), f"a day at most {max_days - 1} days before to_date, {end}"
        )
    return beginning(start), beginning(end) + DAY


# What the rooms that aren't declared yet read
COUNT = {"type": "integer", "minimum": 1}
DATE = {"type": "string", "format": "date"}
#: Parameters that are not any text, for `/openapi.json`.
SCHEMAS: Mapping[str, dict[str, Any]] = {
    "page": {**COUNT, "maximum": MAX_PAGES, "default": 1},
    "per_page": {**COUNT, "maximum": MAX_ROWS, "default": 20},
    **dict.fromkeys(("from_date", "to_date", "start_date", "end_date", "from", "to", "since"), DATE),
    "minutes": {**COUNT, "maximum": MAX_MINUTES, "default": 60},
    "status": {"enum": ["COMPLETED", "FAILED", "PENDING"]},
    "sort_by": {"enum": ["model_created", "model_name", "credits_deduction"]},
    "sort_order": {"enum": ["asc", "desc"]},
    "by": {"enum": [*SPLITS]},
    "act": {"enum": [*THINGS, *ACTS]},
    "entries": {"enum": ["balance", "all"], "default": "balance"},
    "web": {"type": "boolean", "default": False},
}


def describe(name: str, required: bool = False) -> dict[str, Any]:
    """A query parameter as `/openapi.json` has it."""
    return {"name": name, "in": "query", "required": required, "schema": SCHEMAS.get(name, {"type": "string"})}


def paged(page: int, size: int, total: int) -> dict[str, int]:
    """The number of the page and its size, of all rows, and of all pages."""
    return {"page": page, "per_page": size, "total": total, "total_pages": -(-total // size)}


class Query:
    """A call's query parameters, each checked when it is read; raises BadRequest."""

    def __init__(self, sent: Mapping[str, str]) -> None:
        self._sent: dict[str, str] = {}
        self._bare: set[str] = set()
        for name, value in QueryParams(sent).multi_items():
            if name in self._sent:
                raise BadRequest(f"{name[:80]}: sent twice")
            if value.strip():
                self._sent[name] = value.strip()
            else:
                self._bare.add(name)

    def text(self, name: str, default: str = "") -> str:
        return self._sent.get(name, default)

    def number(self, name: str, default: int, maximum: int) -> int:
        """A whole number from 1 to `maximum`."""
        sent = self._sent.get(name, str(default))
        if not (sent.isascii() and sent.isdecimal() and len(sent) < 20 and 1 <= int(sent) <= maximum):
            raise InvalidParameter(name, sent, f"a whole number from 1 to {maximum}")
        return int(sent)

    def page(self) -> int:
        """The number of a page, from 1."""
        return self.number("page", 1, MAX_PAGES)

    def choice(self, name: str, choices: Mapping[str, Value], default: str) -> Value:
        """The value of one of the choices."""
        sent = self._sent.get(name, default)
        if sent not in choices:
            raise InvalidParameter(name, sent, "one of " + ", ".join(filter(None, choices)))
        return choices[sent]

    def flag(self, name: str) -> bool:
        """Whether it was sent, without a value (`?name`) or as true."""
        return name in self._bare or self.choice(name, {"true": True, "false": False}, "false")

    def day(self, name: str) -> date | None:
        """A day, as YYYY-MM-DD."""
        sent = self._sent.get(name)
        if sent is None:
            return None
        try:
            return datetime.strptime(sent, "%Y-%m-%d").replace(tzinfo=UTC).date()
        except ValueError:
            raise InvalidParameter(name, sent, "a day as YYYY-MM-DD") from None

    def window(self, first: str, last: str, *, days: int, max_days: int) -> tuple[float, float]:
        """From the start of the first day to the end of the last, UTC, in unix seconds; today and `days` before it."""
        end = self.day(last) or datetime.now(UTC).date()
        start = self.day(first) or end - timedelta(days=min(days, (end - date.min).days))
        if not 0 <= (end - start).days < max_days:
            raise InvalidParameter(first, start.isoformat(), f"a day at most {max_days - 1} days before {last}, {end}")
        return beginning(start), beginning(end) + DAY
