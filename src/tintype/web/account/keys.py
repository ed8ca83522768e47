"""Key delegation: an account's keys are listed, made, rotated and revoked by one of them that may do no less."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, Self, TypeVar

from fastapi import APIRouter
from fastapi import Request as HttpRequest
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from tintype.catalog.models import SD15_IMG2IMG
from tintype.catalog.spec import Catalogue, no_number
from tintype.errors import InvalidParameter
from tintype.store.accounts.delegation import KeyDelegation
from tintype.store.accounts.keys import MAX_OVERLAP, MAX_TTL, OVERLAP, Key
from tintype.store.billing.ledger import micro
from tintype.web.auth import Reader, Runner
from tintype.web.openapi import describe_body, describe_call
from tintype.web.services import services
from tintype.web.threads import Threaded, in_thread
from tintype.web.wire import Absent, Answer, Dollars, Moment, utc

#: Of every limit, at most.
MAX_LIMIT = 1_000_000_000


def _known(slugs: list[str] | None, info: ValidationInfo) -> list[str] | None:
    """The slugs, each once; the server's catalogue is the context of the validation."""
    if slugs is not None and not (slugs and {*slugs} <= (info.context or {}).keys()):
        raise ValueError("unknown model")
    return None if slugs is None else [*dict.fromkeys(slugs)]


def _plain(name: str) -> str:
    if not name.strip() or not name.isprintable():
        raise ValueError("not printable")
    return name.strip()


def _flag(value: object) -> object:
    return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value


Shape = TypeVar("Shape", bound=BaseModel)
#: Numbers may be sent as texts, as parameters of models may: a form has nothing else.
Number = BeforeValidator(no_number)
Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT), Number] | None
Flag = Annotated[bool, BeforeValidator(_flag), Field(strict=True)]


class NewKey(BaseModel):
    """The body of a new key. The descriptions say what is allowed, also in errors."""

    model_config = ConfigDict(extra="ignore")

    name: Annotated[str, AfterValidator(_plain)] = Field(
        "key", max_length=80, description="1 to 80 printable characters"
    )
    models: Annotated[list[str] | None, AfterValidator(_known)] = Field(
        None, description="a list of slugs of GET /v1/models; null for all that this key may run"
    )
    read_only: Flag = Field(False, description="true or false")
    test: Flag = Field(False, description="true or false")
    expires_in: Annotated[float, Field(gt=0, le=MAX_TTL), Number] | None = Field(
        None, description=f"seconds, up to {MAX_TTL}; null for no expiry"
    )
    spend_cap: Annotated[float, Field(ge=0, le=MAX_LIMIT), Number] | None = Field(
        None, description=f"dollars from 0 to {MAX_LIMIT}, or null"
    )
    rpm: Limit = Field(None, description=f"requests per minute from 1 to {MAX_LIMIT}, or null")
    concurrency: Limit = Field(None, description=f"concurrent requests from 1 to {MAX_LIMIT}, or null")
    max_queued: Limit = Field(None, description=f"images at the same time from 1 to {MAX_LIMIT}, or null")
    max_pixels: Limit = Field(None, description=f"pixels of one request from 1 to {MAX_LIMIT}, or null")

    def columns(self) -> dict[str, Any]:
        """What was sent, as the key's columns; the others are the caller's own."""
        said = self.model_dump(exclude_unset=True, exclude={"expires_in"})
        if self.spend_cap is not None:
            said["spend_cap"] = micro(self.spend_cap)
        if "expires_in" in self.model_fields_set and self.expires_in is None:
            said["expires_at"] = None
        return {"name": self.name, **said}


class Rotation(BaseModel):
    """How long the previous secret still works."""

    overlap: Annotated[float, Field(ge=0, le=MAX_OVERLAP), Number] = Field(
        OVERLAP, description=f"seconds from 0 to {MAX_OVERLAP}"
    )


class KeyInfo(Answer):
    """A key without its secret, which isn't stored."""

    id: str
    name: str
    begins: str
    """How its secret begins."""
    mode: Literal["live", "test"]
    models: list[str] | None
    read_only: bool
    operator: bool
    state: Literal["in force", "revoked", "expired"]
    spend_cap: Dollars | None
    spent: Dollars
    """What it has spent, and what its running requests hold."""
    rpm: int | None
    concurrency: int | None
    max_queued: int | None
    max_pixels: int | None
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    overlap_until: Moment | None
    """Until when the secret before the last rotation works."""
    own: bool
    """Whether it is the key that the call came with."""
    may_change: bool
    """Whether the key that the call came with may rotate and revoke it."""

    @classmethod
    def of(cls, key: Key, caller: Key, delegation: KeyDelegation) -> Self:
        """The key as the caller sees it."""
        may_change = delegation.governs(caller, key)
        state, until = key.state(time.time()), key.old_until
        return cls.from_record(key, state=state, overlap_until=until, own=key.id == caller.id, may_change=may_change)


class KeyList(Answer):
    """An account's keys, the oldest first."""

    keys: list[KeyInfo]
    may_create: bool
    """Whether the key that the call came with may make keys."""


class ChangedKey(Answer):
    """A key that was made, rotated or revoked, and its secret where that is new."""

    key: KeyInfo
    secret: Absent[str] = None
    message: Absent[str] = None


EXAMPLE = {"name": "laptop", "models": [SD15_IMG2IMG.slug], "expires_in": 30 * 86_400, "spend_cap": 5}


def keys_router() -> APIRouter:
    router = APIRouter(prefix="/v2/keys", route_class=Threaded)
    made = describe_body("Make a key that may do no more than this one", {}, EXAMPLE, 429, optional=_properties(NewKey))
    turned = describe_body("Give a key a new secret", {}, {"overlap": 3600}, 404, optional=_properties(Rotation))
    for path, endpoint, method, words in (
        ("", listed, "GET", describe_call("The account's keys")),
        ("", create, "POST", made),
        ("/{key_id}/rotate", rotate, "POST", turned),
        ("/{key_id}", revoke, "DELETE", describe_call("Revoke a key", 403, 404)),
    ):
        router.add_api_route(path, endpoint, methods=[method], **words)
    return router


def listed(http: HttpRequest, key: Reader) -> KeyList:
    """All of the account's keys without their secrets, which aren't stored; a test key sees test keys only."""
    own = services(http).store.delegation
    return KeyList(keys=[KeyInfo.of(one, key, own) for one in own.list(key)], may_create=own.makes(key))


async def create(http: HttpRequest, key: Runner) -> ChangedKey:
    """Make a key; its secret is in this answer and nowhere else.

    It may do no more than the key that makes it: models, max_pixels and expires_in are by default that one's own. A key
    with a spend cap, an rpm, a concurrency or a max_queued of its own makes no keys: another one would add to them.
    """
    own = services(http)
    async with own.bodies.read(http, key.account_id) as sent:
        wanted = _read(NewKey, sent, own.registry.catalogue)
    made, secret = await in_thread(http, own.store.delegation.create, key, wanted.columns(), wanted.expires_in)
    return ChangedKey(key=KeyInfo.of(made, key, own.store.delegation), secret=secret)


async def rotate(http: HttpRequest, key: Runner, key_id: str) -> ChangedKey:
    """Give a key a new secret, which is in this answer and nowhere else; the previous one works for a while longer.

    `message` says until when. After a leak, send `overlap` 0: the previous secret stops working immediately.
    """
    own = services(http)
    async with own.bodies.read(http, key.account_id) as sent:
        wanted = _read(Rotation, sent, own.registry.catalogue)
    turned, secret = await in_thread(http, own.store.delegation.rotate, key, key_id, wanted.overlap)
    shown = KeyInfo.of(turned, key, own.store.delegation)
    return ChangedKey(key=shown, secret=secret, message=_overlap_words(turned, wanted.overlap))


def revoke(http: HttpRequest, key: Runner, key_id: str) -> ChangedKey:
    """Revoke a key: it stops working immediately, while its queued requests still run."""
    own = services(http).store.delegation
    return ChangedKey(key=KeyInfo.of(own.revoke(key, key_id), key, own))


def _overlap_words(key: Key, overlap: float) -> str:
    if not overlap:
        return "The previous secret no longer works"
    until = "later" if key.old_until is None else utc(key.old_until)
    return f"The previous secret works until {until}; to end it immediately, rotate with overlap 0, or revoke the key"


def _read(shape: type[Shape], sent: dict[str, Any], catalogue: Catalogue) -> Shape:
    try:
        return shape.model_validate(sent, context=catalogue)
    except ValidationError as error:
        name = str(error.errors(include_url=False)[0]["loc"][0])
        raise InvalidParameter(name, sent.get(name), shape.model_fields[name].description or "") from None


def _properties(shape: type[BaseModel]) -> dict[str, Any]:
    return dict(shape.model_json_schema()["properties"])
