"""The types of query parameters."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic.json_schema import SkipJsonSchema

from tintype.errors import InvalidParameter
from tintype.store.billing.reports import DAY, beginning
from tintype.web.declared import Allowed, SentQuery

MAX_PAGES = 1_000_000
MAX_ROWS = 100
#: Of usage and of the ledger, in one answer: a leap year.
MAX_USAGE_DAYS = 366
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
QueryFlag = Annotated[bool, BeforeValidator(_flag)]
#: What needn't be sent: None then, which is nothing that could be sent.
Absent = SkipJsonSchema[None]
Day = Annotated[date | Absent, BeforeValidator(_day), Allowed("a day as YYYY-MM-DD"), Field(description="A day of UTC")]


class PageQuery(SentQuery):
    """Which page of rows."""

    page: Page = 1
    per_page: Rows = 20


class WindowQuery(SentQuery):
    """Days, UTC, both included: today, and some before it, where nothing is sent."""

    from_date: Day = None
    to_date: Day = None

    def window(self, days: int, max_days: int) -> tuple[float, float]:
        """From the start of the first day to the end of the last, in unix seconds: by default today and `days` before.

        Raises InvalidParameter.
        """
        last = self.to_date or datetime.now(UTC).date()
        first = self.from_date or last - timedelta(days=min(days, (last - date.min).days))
        if not 0 <= (last - first).days < max_days:
            allowed = f"a day at most {max_days - 1} days before to_date, {last}"
            raise InvalidParameter("from_date", first.isoformat(), allowed)
        return beginning(first), beginning(last) + DAY
