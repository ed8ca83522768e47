"""An account's webhook subscriptions and their deliveries, at the vendor's addresses, and rotation of secrets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Query
from pydantic import AfterValidator, Field, StringConstraints

from tintype.errors import AddressRefused, BadRequest, InvalidParameter, PictureUnreachable, WebhookRefused
from tintype.media.http import check_target
from tintype.settings import Settings
from tintype.store.accounts.keys import Key
from tintype.store.db.records import Delivery, DeliveryStatus, Event, Subscription
from tintype.store.store import Store
from tintype.web.auth import Reader, Runner
from tintype.web.declared import Allowed, Answer, Declared, SentQuery
from tintype.web.dependencies import BaseUrl, RuntimeDep, StoreDep
from tintype.web.json_body import body_of
from tintype.web.openapi import WITH_BODY, errors
from tintype.web.query import Page
from tintype.web.threads import Threaded
from tintype.web.wire import Id, Moment, Omittable, Url

#: The header with a webhook's address for one request.
HEADER = "X-Webhook-URL"
MAX_URL = 2000
EVENTS = "a list of " + " and ".join(Event)
LOGS_PER_PAGE = 100
#: Examples of bodies.
ID = {"webhook_id": "3f0e1b1e-5f3b-4d2c-9a43-0a6f0c0e7d55"}
NEW = {"webhook_url": "https://receiver.example.com/hook", "event": {"types": [*Event]}}
SENT = {"delivery_id": "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"}

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]

router = APIRouter(prefix="/webhook", route_class=Threaded, responses=errors(401, 403), tags=["webhooks"])


def _once(types: list[Event]) -> list[Event]:
    return [*dict.fromkeys(types)]


class EventTypes(Answer):
    """The events that a webhook receives."""

    types: Annotated[list[Event], Field(min_length=1), AfterValidator(_once), Allowed(EVENTS)]


class NewWebhook(Declared):
    """Where events are sent, and which; their list alone is taken for `event` too."""

    webhook_url: Annotated[Text, Allowed("a public http:// or https:// address")]
    event: EventTypes

    @classmethod
    def prepared(cls, sent: Any) -> Any:
        event = sent.get("event")
        types = event.get("types") if isinstance(event, Mapping) else event
        return {**sent, "event": {"types": types} if types else {}}


class WebhookRef(Declared):
    """Which webhook."""

    webhook_id: Text


class WebhookChange(NewWebhook, WebhookRef):
    """Which webhook, where its events are sent from now on, and which."""


class DeliveryRef(Declared):
    """Which message of the log."""

    delivery_id: Text


class WebhookQuery(SentQuery):
    """Which webhook."""

    webhook_id: Annotated[str, Allowed("text")]


class LogQuery(WebhookQuery):
    """Which page of a webhook's log."""

    page: Page = 1


class WebhookInfo(Answer):
    """A webhook, and its signing secret for keys that may change it."""

    webhook_id: Id
    webhook_url: Url | None
    """Null for the one that signs deliveries to addresses of X-Webhook-URL."""
    event: EventTypes
    created_at: Moment
    last_success_at: Moment | None
    is_active: bool
    disabled_at: Moment | None
    disabled_reason: str | None
    secret: Omittable[str] = None

    @classmethod
    def of(cls, webhook: Subscription, key: Key) -> Self:
        """The webhook as this key sees it."""
        return cls.from_record(
            webhook,
            webhook_id=webhook.id,
            webhook_url=webhook.url,
            event=EventTypes(types=[*map(Event, webhook.events)]),
            last_success_at=webhook.succeeded_at,
            is_active=webhook.disabled_at is None and not webhook.removed,
            secret=None if key.read_only else webhook.secret,
        )


class WebhookList(Answer):
    """An account's webhooks."""

    webhooks: list[WebhookInfo]


class ChangedWebhook(Answer):
    """What was done, and the webhook."""

    message: str
    webhook: WebhookInfo


class DeliveryInfo(Answer):
    """A message of the log: how often it was sent, and the last answer."""

    delivery_id: str
    request_id: Id
    event: Event | Literal["REQUEST_STARTED"]
    """`REQUEST_STARTED` only of a prediction that asked for it."""
    url: Url
    status: DeliveryStatus
    attempts: int
    response_status: int | None
    error: str | None
    created_at: Moment
    ended_at: Moment | None
    next_attempt_at: Moment | None

    @classmethod
    def of(cls, one: Delivery) -> Self:
        """The delivery as its account sees it."""
        due = None if one.ended_at else one.due_at
        return cls.from_record(one, delivery_id=one.id, attempts=one.attempt, next_attempt_at=due)


class DeliveryLog(Answer):
    """One page of a webhook's deliveries, the newest first."""

    logs: list[DeliveryInfo]
    page: int


class ReplayedDelivery(Answer):
    """What was done, and the delivery."""

    message: str
    log: DeliveryInfo


@router.get("/get", operation_id="listWebhooks", summary="The account's webhooks")
def get(key: Reader, store: StoreDep) -> WebhookList:
    """All of the account's webhooks; keys that may only read don't see the signing secrets."""
    return WebhookList(webhooks=[WebhookInfo.of(webhook, key) for webhook in store.webhooks.list(key.account_id)])


@router.post("/add", operation_id="addWebhook", summary="Add a webhook", responses=errors(*WITH_BODY))
def add(
    key: Runner,
    store: StoreDep,
    runtime: RuntimeDep,
    base: BaseUrl,
    sent: Annotated[NewWebhook, body_of(NewWebhook, NEW)],
) -> ChangedWebhook:
    """Send events of the account's requests to an address."""
    settings = runtime.settings
    url = _checked(settings, sent.webhook_url, "webhook_url")
    webhook = store.webhooks.add(key.account_id, url, sent.event.types, _links(settings, base))
    return ChangedWebhook(message="Webhook added", webhook=WebhookInfo.of(webhook, key))


@router.post(
    "/update",
    operation_id="updateWebhook",
    summary="Change a webhook, or make it active again",
    responses=errors(404, *WITH_BODY),
)
def update(
    key: Runner,
    store: StoreDep,
    runtime: RuntimeDep,
    base: BaseUrl,
    sent: Annotated[WebhookChange, body_of(WebhookChange, ID | NEW)],
) -> ChangedWebhook:
    """Change a webhook's address and events; it is active again, and waiting deliveries go to the new address."""
    settings = runtime.settings
    url = _checked(settings, sent.webhook_url, "webhook_url")
    links = _links(settings, base)
    webhook = store.webhooks.update(sent.webhook_id, key.account_id, url, sent.event.types, links)
    return ChangedWebhook(message="Webhook updated", webhook=WebhookInfo.of(webhook, key))


@router.post(
    "/rotate",
    operation_id="rotateWebhook",
    summary="Draw a new secret for a webhook",
    responses=errors(404, *WITH_BODY),
)
def rotate(key: Runner, store: StoreDep, sent: Annotated[WebhookRef, body_of(WebhookRef, ID)]) -> ChangedWebhook:
    """Deliveries are signed with both secrets for a day, so that the receiver can change over in between."""
    webhook = store.webhooks.rotate(sent.webhook_id, key.account_id)
    return ChangedWebhook(message="Secret rotated", webhook=WebhookInfo.of(webhook, key))


@router.post(
    "/replay",
    operation_id="replayDelivery",
    summary="Send a delivery of the log once more",
    responses=errors(404, *WITH_BODY),
)
def replay(key: Runner, store: StoreDep, sent: Annotated[DeliveryRef, body_of(DeliveryRef, SENT)]) -> ReplayedDelivery:
    """Send a delivery again, with the same id and body, whatever its outcome was; the webhook must be active."""
    delivery = store.webhooks.outbox.find(sent.delivery_id, key.account_id)
    webhook = store.webhooks.find(delivery.webhook_id, key.account_id)
    if webhook.removed or webhook.disabled_at is not None:
        raise BadRequest("This webhook is not active: update it first, which makes it so")
    [replayed] = store.webhooks.outbox.replay(delivery.id)
    return ReplayedDelivery(message="It will be sent again", log=DeliveryInfo.of(replayed))


@router.get(
    "/inactive", operation_id="deactivateWebhook", summary="Make a webhook inactive", responses=errors(400, 404)
)
def inactive(key: Runner, store: StoreDep, query: Annotated[WebhookQuery, Query()]) -> ChangedWebhook:
    """Stop sending to it; waiting deliveries are dropped."""
    webhook = store.webhooks.remove(query.webhook_id, key.account_id)
    return ChangedWebhook(message="Webhook made inactive", webhook=WebhookInfo.of(webhook, key))


@router.get(
    "/dispatch-logs", operation_id="listDeliveries", summary="What was sent to a webhook", responses=errors(400, 404)
)
def dispatch_logs(key: Reader, store: StoreDep, query: Annotated[LogQuery, Query()]) -> DeliveryLog:
    """The deliveries, newest first, a hundred to a page: each with its state, its attempts and the last answer."""
    webhook = store.webhooks.find(query.webhook_id, key.account_id)
    found = store.webhooks.outbox.logs(webhook.id, LOGS_PER_PAGE, query.page)
    return DeliveryLog(logs=[*map(DeliveryInfo.of, found)], page=query.page)


def own_webhook(url: str, store: Store, settings: Settings, key: Key, name: str = HEADER) -> str | None:
    """The address of a call's X-Webhook-URL, None for a blank one; creates the webhook that signs for it.

    name: of what it stands in. Raises InvalidParameter, WebhookRefused for an address that can't be a webhook's.
    """
    url = url.strip(" \t")
    if not url:
        return None
    if not url.isascii():  # a header has no character set: the call would go to another path
        raise InvalidParameter(name, url, "an address in ASCII, where é, say, is written %C3%A9")
    _checked(settings, url, name)
    store.webhooks.own(key.account_id)
    return url


def _links(settings: Settings, base: str) -> str | None:
    """The base of links in deliveries, where the operator hasn't set it."""
    return None if settings.web.public_url else base


def _checked(settings: Settings, url: str, name: str) -> str:
    if len(url) > MAX_URL:
        raise InvalidParameter(name, url, f"an address of at most {MAX_URL} characters")
    try:
        check_target(url, settings.webhooks.allow)
    except AddressRefused as error:
        raise WebhookRefused(f"{name}: {error.message}") from None
    except PictureUnreachable as error:
        raise InvalidParameter(name, url, f"a public http:// or https:// address ({error.message})") from None
    return url
