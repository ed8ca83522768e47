"""What routes declare as pydantic models: queries, JSON bodies, answers; and what is refused, in our own words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args, get_origin, get_type_hints

from fastapi import Response, params
from pydantic import BaseModel, BeforeValidator, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic.fields import FieldInfo
from starlette.datastructures import QueryParams

from tintype.catalog.spec import no_number
from tintype.errors import BadRequest, InvalidParameter, MissingParameter, SentTwice

#: For the annotation of a number, which may be sent as a text, as parameters of models may: a form has nothing else. It
#: stands behind the `Field` of its limits, or its schema lacks them.
Number = BeforeValidator(no_number)
#: Items of a list that an error shows; of more, their number.
FEW = 10


@dataclass(frozen=True)
class Allowed:
    """What may be sent, in words, as part of an annotation: for errors, where the type itself doesn't say it well."""

    words: str


def without_null(schema: dict[str, Any]) -> None:
    """A default of null says in a model that nothing was sent, which isn't what null means in JSON."""
    for shape in schema.get("properties", {}).values():
        if shape.get("default", ...) is None:
            del shape["default"]


def without_defaults(schema: dict[str, Any]) -> None:
    """What an answer leaves out isn't there: clients must not take a default for it."""
    for shape in schema.get("properties", {}).values():
        shape.pop("default", None)


class Declared(BaseModel):
    """What a caller sends. Validation raises MissingParameter or InvalidParameter for the first thing that is wrong."""

    model_config = ConfigDict(extra="ignore", frozen=True, json_schema_extra=without_null)

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        """What was sent, as it is to be validated."""
        return sent

    @model_validator(mode="wrap")
    @classmethod
    def _checked(cls, sent: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        sent = cls.prepared(sent)
        try:
            return handler(sent)
        except ValidationError as error:
            raise in_words(error, cls, sent) from None


class SentQuery(Declared):
    """A query, as `Annotated[…, Query()]`: values without the spaces around them, and blank ones as if not sent.

    A boolean without a value is true: `?web`.
    """

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        flags = {field.alias or name for name, field in cls.model_fields.items() if field.annotation is bool}
        values = {name: value.strip() for name, value in sent.items() if isinstance(value, str)}
        return {name: value or "true" for name, value in values.items() if value or name in flags}


class Answer(BaseModel):
    """What a JSON answer has. A member that is not always there has a default, and is left out where it isn't given."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True, json_schema_extra=without_defaults)

    @classmethod
    def from_record(cls, record: object, **more: Any) -> Self:
        """With the record's attributes of the same names as its required members, and with `more`, which go before."""
        required = (name for name, field in cls.model_fields.items() if field.is_required() and name not in more)
        return cls(**{name: getattr(record, name) for name in required}, **more)

    def text(self) -> str:
        """As JSON."""
        return self.model_dump_json(exclude_unset=True, by_alias=True)

    def response(self, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """Made once: what a handler returns otherwise, the framework validates again."""
        return Response(self.text(), status, headers, media_type="application/json")


def in_words(error: ValidationError, model: type[BaseModel], sent: Any) -> BadRequest:
    """The first thing that is wrong; a member of an object is named with it, `event.types`.

    An item of a list is named where its type has words of its own, `urls[2]`, else the list.
    """
    first = error.errors(include_url=False, include_context=False)[0]
    name, field, value = "", None, sent
    for part in first["loc"]:
        fields = {one.alias or name: one for name, one in model.model_fields.items()}
        if part not in fields:
            words = _items(field) if isinstance(part, int) else ""
            if words:
                return InvalidParameter(f"{name}[{part}]", first["input"], words)
            break
        field = fields[str(part)]
        name = f"{name}.{part}" if name else str(part)
        value = value.get(part) if isinstance(value, Mapping) else first["input"]
        kinds = (field.annotation, *get_args(field.annotation))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    words = allowed(field) if field else "an object"
    if first["type"] == "missing" or (field and field.is_required() and value in (None, "", [], {})):
        return MissingParameter(name, words)
    return InvalidParameter(
        name, f"{len(value)} items" if isinstance(value, list) and len(value) > FEW else value, words
    )


def _items(field: FieldInfo | None) -> str:
    """What each item of a list may be, where that is said; else the list as a whole is what is wrong."""
    marks = [mark for item in get_args(field.annotation) for mark in getattr(item, "__metadata__", ())] if field else []
    return next((mark.words for mark in marks if isinstance(mark, Allowed)), "")


def allowed(field: FieldInfo) -> str:
    """What a field takes, in words: its own, or by its type and limits, else its description."""
    if own := next((one.words for one in field.metadata if isinstance(one, Allowed)), ""):
        return own
    if choices := _choices(field.annotation):
        return "one of " + ", ".join(choices)
    limits = {bound: getattr(one, bound) for one in field.metadata for bound in ("ge", "le") if hasattr(one, bound)}
    if field.annotation is int and len(limits) == 2:
        return f"a whole number from {limits['ge']} to {limits['le']}"
    if field.annotation is bool:
        return "true or false"
    return field.description or "text"


def _choices(annotation: Any) -> list[str]:
    """The values of a Literal, optional or not."""
    if get_origin(annotation) is Literal:
        return [*map(str, get_args(annotation))]
    return next(filter(None, map(_choices, get_args(annotation))), [])


def declares_query(endpoint: Callable[..., Any]) -> bool:
    """Whether an endpoint takes query parameters."""
    hints = get_type_hints(endpoint, include_extras=True).values()
    return any(isinstance(mark, params.Query) for hint in hints for mark in getattr(hint, "__metadata__", ()))


def sent_once(query: QueryParams) -> None:
    """Raises SentTwice for a name with two values. Blank ones are none."""
    seen = set[str]()
    for name, value in query.multi_items():
        if name in seen:
            raise SentTwice(name)
        if value.strip():
            seen.add(name)
