"""An account's webhook subscriptions and their deliveries, at the vendor's addresses, and rotation of secrets."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi import Request as HttpRequest

from tintype.errors import (
    AddressRefused,
    BadRequest,
    InvalidParameter,
    MissingParameter,
    PictureUnreachable,
    WebhookRefused,
)
from tintype.media.http import check_target
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Delivery, Event, Subscription
from tintype.web.auth import Reader, Runner
from tintype.web.clients import base_url, single_header
from tintype.web.generate.answers import utc
from tintype.web.openapi import describe_body, describe_call, describe_query
from tintype.web.query import Query, describe
from tintype.web.services import Services, services
from tintype.web.threads import Threaded, in_thread

#: The header with a webhook's address for one request.
HEADER = "X-Webhook-URL"
MAX_URL = 2000
EVENTS = "a list of " + " and ".join(Event)
LOGS_PER_PAGE = 100
#: What the calls take, for `/openapi.json`.
ID, URL = ({name: {"type": "string"}} for name in ("webhook_id", "webhook_url"))
TYPES = {"type": "array", "items": {"enum": [*Event]}, "minItems": 1}
EVENT = {"event": {"type": "object", "required": ["types"], "properties": {"types": TYPES}}}
KNOWN = {"webhook_id": "3f0e1b1e-5f3b-4d2c-9a43-0a6f0c0e7d55"}
SENT = {"delivery_id": {"type": "string"}}
AGAIN = {"delivery_id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"}
WHICH, PAGE = [describe("webhook_id", required=True)], describe("page")
EXAMPLE: dict[str, Any] = {"webhook_url": "https://receiver.example.com/hook", "event": {"types": [*Event]}}


def webhooks_router() -> APIRouter:
    router = APIRouter(prefix="/webhook", route_class=Threaded)
    change = "Change a webhook, or make it active again"
    for path, endpoint, method, words in (
        ("/get", get, "GET", describe_call("The account's webhooks")),
        ("/add", add, "POST", describe_body("Add a webhook", URL | EVENT, EXAMPLE)),
        ("/update", update, "POST", describe_body(change, ID | URL | EVENT, KNOWN | EXAMPLE, 404)),
        ("/rotate", rotate, "POST", describe_body("Draw a new secret for a webhook", ID, KNOWN, 404)),
        ("/replay", replay, "POST", describe_body("Send a delivery of the log once more", SENT, AGAIN, 404)),
        ("/inactive", inactive, "GET", describe_query("Make a webhook inactive", WHICH, 400, 403, 404)),
        (
            "/dispatch-logs",
            dispatch_logs,
            "GET",
            describe_query("What was sent to a webhook", [*WHICH, PAGE], 400, 404),
        ),
    ):
        router.add_api_route(path, endpoint, methods=[method], **words)
    return router


def get(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """All of the account's webhooks; keys that may only read don't see the signing secrets."""
    return {"webhooks": [_shown(webhook, key) for webhook in services(http).store.webhooks.list(key.account_id)]}


async def add(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Send events of the account's requests to an address."""
    own = services(http)
    async with own.bodies.read(http, key.account_id) as sent:
        url, events = _url(own, sent), _events(sent)
    webhook = await in_thread(http, own.store.webhooks.add, key.account_id, url, events, _base(http, own))
    return {"message": "Webhook added", "webhook": _shown(webhook, key)}


async def update(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Change a webhook's address and events; it is active again, and waiting deliveries go to the new address."""
    own = services(http)
    async with own.bodies.read(http, key.account_id) as sent:
        id, url, events = _text(sent, "webhook_id"), _url(own, sent), _events(sent)
    webhook = await in_thread(http, own.store.webhooks.update, id, key.account_id, url, events, _base(http, own))
    return {"message": "Webhook updated", "webhook": _shown(webhook, key)}


async def rotate(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Deliveries are signed with both secrets for a day, so that the receiver can change over in between."""
    own = services(http)
    async with own.bodies.read(http, key.account_id) as sent:
        id = _text(sent, "webhook_id")
    webhook = await in_thread(http, own.store.webhooks.rotate, id, key.account_id)
    return {"message": "Secret rotated", "webhook": _shown(webhook, key)}


def inactive(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Stop sending to it; waiting deliveries are dropped."""
    webhook = services(http).store.webhooks.remove(_text(dict(http.query_params), "webhook_id"), key.account_id)
    return {"message": "Webhook made inactive", "webhook": _shown(webhook, key)}


def dispatch_logs(http: HttpRequest, key: Reader) -> dict[str, Any]:
    """The deliveries, newest first, a hundred to a page: each with its state, its attempts and the last answer."""
    own, page = services(http), Query(http.query_params).page()
    webhook = own.store.webhooks.find(_text(dict(http.query_params), "webhook_id"), key.account_id)
    return {
        "logs": [_logged(one) for one in own.store.webhooks.outbox.logs(webhook.id, LOGS_PER_PAGE, page)],
        "page": page,
    }


async def replay(http: HttpRequest, key: Runner) -> dict[str, Any]:
    """Send a delivery again, with the same id and body, whatever its outcome was; the webhook must be active."""
    own = services(http)
    async with own.bodies.read(http, key.account_id) as sent:
        id = _text(sent, "delivery_id")
    return {"message": "It will be sent again", "log": _logged(await in_thread(http, _replayed, own, key, id))}


def _replayed(own: Services, key: Key, id: str) -> Delivery:
    webhook = own.store.webhooks.find(own.store.webhooks.outbox.find(id, key.account_id).webhook_id, key.account_id)
    if webhook.removed or webhook.disabled_at is not None:
        raise BadRequest("This webhook is not active: update it first, which makes it so")
    return own.store.webhooks.outbox.replay(id)[0]


def webhook_of_call(http: HttpRequest, own: Services, key: Key) -> str | None:
    """The address in a call's X-Webhook-URL, if any; creates the webhook that signs for it.

    Raises InvalidParameter, WebhookRefused for an address that can't be a webhook's.
    """
    url = (single_header(http, HEADER) or "").strip(" \t")
    if not url:
        return None
    if not url.isascii():  # a header has no character set: the call would go to another path
        raise InvalidParameter(HEADER, url, "an address in ASCII, where é, say, is written %C3%A9")
    _check(own, url, HEADER)
    own.store.webhooks.own(key.account_id)
    return url


def _base(http: HttpRequest, own: Services) -> str | None:
    """The base of links in deliveries, where the operator hasn't set it; raises BadRequest."""
    return None if own.settings.web.public_url else base_url(http, own.settings)


def _check(own: Services, url: str, name: str) -> str:
    if len(url) > MAX_URL:
        raise InvalidParameter(name, url, f"an address of at most {MAX_URL} characters")
    try:
        check_target(url, own.settings.webhooks.allow)
    except AddressRefused as error:
        raise WebhookRefused(f"{name}: {error.message}") from None
    except PictureUnreachable as error:
        raise InvalidParameter(name, url, f"a public http:// or https:// address ({error.message})") from None
    return url


def _url(own: Services, sent: dict[str, Any]) -> str:
    return _check(own, _text(sent, "webhook_url"), "webhook_url")


def _text(sent: dict[str, Any], name: str) -> str:
    value = sent.get(name)
    if not value:
        raise MissingParameter(name, "text")
    if not isinstance(value, str):
        raise InvalidParameter(name, value, "text")
    return value.strip()


def _events(sent: dict[str, Any]) -> list[Event]:
    event = sent.get("event")
    types = event.get("types") if isinstance(event, dict) else event
    if not types:
        raise MissingParameter("event.types", EVENTS)
    if not isinstance(types, list) or not all(one in [*Event] for one in types):
        raise InvalidParameter("event.types", types, EVENTS)
    return [Event(one) for one in dict.fromkeys(types)]


def _shown(webhook: Subscription, key: Key) -> dict[str, Any]:
    active = webhook.disabled_at is None and not webhook.removed
    state = {"is_active": active, "disabled_at": utc(webhook.disabled_at), "disabled_reason": webhook.disabled_reason}
    secret = {} if key.read_only else {"secret": webhook.secret}
    return {
        "webhook_id": webhook.id,
        # Null for the one that signs deliveries to addresses of X-Webhook-URL.
        "webhook_url": webhook.url,
        "event": {"types": list(webhook.events)},
        "created_at": utc(webhook.created_at),
        "last_success_at": utc(webhook.succeeded_at),
        **state,
        **secret,
    }


def _logged(one: Delivery) -> dict[str, Any]:
    return {
        "delivery_id": one.id,
        "request_id": one.request_id,
        "event": one.event,
        "url": one.url,
        "status": one.status,
        "attempts": one.attempt,
        "response_status": one.response_status,
        "error": one.error,
        "created_at": utc(one.created_at),
        "ended_at": utc(one.ended_at),
        "next_attempt_at": None if one.ended_at else utc(one.due_at),
    }
