"""Queries and bodies that routes declare: what counts as sent, and what is said of what isn't allowed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field
from starlette.datastructures import QueryParams

from tintype.errors import BadRequest
from tintype.web.declared import Allowed, Answer, Declared, SentQuery, declares_query, sent_once
from tintype.web.query import Absent, Day, Page, QueryFlag, WindowQuery
from tintype.web.wire import DayNumber, Dollars, Moment, Omittable


class Asked(SentQuery):
    page: Page = 1
    since: Day = Field(None, alias="from")
    status: Literal["COMPLETED", "FAILED"] | Absent = None
    model_name: str
    web: QueryFlag = False


class Members(BaseModel):
    types: list[Literal["A", "B"]]


class Body(Declared):
    name: str = Field(max_length=3, description="1 to 3 characters")
    event: Members | None = None
    urls: list[Annotated[str, Allowed("an address")]] = Field(default_factory=list)


def test_blank_values_are_absent_and_spaces_do_not_count() -> None:
    asked = Asked.model_validate({"page": " ", "from": "", "status": " FAILED ", "model_name": " a ", "other": "x"})
    assert asked == Asked.model_construct(page=1, since=None, status="FAILED", model_name="a", web=False)
    assert asked.status == "FAILED"


@pytest.mark.parametrize(("sent", "meant"), [("", True), ("true", True), ("false", False)])
def test_a_flag_needs_no_value(sent: str, meant: bool) -> None:
    assert Asked.model_validate({"model_name": "a", "web": sent}).web is meant


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({"page": "0"}, "page: '0' was sent; allowed: a whole number from 1 to 1000000"),
        ({"page": "+1"}, "page: '+1' was sent"),
        ({"page": "1_0"}, "page: '1_0' was sent"),
        ({"page": "１"}, "page: '１' was sent"),
        ({"page": "9" * 5000}, "page: '999"),
        ({"from": "2026-1-1x"}, "from: '2026-1-1x' was sent; allowed: a day as YYYY-MM-DD"),
        ({"status": "failed"}, "status: 'failed' was sent; allowed: one of COMPLETED, FAILED"),
        ({"model_name": " "}, "model_name: required, but not sent; allowed: text"),
        ({"web": "1"}, "web: '1' was sent; allowed: true or false"),
    ],
)
def test_a_query_is_refused_in_words(sent: dict[str, str], said: str) -> None:
    with pytest.raises(BadRequest) as refused:
        Asked.model_validate({"model_name": "a", **sent})
    assert refused.value.message.startswith(said)
    assert len(refused.value.message) < 250


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        ({}, "name: required, but not sent; allowed: 1 to 3 characters"),
        ({"name": ""}, ""),
        ({"name": None}, "name: required, but not sent"),
        ({"name": 5}, "name: 5 was sent; allowed: 1 to 3 characters"),
        ({"name": "abcd"}, "name: 'abcd' was sent"),
        ({"name": "a", "event": {}}, "event.types: required, but not sent"),
        ({"name": "a", "event": {"types": ["C"]}}, 'event.types: ["C"] was sent; allowed: one of A, B'),
        ({"name": "a", "event": 5}, "event: 5 was sent"),
        ({"name": "a", "urls": ["x", 5]}, "urls[1]: 5 was sent; allowed: an address"),
    ],
)
def test_so_is_a_body(sent: dict[str, Any], said: str) -> None:
    if not said:
        assert Body.model_validate(sent).name == ""
        return
    with pytest.raises(BadRequest) as refused:
        Body.model_validate(sent)
    assert refused.value.message.startswith(said)


def test_a_name_that_is_sent_twice_is_refused() -> None:
    for once in ("a=1&b=1&c=", "a=&a=1", "a=&a="):
        sent_once(QueryParams(once))
    for twice in ("a=1&b=1&b=", "b=1&b=1"):
        with pytest.raises(BadRequest, match="b: sent twice"):
            sent_once(QueryParams(twice))


async def asks(query: Annotated[Asked, Query()]) -> None: ...


def test_the_framework_describes_it() -> None:
    assert declares_query(asks)
    assert not declares_query(sent_once)
    app = FastAPI()
    app.get("/")(asks)
    found = {one["name"]: one["schema"] for one in app.openapi()["paths"]["/"]["get"]["parameters"]}
    assert (found["page"]["minimum"], found["page"]["maximum"], found["page"]["default"]) == (1, 1_000_000, 1)
    assert (found["from"]["type"], found["from"]["format"]) == ("string", "date")
    assert found["status"]["enum"] == ["COMPLETED", "FAILED"]


def test_a_window_ends_today_and_is_not_too_long() -> None:
    two = WindowQuery.model_validate({"from_date": "2026-11-01", "to_date": "2026-11-02"})
    begin, end = two.window(days=7, max_days=31)
    assert end - begin == 2 * 86_400
    begin, end = WindowQuery.model_validate({}).window(days=7, max_days=31)
    assert end - begin == 8 * 86_400
    long = WindowQuery.model_validate({"from_date": "2026-01-01", "to_date": "2026-11-02"})
    with pytest.raises(BadRequest, match="from_date: '2026-01-01' was sent; allowed: a day at most 30 days before"):
        long.window(days=7, max_days=31)


@dataclass
class Record:
    id: str
    cost: int
    at: float
    day: int


class Shown(Answer):
    id: str
    amount: Dollars
    at: Moment
    day: DayNumber
    secret: Omittable[str] = None


def test_an_answer_is_made_of_a_record_and_typed_as_json_is() -> None:
    record = Record("a", 1_500, 1_700_000_000.0005, 20_000)
    shown = Shown.from_record(record, amount=record.cost)
    assert json.loads(shown.model_dump_json()) == {
        "id": "a",
        "amount": 0.0015,
        "at": "2023-11-14T22:13:20.000+00:00",
        "day": "2024-10-04",
    }
    assert Shown.from_record(record, amount=0, id="b", secret="s").model_dump()["secret"] == "s"
    with pytest.raises(AttributeError, match="amount"):
        Shown.from_record(record)
    schema = Shown.model_json_schema(mode="serialization")
    assert schema["required"] == ["id", "amount", "at", "day"]
    assert {name: shape.get("format", shape["type"]) for name, shape in schema["properties"].items()} == {
        "id": "string",
        "amount": "number",
        "at": "date-time",
        "day": "date",
        "secret": "string",
    }
    assert "default" not in schema["properties"]["secret"]


def test_an_answer_leaves_out_what_it_was_not_given() -> None:
    class Found(Answer):
        id: str
        seconds: float | None
        warnings: tuple[str, ...] = ()

    assert bytes(Found(id="a", seconds=None).response().body) == b'{"id":"a","seconds":null}'
    with_words = Found(id="a", seconds=1.5, warnings=("é",)).response(422, {"x": "y"})
    assert bytes(with_words.body).decode() == '{"id":"a","seconds":1.5,"warnings":["é"]}'
    assert (with_words.status_code, with_words.headers["x"]) == (422, "y")
