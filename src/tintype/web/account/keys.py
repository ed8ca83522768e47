"""Key delegation: an account's keys are listed, made, rotated and revoked by one of them that may do no less."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from fastapi import APIRouter
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, ValidationInfo, create_model

from tintype.catalog.limits import DAILY_LIMITS, LIMITS, MAX_LIMIT, Limit
from tintype.catalog.models import SD15_IMG2IMG
from tintype.store.accounts.delegation import KeyDelegation
from tintype.store.accounts.keys import MAX_OVERLAP, MAX_TTL, OVERLAP, Key, KeyState, Mode, stored_limits
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Answer, Declared, Number
from tintype.web.dependencies import StoreDep
from tintype.web.json_body import body_of
from tintype.web.openapi import WITH_BODY, errors
from tintype.web.threads import Threaded
from tintype.web.wire import Dollars, Id, Moment, Omittable, utc

router = APIRouter(prefix="/v2/keys", route_class=Threaded, responses=errors(401, 403), tags=["keys"])

Model = TypeVar("Model", bound=BaseModel)


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


BodyFlag = Annotated[bool, BeforeValidator(_flag), Field(strict=True)]


def _with_fields(fields: dict[str, Any]) -> Callable[[type[Model]], type[Model]]:
    """A decorator of a model: it gets these fields too."""

    def extend(model: type[Model]) -> type[Model]:
        return create_model(
            model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **fields
        )

    return extend


def _sent(limit: Limit) -> tuple[Any, Any]:
    bounds: Any = Field(ge=limit.min, le=MAX_LIMIT)
    number: Any = Annotated[float, bounds, Number] if limit.money else Annotated[int, bounds, Number]
    return number | None, Field(None, description=f"{limit.allowed}, or null")


def _shown(limit: Limit) -> tuple[Any, Any]:
    return (Dollars if limit.money else int) | None, Field(description=f"{limit.help}, at most")


@_with_fields({name: _sent(limit) for name, limit in LIMITS.items()})
class NewKey(Declared):
    """The body of a new key. The descriptions say what is allowed, also in errors."""

    name: Annotated[str, AfterValidator(_plain)] = Field(
        "key", max_length=80, description="1 to 80 printable characters"
    )
    models: Annotated[list[str] | None, AfterValidator(_known)] = Field(
        None, description="a list of slugs of GET /v1/models; null for all that this key may run"
    )
    read_only: BodyFlag = Field(False, description="true or false")
    test: BodyFlag = Field(False, description="true or false")
    expires_in: Annotated[float, Field(gt=0, le=MAX_TTL), Number] | None = Field(
        None, description=f"seconds, up to {MAX_TTL}; null for no expiry"
    )

    def columns(self) -> dict[str, Any]:
        """What was sent, as the key's columns; the others are the caller's own."""
        said = self.model_dump(exclude_unset=True, exclude={"expires_in"})
        if "expires_in" in self.model_fields_set and self.expires_in is None:
            said["expires_at"] = None
        limits = stored_limits({name: said.pop(name) for name in LIMITS.keys() & said.keys()})
        return {"name": self.name, **said, **limits}


class Rotation(Declared):
    """How long the previous secret still works."""

    overlap: Annotated[float, Field(ge=0, le=MAX_OVERLAP), Number] = Field(
        OVERLAP, description=f"seconds from 0 to {MAX_OVERLAP}"
    )


def _used(limit: Limit) -> tuple[Any, Any]:
    return Dollars if limit.money else int, Field(description=f"Today's, against {limit.name}")


@_with_fields({name: _shown(limit) for name, limit in LIMITS.items()} | {one.used: _used(one) for one in DAILY_LIMITS})
class KeyInfo(Answer):
    """A key without its secret, which isn't stored."""

    id: Id
    name: str
    begins: str
    """How its secret begins."""
    mode: Mode
    models: list[str] | None
    read_only: bool
    operator: bool
    state: KeyState
    spent: Dollars
    """Dollars that it has spent, and that its running requests hold."""
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
        moment, until, own = time.time(), key.old_until, key.id == caller.id
        today = {limit.used: key.used(limit, moment) for limit in DAILY_LIMITS}
        state = key.state(moment)
        return cls.from_record(key, state=state, overlap_until=until, own=own, may_change=may_change, **today)


class KeyList(Answer):
    """An account's keys, the oldest first."""

    keys: list[KeyInfo]
    may_create: bool
    """Whether the key that the call came with may make keys."""


class ChangedKey(Answer):
    """A key that was made, rotated or revoked, and its secret where that is new."""

    key: KeyInfo
    secret: Omittable[str] = None
    message: Omittable[str] = None


NEW = {"name": "laptop", "models": [SD15_IMG2IMG.slug], "expires_in": 30 * 86_400, "spend_cap": 5}


@router.get("", operation_id="listKeys", summary="The account's keys")
def listed(key: Reader, store: StoreDep) -> KeyList:
    """All of the account's keys without their secrets, which aren't stored; a test key sees test keys only."""
    own = store.delegation
    return KeyList(keys=[KeyInfo.of(one, key, own) for one in own.list(key)], may_create=own.makes(key))


@router.post(
    "", operation_id="createKey", summary="Make a key that may do no more than this one", responses=errors(*WITH_BODY)
)
def create(key: Runner, store: StoreDep, wanted: Annotated[NewKey, body_of(NewKey, NEW)]) -> ChangedKey:
    """Make a key; its secret is in this answer and nowhere else.

    It may do no more than the key that makes it: models, expires_in and limits of a single request, as max_pixels, are
    by default that one's own. A key with a limit of several requests, as rpm or spend_cap, makes no keys: another one
    would add to it.
    """
    made, secret = store.delegation.create(key, wanted.columns(), wanted.expires_in)
    return ChangedKey(key=KeyInfo.of(made, key, store.delegation), secret=secret)


@router.post(
    "/{key_id}/rotate", operation_id="rotateKey", summary="Give a key a new secret", responses=errors(404, *WITH_BODY)
)
def rotate(
    key: Runner, store: StoreDep, key_id: str, wanted: Annotated[Rotation, body_of(Rotation, {"overlap": 3600})]
) -> ChangedKey:
    """Give a key a new secret, which is in this answer and nowhere else; the previous one works for a while longer.

    `message` says until when. After a leak, send `overlap` 0: the previous secret stops working immediately.
    """
    turned, secret = store.delegation.rotate(key, key_id, wanted.overlap)
    shown = KeyInfo.of(turned, key, store.delegation)
    return ChangedKey(key=shown, secret=secret, message=_overlap_words(turned, wanted.overlap))


@router.delete("/{key_id}", operation_id="revokeKey", summary="Revoke a key", responses=errors(404))
def revoke(key: Runner, store: StoreDep, key_id: str) -> ChangedKey:
    """Revoke a key: it stops working immediately, while its queued requests still run."""
    return ChangedKey(key=KeyInfo.of(store.delegation.revoke(key, key_id), key, store.delegation))


def _overlap_words(key: Key, overlap: float) -> str:
    if not overlap:
        return "The previous secret no longer works"
    until = "later" if key.old_until is None else utc(key.old_until)
    return f"The previous secret works until {until}; to end it immediately, rotate with overlap 0, or revoke the key"
